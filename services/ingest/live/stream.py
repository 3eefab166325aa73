"""The live view of one source as server-sent events."""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import UUID

from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import Unavailable
from libs.common.http.auth.tokens import Principal
from libs.common.http.streams import HEARTBEAT, RETRY, STILL_HERE, ConnectionLimit, event, over
from libs.common.runtime.postgres import Postgres
from services.ingest.live import store
from services.ingest.live.writer import LiveWriter

STREAMS = 32  # open at a time in a process
POLL = 0.3  # seconds between looks
RENEW = 5.0  # seconds between renewals of the watch
PAGE = 200  # events read at once


class LiveStream:
    """Follows what the writers of all processes note."""

    def __init__(self, postgres: Postgres, writer: LiveWriter) -> None:
        self._postgres = postgres
        self._writer = writer
        self.limit = ConnectionLimit(STREAMS, "GET /v1/rejected and GET /v1/warnings")

    async def begin(self, source: UUID, last: int | None) -> int:
        """Where a stream begins: after the event `last`, or now. A crash of PostgreSQL empties the table and begins to count
        anew, so `last` may lie ahead."""
        async with self._postgres.database.connection() as connection:
            newest = await store.newest(connection)
        number = newest if last is None else min(last, newest)
        await self._writer.watch(source)
        return number

    async def follow(self, source: UUID, number: int, who: Principal, draining: asyncio.Event) -> AsyncIterator[bytes]:
        """Events as bytes, until the service drains or the token of `who` expires."""
        yield b"retry: %d\n\n" % RETRY + event(str(number), "ready", b"{}")
        sent_at = renewed_at = time.monotonic()
        is_away = False
        while not draining.is_set() and not over(who):
            try:
                if time.monotonic() - renewed_at >= RENEW:
                    await self._writer.watch(source)
                    renewed_at = time.monotonic()
                async with self._postgres.database.connection() as connection:
                    if is_away:
                        number = min(number, await store.newest(connection))
                    rows = await store.after(connection, source, number, PAGE)
                is_away = False
            except (Unavailable, *UNAVAILABLE):
                rows, is_away = [], True  # readiness reports it
            for row in rows:
                number = row["id"]
                yield event(str(number), row["name"], row["value"])
            now = time.monotonic()
            if rows:
                sent_at = now
            elif now - sent_at >= HEARTBEAT:
                yield STILL_HERE
                sent_at = now
            try:
                async with asyncio.timeout(POLL):
                    await draining.wait()
            except TimeoutError:
                continue
