"""Tasks: what people are to do for customers, and until when. A row keeps the customer for whom it was added; reads take
those merged into them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.errors import NotFound
from services.profile import models
from services.profile.cursors import behind, read_behind
from services.profile.domain.commands import Task
from services.profile.queries import state_of

_COLUMNS = Task.__struct_fields__
_SELECT = ", ".join(f'"{name}"' for name in _COLUMNS)
_SAVE = bulk.insert(
    models.tasks,
    _COLUMNS,
    "ON CONFLICT (customer, id) DO UPDATE SET done_at = excluded.done_at, done_by = excluded.done_by,"
    " told_at = excluded.told_at",
)
_OPEN = f"""
SELECT {_SELECT} FROM profile.tasks WHERE done_at IS NULL
  AND ($1::timestamptz IS NULL OR (due, id) > ($1, $2::uuid)) AND ($3::timestamptz IS NULL OR due < $3)
  AND ($4::text IS NULL OR owner = $4) AND ($5::uuid[] IS NULL OR customer = ANY($5)) ORDER BY due, id LIMIT $6
"""
_DUE = """
SELECT customer, id, due FROM profile.tasks WHERE done_at IS NULL AND told_at IS NULL AND due <= $1 AND id <> ALL($2::uuid[])
ORDER BY due LIMIT $3
"""


class DueTask(NamedTuple):
    """A task that is due, which nobody has been told yet."""

    customer: UUID
    id: UUID
    due: datetime


async def load(tx: Tx, id: UUID) -> Task:
    """One task. Whoever changes it holds its customer's lock. Raises NotFound."""
    row = await tx.fetchrow(f"SELECT {_SELECT} FROM profile.tasks WHERE id = $1", id)
    if row is None:
        raise NotFound(f"There is no task {id}: GET /v1/tasks lists those that are open.")
    return Task(*row)


async def save(tx: Tx, task: Task) -> None:
    """Write a task. Does not commit."""
    await tx.execute(_SAVE, *([getattr(task, name)] for name in _COLUMNS))


async def page(
    tx: Tx, limit: int, cursor: str | None, due_before: datetime | None, owner: str | None, customer: UUID | None
) -> dict[str, Any]:
    """The open tasks, those due earliest first. Raises NotFound; Invalid for a wrong cursor."""
    ids = None
    if customer is not None:
        ids = [customer, *(UUID(other) for other in (await state_of(tx, customer)).merged)]
    rows = await tx.fetch(_OPEN, *read_behind(cursor), due_before, owner, ids, limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    return {
        "items": [dict(row) for row in rows[:limit]],
        "next": None if last is None else behind(last["due"], last["id"]),
    }


async def due(tx: Tx, now: datetime, but: Sequence[UUID], limit: int) -> list[DueTask]:
    """Tasks that are due and not told yet, but for some."""
    return [DueTask(*row) for row in await tx.fetch(_DUE, now, but, limit)]
