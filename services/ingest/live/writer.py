"""Writes what watched sources send where every process of ingest can show it. While nobody watches, it costs a look at an
empty set for each request."""

import asyncio
from collections import Counter, deque
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.contracts import records
from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import Unavailable
from libs.common.observability.telemetry import log
from libs.common.runtime.cancel import cancel_and_wait
from libs.common.runtime.component import Check
from libs.common.runtime.postgres import Postgres
from services.ingest.build_records import BuiltRecords, EventResult
from services.ingest.live import store

FLUSH = 0.2  # seconds between writes
REFRESH = 2.0  # seconds between looks at who is watched
CLEAN = 60.0  # seconds between clean-ups
BUFFERED = 200  # events of a process between two writes; the others are only counted
BODY = 4 * 1024  # bytes shown of an event

logger = log("live view")


class _Noted(NamedTuple):
    source: UUID
    at: datetime
    result: EventResult
    record: bytes | None
    refused: bytes | None


class LiveWriter:
    """A component. `watched` are the sources whose events are to be noted."""

    name = "live view"

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self.watched: frozenset[UUID] = frozenset()
        self._buffer: deque[_Noted] = deque()
        self._skipped: Counter[UUID] = Counter()
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._look_forever()), asyncio.create_task(self._write_forever())]

    async def stop(self) -> None:
        await cancel_and_wait(*self._tasks)
        self._tasks = []

    async def check(self) -> Check:
        return Check(True, f"{len(self.watched)} sources are watched" if self.watched else "")

    def died(self) -> str:
        return "the live view is not written any more" if any(task.done() for task in self._tasks) else ""

    def note(self, source: UUID, received_at: datetime, built: BuiltRecords) -> None:
        """Show the events of a request of a source that is watched. Never waits."""
        stored, refused = iter(built.records), iter(built.refused)
        for result in built.results:
            rejected = result.status == "rejected"
            record = None if rejected else next(stored).value
            body = next(refused).body if rejected else None
            if len(self._buffer) < BUFFERED:
                self._buffer.append(_Noted(source, received_at, result, record, body))
            else:
                self._skipped[source] += 1

    async def watch(self, source: UUID) -> None:
        """Note the events of a source for the next seconds, in this process at once and in the others soon."""
        async with self._postgres.database.transaction() as tx:
            await store.watch(tx, source)
        self.watched |= {source}
        self._wanted.set()

    async def _look_forever(self) -> None:
        cleaned = 0.0
        while True:
            try:
                async with self._postgres.database.connection() as connection:
                    self.watched = await store.watched(connection)
                    if self.watched:
                        self._wanted.set()
                    if (now := asyncio.get_running_loop().time()) >= cleaned + CLEAN:
                        await store.forget(connection)
                        cleaned = now
            except (Unavailable, *UNAVAILABLE):
                self.watched = frozenset()  # nobody could see it
            await asyncio.sleep(REFRESH)

    async def _write_forever(self) -> None:
        while True:
            if not self.watched and not self._buffer:
                self._wanted.clear()
                await self._wanted.wait()
            await asyncio.sleep(FLUSH)
            try:
                await self._write()
            except (Unavailable, *UNAVAILABLE) as error:
                logger.warning("the live view cannot be written just now", error=repr(error))

    async def _write(self) -> None:
        if not self._buffer and not self._skipped:
            return
        noted, skipped = list(self._buffer), dict(self._skipped)
        self._buffer.clear()
        self._skipped.clear()
        rows = [_row(each) for each in noted]
        now = datetime.now(UTC)
        rows += [(source, now, "skipped", b'{"events":%d}' % events) for source, events in skipped.items()]
        async with self._postgres.database.transaction() as tx:
            await store.add(tx, rows)


def _row(noted: _Noted) -> store.LiveEvent:
    result = noted.result
    shown: dict[str, object] = {
        "status": result.status,
        "messageId": result.messageId,
        "reason": result.reason,
        "received_at": noted.at,
    }
    if noted.record is not None:
        record = records.decode(noted.record)
        data = bytes(record.data)
        shown |= {"time": record.time, "type": record.type}
        shown["event" if len(data) <= BODY else "cut"] = (
            msgspec.Raw(data) if len(data) <= BODY else data[:BODY].decode("utf-8", "replace")
        )
    else:
        shown["body"] = (noted.refused or b"")[:BODY].decode("utf-8", "replace")
    name = "rejected" if noted.record is None else "accepted"
    return noted.source, noted.at, name, msgspec.json.encode(shown)
