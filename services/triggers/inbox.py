"""Inboxes as streams. One query serves all subscribers of a process."""

import asyncio
import base64
import binascii
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

from libs.common.db.errors import UNAVAILABLE
from libs.common.db.pool import Tx
from libs.common.errors import Invalid, Unavailable
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.streams import RETRY, ConnectionLimit, event, whenever
from libs.common.observability.telemetry import log
from libs.common.runtime.cancel import cancel_and_wait
from libs.common.runtime.component import Check
from services.triggers import queries
from services.triggers.queries import Row
from services.triggers.settings import Settings

logger = log("inbox streams")

LOOK = 0.25
"""Seconds between two queries, while there are subscribers."""
RECOUNT = 20
"""Queries between two counts of the messages before a cursor."""
PAGE = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Cursor(NamedTuple):
    """Where a subscriber is in an inbox: after the message `id`, the `ordinal`th, which came `at`."""

    at: datetime
    id: UUID
    ordinal: int

    def __str__(self) -> str:
        """The id of an event, which a browser sends back as `Last-Event-ID`."""
        microseconds = (self.at - _EPOCH) // timedelta(microseconds=1)
        return base64.urlsafe_b64encode(struct.pack(">q16sI", microseconds, self.id.bytes, self.ordinal)).decode()

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """The cursor of an event's id. Raises Invalid."""
        try:
            microseconds, id, ordinal = struct.unpack(">q16sI", base64.urlsafe_b64decode(text))
            return cls(_EPOCH + timedelta(microseconds=microseconds), UUID(bytes=id), ordinal)
        except (binascii.Error, struct.error, ValueError, OverflowError) as error:
            raise Invalid("The Last-Event-ID is not one of this stream: leave it out, and read the inbox.") from error


START = Cursor(_EPOCH, UUID(int=0), 0)


class Subscriber:
    """One open stream of an inbox. `come` are messages not sent on it yet. `changed`: messages were inserted before its cursor, as
    by a merge. `counted`: the messages before its cursor were counted once."""

    def __init__(self, customer: UUID, cursor: Cursor) -> None:
        self.customer = customer
        self.cursor = cursor
        self.come: list[Row] = []
        self.changed = False
        self.counted = False
        self.woken = asyncio.Event()


class Inboxes:
    """A component that queries new messages for all subscribers at once."""

    name = "inbox streams"

    def __init__(self, part: ConsumerService, settings: Settings) -> None:
        self._part = part
        self._subscribers: set[Subscriber] = set()
        self._wanted = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None
        self._stopping = False
        self.connections = ConnectionLimit(settings.inbox_streams, "/v1/customers/{ref}/inbox")

    async def start(self) -> None:
        self._stopping = False
        self._polling = asyncio.create_task(self._poll(), name="inbox streams")

    async def stop(self) -> None:
        self._stopping = True
        if self._polling is not None:
            await cancel_and_wait(self._polling)

    async def check(self) -> Check:
        return Check(True, f"{len(self._subscribers)} followed" if self._subscribers else "")

    def died(self) -> str:
        """The polling task must never end by itself."""
        ended = self._polling is not None and self._polling.done() and not self._stopping
        return "the inbox streams no longer look for messages" if ended else ""

    async def begin(self, tx: Tx, customer: UUID, last: str | None) -> Subscriber:
        """A subscriber that continues after the event `last`, or from now on. Raises Invalid for a wrong `last`."""
        cursor = Cursor.read(last) if last else await _newest(tx, customer)
        return Subscriber(customer, cursor)

    async def follow(self, subscriber: Subscriber, who: Principal, draining: asyncio.Event) -> AsyncIterator[bytes]:
        """Events as bytes (`ready`, `message`, `changed`), until the service drains or the token of `who` expires."""
        self._subscribers.add(subscriber)
        self._wanted.set()
        try:
            yield b"retry: %d\n\n" % RETRY + event(str(subscriber.cursor), "ready", b"{}")
            async for each in whenever(subscriber.woken, partial(_events, subscriber), who, draining):
                yield each
        finally:
            self._subscribers.discard(subscriber)

    async def _poll(self) -> None:
        looks = 0
        while True:
            if not self._subscribers:
                self._wanted.clear()
                await self._wanted.wait()
            looks += 1
            try:
                async with asyncio.timeout(5):
                    await self._look(recount=looks % RECOUNT == 0)
            except (Unavailable, *UNAVAILABLE) as error:
                logger.warning("inboxes cannot be read now", error=repr(error))
                await asyncio.sleep(1)
            await asyncio.sleep(LOOK)

    async def _look(self, recount: bool) -> None:
        """Query new messages for subscribers that have sent everything so far; a slow one waits for a later query."""
        waiting: dict[tuple[UUID, Cursor], list[Subscriber]] = defaultdict(list)
        for subscriber in self._subscribers:
            if not subscriber.woken.is_set():
                waiting[subscriber.customer, subscriber.cursor].append(subscriber)
        if not waiting:
            return
        asked = list(waiting)
        async with self._part.read() as tx:
            moved = await queries.survivors(tx, [customer for customer, _ in asked])
            come = await queries.come(tx, asked, PAGE)
            if any(not each.counted for subscribers in waiting.values() for each in subscribers):
                recount = True
            before = await queries.before(tx, asked) if recount else []
        for number, count in enumerate(before):
            if asked[number][0] not in moved:
                _recounted(waiting[asked[number]], count)
        for (customer, _), subscribers in waiting.items():
            for subscriber in subscribers if customer in moved else ():
                subscriber.customer, subscriber.counted = moved[customer], False
        for number, rows in come.items():
            for subscriber in waiting[asked[number]]:
                subscriber.come = rows
                subscriber.woken.set()


def _recounted(subscribers: Iterable[Subscriber], count: int) -> None:
    for subscriber in subscribers:
        subscriber.counted = True
        if subscriber.cursor.ordinal != count:
            subscriber.cursor = subscriber.cursor._replace(ordinal=count)
            subscriber.changed = True
            subscriber.woken.set()


async def _newest(tx: Tx, customer: UUID) -> Cursor:
    row = await queries.newest(tx, customer)
    return START if row is None else Cursor(row["sent_at"], row["id"], row["count"])


def _events(subscriber: Subscriber) -> Iterator[bytes]:
    if subscriber.changed:
        subscriber.changed = False
        yield event(str(subscriber.cursor), "changed", b"{}")
    for row in subscriber.come:
        subscriber.cursor = Cursor(row["sent_at"], row["id"], subscriber.cursor.ordinal + 1)
        yield event(str(subscriber.cursor), "message", queries.message_json(row))
    subscriber.come = []
    subscriber.woken.clear()
