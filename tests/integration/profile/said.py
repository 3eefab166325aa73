"""Events as ingest writes them, and a profile that reads them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from libs.common.contracts.ids import derived
from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import encode
from libs.common.db.pool import Database
from libs.common.fold.batch import Batch
from libs.common.fold.service import ConsumerService
from libs.common.log.append import Outgoing, append
from libs.common.log.partition import partition_of
from libs.common.log.reader import Record, TopicPartition
from libs.common.settings import Settings
from services.profile.handler import Profile
from tests.support import eventually

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def said(
    kind: str = "track",
    user: str | None = None,
    device: str | None = None,
    *,
    message: str,
    minute: int = 0,
    received: datetime = NOON,
    source: str = "/apps/test",
    **data: Any,
) -> Outgoing:
    """One event; `minute` after noon it happened."""
    body: dict[str, Any] = {"type": kind, "messageId": message}
    body |= {"event": data.pop("event", "Clicked")} if kind == "track" else {}
    body |= {name: id for name, id in (("userId", user), ("anonymousId", device)) if id is not None}
    body |= data
    at = NOON + timedelta(minutes=minute)
    id = str(derived(source, message, kind, body.get("event", "")))
    value = encode(id=id, source=source, type=f"{kind}.v1", time=at, recordedtime=received, data=body)
    return Outgoing(device or user or "nobody", value, at)


def batch_of(partition: int, events: Sequence[Outgoing], first: int = 0) -> Batch:
    """A batch of one partition, as the fold would hand it over."""
    tp = TopicPartition(EVENTS, partition)
    records = [
        Record(EVENTS, partition, first + place, event.key, event.value, NOON, first + place)
        for place, event in enumerate(events)
    ]
    return Batch(tp, records, 0, first)


async def apply(database: Database, profile: Profile, batch: Batch) -> list[Outgoing]:
    """Run a batch as the fold does, without its position; what it journalled."""
    async with database.transaction() as tx:
        outcome = await profile.apply(tx, [batch])
        await append(tx, JOURNAL, outcome.outgoing, database.settings.partitions)
    for done in outcome.committed:
        done()
    return outcome.outgoing


def home(key: str) -> int:
    return partition_of(key, 8)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ConsumerService]:
    """Profile's fold, started."""
    handler = Profile(UTC)
    part = ConsumerService("profile", settings, handler)
    await part.start()
    try:
        yield part
    finally:
        await part.stop()


async def tell(part: ConsumerService, *events: Outgoing, topic: str = EVENTS) -> None:
    """Append to a topic and wait until all has been read."""
    async with part.tx() as tx:
        await append(tx, topic, events, 8)
    await caught_up(part)


async def caught_up(part: ConsumerService) -> None:
    async def done() -> bool:
        return all(lag.records == 0 for lag in (await part.fold.lag()).values())

    await eventually(done)


async def journal(part: ConsumerService) -> list[dict[str, Any]]:
    """Every journal record: partition, offset, key, and the envelope with its data."""
    async with part.read() as tx:
        rows = await tx.fetch(
            'SELECT partition, "offset", key, value FROM log."profile.journal" ORDER BY partition, "offset"'
        )
    return [{**dict(row), **msgspec.json.decode(row["value"])} for row in rows]


async def holder(part: ConsumerService, ref: str) -> UUID | None:
    kind, _, value = ref.partition(":")
    async with part.read() as tx:
        found: UUID | None = await tx.fetchval(
            "SELECT customer FROM profile.identifiers WHERE kind = $1 AND value = $2", kind, value
        )
    return found


async def both(*coroutines: Any) -> list[Any]:
    """All at once; the first error is raised once all have ended."""
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
