"""Rejected events on their way into their list: never in the way of good ones, and never more than it can hold."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from libs.common.contracts import ids
from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import Unavailable
from libs.common.observability.telemetry import log
from libs.common.runtime.cancel import cancel_and_wait
from libs.common.runtime.component import Check
from libs.common.runtime.postgres import Postgres
from services.ingest import store
from services.ingest.domain.limits import EVENT, ID
from services.ingest.store import Rejected

BODY = 4 * 1024  # bytes kept of what is too large, or comes too often, to be kept whole
BUFFERED = 1_000  # events; what comes while they wait is only counted
FLUSH = 0.5  # seconds between writes
CLEAN = 3_600.0  # seconds between clean-ups of what is older than seven days

logger = log("rejections")


class Refused(NamedTuple):
    """An event that was refused: why, and what can be said of it."""

    reason: str
    body: bytes
    type: str | None = None
    message_id: str | None = None
    event: str | None = None


class Rejections:
    """Takes what was refused without waiting, writes it in the background, and deletes it after seven days."""

    name = "rejections"

    def __init__(self, postgres: Postgres, per_minute: int) -> None:
        self._postgres = postgres
        self._per_minute = per_minute
        self._minute: datetime | None = None
        self._this_minute: Counter[UUID] = Counter()
        self._bytes: Counter[UUID] = Counter()
        self._buffer: deque[Rejected] = deque()
        self._counts: Counter[tuple[UUID, datetime]] = Counter()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._write_forever()), asyncio.create_task(self._clean_forever())]

    async def stop(self) -> None:
        """Write what waits, if PostgreSQL lets us."""
        await cancel_and_wait(*self._tasks)
        self._tasks = []
        async with asyncio.timeout(3):
            await self._write()

    async def check(self) -> Check:
        return Check(True, f"{len(self._buffer):,} rejected events wait to be listed")

    def died(self) -> str:
        return "rejected events are not written any more" if any(task.done() for task in self._tasks) else ""

    def add(self, source: UUID, received_at: datetime, refused: Iterable[Refused], imported: bool = False) -> None:
        """Remember refused events: so many a source and minute with their body, the rest as a number. Never waits.

        Bodies are kept whole, so that they can be replayed, as long as those of a source and minute are no more than 4 KB
        each on average.
        """
        minute = received_at.replace(second=0, microsecond=0)
        if minute != self._minute:
            self._minute = minute
            self._this_minute.clear()
            self._bytes.clear()
        for event in refused:
            if self._this_minute[source] >= self._per_minute or len(self._buffer) >= BUFFERED:
                self._counts[source, minute.replace(minute=0)] += 1
                continue
            self._this_minute[source] += 1
            left = self._per_minute * BODY - self._bytes[source]
            kept = event.body if len(event.body) <= max(BODY, min(EVENT, left)) else event.body[:BODY]
            self._bytes[source] += len(kept)
            self._buffer.append(_row(source, received_at, event, kept, imported))

    async def _write_forever(self) -> None:
        away = False
        while True:
            await asyncio.sleep(FLUSH)
            try:
                await self._write()
                away = False
            except (Unavailable, *UNAVAILABLE) as error:
                if not away:
                    logger.warning("rejected events cannot be written just now", error=str(error))
                away = True

    async def _write(self) -> None:
        if not self._buffer and not self._counts:
            return
        rows, counts = list(self._buffer), Counter(self._counts)
        async with self._postgres.database.transaction() as tx:
            await store.add_rejected(tx, rows, counts)
        for _ in rows:
            self._buffer.popleft()
        for slot, events in counts.items():
            self._counts[slot] -= events
            if not self._counts[slot]:
                del self._counts[slot]

    async def _clean_forever(self) -> None:
        while True:
            try:
                await self._clean()
            except (Unavailable, *UNAVAILABLE) as error:
                logger.warning("old rejected events cannot be deleted just now", error=str(error))
            await asyncio.sleep(CLEAN)

    async def _clean(self) -> None:
        more = True
        while more:
            async with self._postgres.database.transaction() as tx:
                more = await store.forget_old(tx, datetime.now(UTC) - store.KEPT)


def _row(source: UUID, received_at: datetime, event: Refused, kept: bytes, imported: bool) -> Rejected:
    return Rejected(
        id=ids.fresh(),
        source_id=source,
        received_at=received_at,
        reason=store.storable(event.reason),
        type=event.type and store.storable(event.type, 40),
        message_id=event.message_id and store.storable(event.message_id),
        size=len(event.body),
        body=kept,
        event=event.event and store.storable(event.event, ID),
        imported=imported,
    )
