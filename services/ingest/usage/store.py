"""The usage in the database: added and read. Functions take the caller's transaction and do not commit."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.errors import NotFound
from services.ingest.models import usage

_COUNTS = ("stored", "warned", "rejected")


class Place(NamedTuple):
    """Where events are counted: `through` is the write key or the inbound webhook that they came by."""

    source_id: UUID
    day: date
    through: UUID


async def add(tx: Tx, counts: Mapping[Place, Sequence[int]]) -> dict[Place, int]:
    """Add what was stored, warned of and rejected; returns how many are stored in each place now."""
    rows = [(*place, *counts[place]) for place in sorted(counts)]
    statement = f"{bulk.add(usage, _COUNTS)} RETURNING source_id, day, through, usage.stored"
    found = await tx.fetch(statement, *bulk.transposed(rows))
    return {Place(row["source_id"], row["day"], row["through"]): row["stored"] for row in found}


async def by_day(
    tx: Tx, source: str | None, since: date, until: date, before: tuple[date, str] | None, limit: int
) -> list[asyncpg.Record]:
    """What came by each source on each day, the newest day first. Raises NotFound for a source that is none."""
    if source is not None and not await tx.fetchval("SELECT true FROM ingest.sources WHERE name = $1", source):
        raise NotFound(f"There is no source named {source!r}: GET /v1/sources lists them.")
    day, name = before or (date.max, "")
    return await tx.fetch(
        "SELECT s.name AS source, u.day, sum(u.stored)::bigint AS stored, sum(u.warned)::bigint AS warned,"
        " sum(u.rejected)::bigint AS rejected FROM ingest.usage u JOIN ingest.sources s ON s.id = u.source_id"
        " WHERE u.day BETWEEN $1 AND $2 AND ($3::text IS NULL OR s.name = $3) AND (u.day < $4 OR u.day = $4 AND s.name > $5)"
        " GROUP BY s.name, u.day ORDER BY u.day DESC, s.name LIMIT $6",
        since,
        until,
        source,
        day,
        name,
        limit,
    )
