"""The profile service on a real port over a real database, and the events that ingest would write."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from libs.common.contracts.ids import derived
from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import encode
from libs.common.db.pool import Database
from libs.common.fold.batch import Batch
from libs.common.fold.service import ConsumerService
from libs.common.log.append import Outgoing, append
from libs.common.log.reader import Record, TopicPartition
from libs.common.settings import Settings as CommonSettings
from services.profile.app import create
from services.profile.handler import Profile as Handler
from services.profile.settings import Settings
from tests.client import ServiceClient, append_to

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def event(
    kind: str = "track",
    user: str | None = None,
    device: str | None = None,
    *,
    message: str,
    minute: int = 0,
    received: datetime | None = None,
    source: str = "/apps/test",
    **data: Any,
) -> Outgoing:
    """An event that happened `minute` minutes after noon, and that ingest received just now unless `received` says when."""
    body: dict[str, Any] = {"type": kind, "messageId": message}
    body |= {"event": data.pop("event", "Clicked")} if kind == "track" else {}
    body |= {name: id for name, id in (("userId", user), ("anonymousId", device)) if id is not None}
    body |= data
    at = NOON + timedelta(minutes=minute)
    id = str(derived(source, message, kind, body.get("event", "")))
    value = encode(
        id=id, source=source, type=f"{kind}.v1", time=at, recordedtime=received or datetime.now(UTC), data=body
    )
    return Outgoing(device or user or "nobody", value, at)


def batch_of(partition: int, events: Sequence[Outgoing], first: int = 0) -> Batch:
    """A batch of one partition, as the fold would give it."""
    tp = TopicPartition(EVENTS, partition)
    records = [
        Record(EVENTS, partition, first + place, event.key, event.value, NOON, first + place)
        for place, event in enumerate(events)
    ]
    return Batch(tp, records, 0, first)


class Profile(ServiceClient):
    """What a test does with the service."""

    service = "profile"
    writes = JOURNAL

    async def tell(self, *records: Outgoing, topic: str = EVENTS) -> None:
        """Append to a topic that the service reads, and wait until all is folded."""
        await append_to(self.database, topic, *records)
        await self.caught_up()

    async def id_of(self, ref: str) -> str:
        """The id of the customer that `ref` leads to."""
        return str((await self.get(f"customers/{ref}"))["id"])

    async def records(self) -> list[dict[str, Any]]:
        """What the service has journalled, each record with its key, partition by partition."""
        return await self.facts()

    async def summary(self) -> Any:
        return await self.get("customers/summary")


def serving(settings: Settings) -> AbstractAsyncContextManager[Profile]:
    """The service, ready."""
    return Profile.serving(create(settings), settings)


@asynccontextmanager
async def started(settings: CommonSettings) -> AsyncIterator[ConsumerService]:
    """The service's fold alone, for tests of a component that works beside it."""
    part = ConsumerService("profile", settings, Handler(settings.zone, settings.partitions))
    await part.start()
    try:
        yield part
    finally:
        await part.stop()


async def apply(database: Database, handler: Handler, batch: Batch) -> list[Outgoing]:
    """Apply a batch as the fold does, without its position. Returns what it journalled."""
    async with database.transaction() as tx:
        outcome = await handler.apply(tx, [batch])
        await append(tx, JOURNAL, outcome.outgoing, database.settings.partitions)
    for done in outcome.committed:
        done()
    return outcome.outgoing


async def both(*coroutines: Any) -> list[Any]:
    """All at once; the first error is raised once all have ended."""
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
