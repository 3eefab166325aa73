"""The tables of the live view. The caller opens and commits the transaction."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from libs.common.db import bulk
from libs.common.db.locks import Lock
from libs.common.db.pool import Tx
from services.ingest import models

WATCHED = 15  # seconds for which a watch holds unless it is renewed
KEPT = 300  # seconds for which events are kept

LiveEvent = tuple[UUID, datetime, str, bytes]
_ADD = bulk.insert(models.live_events, ("source_id", "at", "name", "value"))


async def watch(tx: Tx, source: UUID) -> None:
    """Have all processes note the events of a source, for a while."""
    await tx.execute(
        "INSERT INTO ingest.watches (source_id, until) VALUES ($1, now() + make_interval(secs => $2))"
        " ON CONFLICT (source_id) DO UPDATE SET until = excluded.until",
        source,
        WATCHED,
    )


async def watched(tx: Tx) -> frozenset[UUID]:
    """The sources that somebody watches."""
    return frozenset(
        row["source_id"] for row in await tx.fetch("SELECT source_id FROM ingest.watches WHERE until > now()")
    )


async def add(tx: Tx, events: Sequence[LiveEvent]) -> None:
    """Add events. One process at a time, so that whoever reads up to a number has read all before it."""
    await tx.execute("SELECT pg_advisory_xact_lock($1)", Lock.LIVE_EVENTS)
    await tx.execute(_ADD, *bulk.transposed(events))


async def forget(tx: Tx) -> None:
    """Delete what is older than five minutes."""
    await tx.execute("DELETE FROM ingest.live_events WHERE at < now() - make_interval(secs => $1)", KEPT)
    await tx.execute("DELETE FROM ingest.watches WHERE until < now()")


async def newest(tx: Tx) -> int:
    """The number of the last event."""
    number: int = await tx.fetchval("SELECT coalesce(max(id), 0) FROM ingest.live_events")
    return number


async def after(tx: Tx, source: UUID, number: int, limit: int) -> list[asyncpg.Record]:
    """A source's events after the one with this number, in order."""
    return await tx.fetch(
        "SELECT id, name, value FROM ingest.live_events WHERE source_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        source,
        number,
        limit,
    )
