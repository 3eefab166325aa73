"""Timelines as streams of server-sent events. One read of each partition serves all subscribers of a process."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import msgspec

from libs.common.contracts.profile import JOURNAL, CustomerLeft
from libs.common.contracts.records import Envelope, decode
from libs.common.db.errors import UNAVAILABLE
from libs.common.db.pool import Tx
from libs.common.errors import Invalid, Unavailable
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.streams import RETRY, ConnectionLimit, event, whenever
from libs.common.log.partition import partition_of
from libs.common.log.tables import relation
from libs.common.observability.telemetry import log
from libs.common.runtime.periodic import PeriodicTask
from services.profile.cursors import decoded, encoded
from services.profile.settings import Settings
from services.profile.timeline import Filter, entry

logger = log("timeline streams")

#: Offsets of a partition that one look covers, at most.
SPAN = 5_000
_HEADS = "SELECT partition, next FROM log.heads WHERE topic = $1"
_NEW = f"""
SELECT "offset", key, value FROM {relation(JOURNAL)}
WHERE partition = $1 AND "offset" >= $2 AND "offset" < $3 AND key = ANY($4::text[]) ORDER BY "offset"
"""
_left = msgspec.json.Decoder(CustomerLeft)


class Entry(msgspec.Struct, frozen=True):
    """A record that a subscriber has not been sent yet, and the cursor behind it."""

    cursor: str
    envelope: Envelope


@dataclass(eq=False, slots=True)
class Subscriber:
    """One open stream: it has seen its customer's records before offset `next` of their partition."""

    customer: UUID
    next: int
    wanted: Filter
    changed: bool = False
    come: list[Entry] = field(default_factory=list)
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def cursor(self) -> str:
        """The id of an event, which a browser sends back as `Last-Event-ID`."""
        return encoded(f"{self.customer}|{self.next}")


class TimelineStreams(PeriodicTask):
    """A component that reads new records for all subscribers."""

    name = "timeline streams"
    every = 0.5

    def __init__(self, part: ConsumerService, settings: Settings) -> None:
        super().__init__()
        self._part = part
        self._partitions = settings.partitions
        self._subscribers: set[Subscriber] = set()
        #: The heads at the last look: a record behind them has been seen by all who are at the head.
        self._heads: dict[int, int] = {}
        self.connections = ConnectionLimit(settings.timeline_streams, "/v1/customers/{ref}/timeline")

    async def begin(self, tx: Tx, customer: UUID, last: str | None, wanted: Filter) -> Subscriber:
        """A subscriber that continues after the event `last`, or from now on. If the customer was merged since, it begins
        now and says `changed`. Raises Invalid for a wrong `last`."""
        heads = await _heads(tx)
        subscriber = Subscriber(customer, heads.get(self._partition(customer), 0), wanted)
        if last is not None:
            before, offset = _read(last)
            if before == customer:
                subscriber.next = min(offset, subscriber.next)
            else:
                subscriber.changed = True
                subscriber.woken.set()
        return subscriber

    async def follow(self, subscriber: Subscriber, who: Principal, draining: asyncio.Event) -> AsyncIterator[bytes]:
        """Events as bytes (`ready`, `entry`, `changed`), until the service drains or the token of `who` expires."""
        self._subscribers.add(subscriber)
        try:
            yield b"retry: %d\n\n" % RETRY + event(subscriber.cursor, "ready", b"{}")
            async for each in whenever(subscriber.woken, partial(_events, subscriber), who, draining):
                yield each
        finally:
            self._subscribers.discard(subscriber)

    async def _run_once(self) -> None:
        if not self._subscribers:
            return
        try:
            async with self._part.read() as tx:
                await self.look(tx)
        except (Unavailable, *UNAVAILABLE) as error:
            logger.warning("timelines cannot be read now", error=repr(error))

    async def look(self, tx: Tx) -> None:
        """Read new records for subscribers that have sent everything so far; a slow one waits for a later look."""
        heads = await _heads(tx)
        waiting: dict[tuple[int, int], list[Subscriber]] = defaultdict(list)
        for subscriber in self._subscribers:
            partition = self._partition(subscriber.customer)
            if not subscriber.woken.is_set() and subscriber.next < heads.get(partition, 0):
                waiting[partition, subscriber.next].append(subscriber)
        for (partition, first), subscribers in waiting.items():
            end = min(heads[partition], first + SPAN)
            keys = list({str(each.customer) for each in subscribers})
            rows = await tx.fetch(_NEW, partition, first, end, keys)
            for subscriber in subscribers:
                records = [(row["offset"], row["value"]) for row in rows if row["key"] == str(subscriber.customer)]
                self._give(subscriber, records, end)
        self._heads = heads

    def _give(self, subscriber: Subscriber, records: list[tuple[int, bytes]], end: int) -> None:
        """Give a subscriber their records before offset `end`. Behind `customer.left` follow the survivor: everything on
        their key since the last look, which held neither half of the merge."""
        for offset, value in records:
            envelope = decode(value)
            subscriber.next = offset + 1
            if subscriber.wanted.wants(envelope):
                subscriber.come.append(Entry(subscriber.cursor, envelope))
            if envelope.type == CustomerLeft.TYPE:
                subscriber.customer = UUID(_left.decode(envelope.data).into)
                subscriber.next = self._heads.get(self._partition(subscriber.customer), 0)
                subscriber.changed = True
                break
        else:
            subscriber.next = end
        if subscriber.come or subscriber.changed:
            subscriber.woken.set()

    def _partition(self, customer: UUID) -> int:
        return partition_of(str(customer), self._partitions)


async def _heads(tx: Tx) -> dict[int, int]:
    return {row["partition"]: row["next"] for row in await tx.fetch(_HEADS, JOURNAL)}


def _read(last: str) -> tuple[UUID, int]:
    try:
        customer, offset = decoded(last, 2)
        if not 0 <= int(offset) < 2**63:
            raise ValueError("out of range")
        return UUID(customer), int(offset)
    except ValueError as error:
        raise Invalid("The Last-Event-ID is not one of this stream: leave it out, and read the timeline.") from error


def _events(subscriber: Subscriber) -> Iterator[bytes]:
    come, changed = subscriber.come, subscriber.changed
    subscriber.come, subscriber.changed = [], False
    subscriber.woken.clear()
    if changed:
        yield event(subscriber.cursor, "changed", b"{}")
    for each in come:
        yield event(each.cursor, "entry", msgspec.json.encode(entry(each.envelope)))
