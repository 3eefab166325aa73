"""The totals as a stream of server-sent events: one when they change, at most every second, however many follow."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple

import msgspec

from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import Unavailable
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.streams import HEARTBEAT, RETRY, ConnectionLimit, over
from services.metrics import queries
from services.metrics.settings import Settings

#: Seconds between two looks at the database.
LOOK = 1.0


class Event(NamedTuple):
    """The totals, and an id that is the same as long as they are."""

    id: str
    data: bytes


class KpiStream:
    """Gives each follower the newest totals. One look a second serves all; `streams` may follow at a time."""

    def __init__(self, part: ConsumerService, settings: Settings) -> None:
        self._part = part
        self._zone = settings.zone
        self.places = ConnectionLimit(settings.streams, "/v1/metrics/summary")
        self._newest: Event | None = None
        self._looked = 0.0
        self._looking = asyncio.Lock()

    async def follow(self, draining: asyncio.Event, who: Principal, seen: str | None) -> AsyncIterator[bytes]:
        """Events as bytes until the service drains or the follower's token ends. `seen` is the id of the last event that
        the follower has."""
        yield b"retry: %d\n\n" % RETRY
        said = time.monotonic()
        while not draining.is_set() and not over(who):
            try:
                newest = await self._look()
            except (Unavailable, *UNAVAILABLE):
                newest = None  # readiness says it; the follower keeps what it has
            if newest is not None and newest.id != seen:
                yield b"id: %b\nevent: totals\ndata: %b\n\n" % (newest.id.encode(), newest.data)
                seen, said = newest.id, time.monotonic()
            elif time.monotonic() - said >= HEARTBEAT:
                yield b": still here\n\n"
                said = time.monotonic()
            try:
                async with asyncio.timeout(LOOK):
                    await draining.wait()
            except TimeoutError:
                continue

    async def _look(self) -> Event:
        async with self._looking:
            if self._newest is None or time.monotonic() - self._looked >= LOOK * 0.9:
                async with self._part.read() as tx:
                    totals = await queries.totals(tx)
                    active = await queries.active_on(tx, datetime.now(self._zone).date())
                data = msgspec.json.encode({**queries.jsonable(totals), "active_today": active})
                self._newest = Event(hashlib.sha256(data).hexdigest()[:16], data)
                self._looked = time.monotonic()
            return self._newest
