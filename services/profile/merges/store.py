"""The list of merges: one row each, added in the transaction of the merge. Rows keep the ids that the two had then, so
reads of one customer take them and all who were merged into them."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from msgspec import json

from libs.common.db import bulk
from libs.common.db.pipeline import AnyTx
from libs.common.db.pool import Tx
from libs.common.errors import NotFound
from services.profile import models
from services.profile.cursors import behind, read_behind
from services.profile.merges.merge import MergeRow

_INSERT = bulk.insert(models.merges, MergeRow._fields, "ON CONFLICT DO NOTHING")
_PAGE = """
SELECT * FROM profile.merges
WHERE {of} AND ($1::timestamptz IS NULL OR (at, id) < ($1, $2::uuid)) ORDER BY at DESC, id DESC LIMIT $3
"""
_ALL, _OF_CUSTOMER = _PAGE.format(of="true"), _PAGE.format(of="customer = ANY($4::uuid[])")
_ONE = "SELECT * FROM profile.merges WHERE id = $1"


async def save(tx: AnyTx, rows: Sequence[MergeRow]) -> None:
    """Add rows to the list. Does not commit."""
    if rows:
        await tx.execute(_INSERT, *bulk.transposed(rows))


async def page(tx: Tx, limit: int, cursor: str | None, of: Iterable[UUID] | None = None) -> dict[str, Any]:
    """A page of merges, the latest first; `of` keeps those into these customers. Raises Invalid for a wrong cursor."""
    after = read_behind(cursor or None)
    rows = (
        await tx.fetch(_ALL, *after, limit + 1)
        if of is None
        else await tx.fetch(_OF_CUSTOMER, *after, limit + 1, [*of])
    )
    last = rows[limit - 1] if len(rows) > limit else None
    return {
        "items": [shown(row) for row in rows[:limit]],
        "next": None if last is None else behind(last["at"], last["id"]),
    }


async def get(tx: Tx, id: UUID) -> dict[str, Any]:
    """One merge. Raises NotFound."""
    row = await tx.fetchrow(_ONE, id)
    if row is None:
        raise NotFound(f"There is no merge {id}: GET /v1/merges lists them.")
    return shown(row)


def shown(row: Any) -> dict[str, Any]:
    """A row as routes show it."""
    return {
        "survivor": row["customer"],
        **{name: row[name] for name in ("id", "other", "at", "recorded_at")},
        "identifiers": json.decode(row["identifiers"]),
        "cause": {
            "kind": "event" if row["by"] is None else "command",
            **{name: row[name] for name in ("record", "name", "source", "by", "reason")},
        },
    }
