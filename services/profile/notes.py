"""Notes that people wrote on customers. A row keeps the customer that it was written on; reads take those merged into them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from libs.common.db.pool import Tx
from services.profile.cursors import behind, read_behind
from services.profile.domain.commands import Note
from services.profile.queries import state_of

_INSERT = 'INSERT INTO profile.notes (customer, id, at, "by", text) VALUES ($1, $2, $3, $4, $5)'
_PAGE = """
SELECT id, text, "by", at FROM profile.notes WHERE customer = ANY($1::uuid[])
  AND ($2::timestamptz IS NULL OR (at, id) < ($2, $3::uuid)) ORDER BY at DESC, id DESC LIMIT $4
"""


async def save(tx: Tx, customer: UUID, id: UUID, at: datetime, note: Note) -> None:
    """Keep a note. Does not commit."""
    await tx.execute(_INSERT, customer, id, at, note.by, note.text)


async def page(tx: Tx, customer: UUID, limit: int, cursor: str | None) -> dict[str, Any]:
    """The notes on a customer, the newest first. Raises NotFound; Invalid for a wrong cursor."""
    ids = [customer, *(UUID(other) for other in (await state_of(tx, customer)).merged)]
    rows = await tx.fetch(_PAGE, ids, *read_behind(cursor), limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    return {
        "items": [dict(row) for row in rows[:limit]],
        "next": None if last is None else behind(last["at"], last["id"]),
    }
