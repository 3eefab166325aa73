"""Reads of erasures, for routes and the task that finishes them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from libs.common.contracts.registry import SERVICES
from libs.common.db.pool import Tx
from libs.common.errors import NotFound

_ONE = "SELECT id, customer, asked_at, asked_by, done_at, certificate FROM profile.erasures"
_ANSWERS = """
SELECT erasure, service, erased, answered_at, kafka_until FROM profile.erasure_answers WHERE erasure = ANY($1::uuid[])
"""


async def erasure(tx: Tx, id: UUID) -> dict[str, Any]:
    """One erasure with the services' answers. Raises NotFound."""
    row = await tx.fetchrow(f"{_ONE} WHERE id = $1", id)
    if row is None:
        raise NotFound(f"there is no erasure {id}: GET /v1/erasures lists them")
    return (await _shown(tx, [row]))[0]


async def page(tx: Tx, limit: int, cursor: UUID | None) -> dict[str, Any]:
    """A page of erasures, the newest first."""
    rows = await tx.fetch(f"{_ONE} WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2", cursor, limit + 1)
    items = await _shown(tx, rows[:limit])
    return {"items": items, "next": items[-1]["id"] if len(rows) > limit else None}


async def _shown(tx: Tx, rows: list[Any]) -> list[dict[str, Any]]:
    answers: dict[UUID, dict[str, Mapping[str, Any]]] = {row["id"]: {} for row in rows}
    for each in await tx.fetch(_ANSWERS, list(answers)):
        answers[each["erasure"]][each["service"]] = {
            "erased": msgspec.json.decode(each["erased"]),
            "at": each["answered_at"],
            "kafka_until": each["kafka_until"],
        }
    return [
        {
            **dict(row),
            "status": "running" if row["done_at"] is None else "done",
            "services": {name: answers[row["id"]][name] for name in SERVICES if name in answers[row["id"]]},
            "missing": [name for name in SERVICES if name not in answers[row["id"]]],
        }
        for row in rows
    ]


async def open_ids(tx: Tx) -> list[UUID]:
    """The erasures that are not done, the oldest first."""
    return [row[0] for row in await tx.fetch("SELECT id FROM profile.erasures WHERE done_at IS NULL ORDER BY id")]
