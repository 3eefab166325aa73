"""The totals as a stream of server-sent events: one event when they change, at most one a second."""

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
from libs.common.http.streams import HEARTBEAT, RETRY, STILL_HERE, ConnectionLimit, event, over
from services.metrics import queries
from services.metrics.settings import Settings

#: Seconds between two reads of the totals.
POLL_SECONDS = 1.0


class Event(NamedTuple):
    """The totals, and an id that changes when they do."""

    id: str
    data: bytes


class KpiStream:
    """Sends the newest totals to each subscriber, of whom there may be `streams`. One read a second serves all of them."""

    def __init__(self, part: ConsumerService, settings: Settings) -> None:
        self._part = part
        self._zone = settings.zone
        self.limit = ConnectionLimit(settings.streams, "/v1/metrics/summary")
        self._newest: Event | None = None
        self._polled_at = 0.0
        self._polling = asyncio.Lock()

    async def subscribe(self, draining: asyncio.Event, who: Principal, seen: str | None) -> AsyncIterator[bytes]:
        """Events as bytes, until the service drains or the subscriber's token expires. `seen` is the id of the last event
        that the subscriber has."""
        yield b"retry: %d\n\n" % RETRY
        sent_at = time.monotonic()
        while not draining.is_set() and not over(who):
            try:
                newest = await self._poll()
            except (Unavailable, *UNAVAILABLE):
                newest = None  # readiness reports it; the subscriber keeps the last totals
            if newest is not None and newest.id != seen:
                yield event(newest.id, "totals", newest.data)
                seen, sent_at = newest.id, time.monotonic()
            elif time.monotonic() - sent_at >= HEARTBEAT:
                yield STILL_HERE
                sent_at = time.monotonic()
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await draining.wait()
            except TimeoutError:
                continue

    async def _poll(self) -> Event:
        async with self._polling:
            if self._newest is None or time.monotonic() - self._polled_at >= POLL_SECONDS * 0.9:
                async with self._part.read() as tx:
                    totals = await queries.totals(tx)
                    active = await queries.active_on(tx, datetime.now(self._zone).date())
                data = msgspec.json.encode({**queries.jsonable(totals), "active_today": active})
                self._newest = Event(hashlib.sha256(data).hexdigest()[:16], data)
                self._polled_at = time.monotonic()
            return self._newest
