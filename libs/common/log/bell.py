"""The bell: tells readers in other processes that a topic has new records, so that they need not ask all the time.

NOTIFY takes a lock that all of PostgreSQL shares, so it is sent after the commit, apart from it, and one for many. It is a
hint: who misses it finds the records at the next poll.
"""

import asyncio
import contextlib
from typing import Any

import asyncpg
import structlog

from libs.common.topics import EVENTS, JOURNAL

logger = structlog.get_logger()

CHANNEL = "rapport_log"
#: Seconds between two notifications of one process.
PAUSE = 0.005
#: Facts are told of only after so many seconds, a few at a time: they come back as news, which nobody waits for, and in
#: batches of one each would cost as much as the event that it follows from.
LINGER = 0.1
#: What people wait for.
URGENT = (EVENTS, JOURNAL)


class Bell:
    """Of one process, for the topics that it writes. The notification's payload is the topic."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._rung: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def ring(self, topic: str) -> None:
        """Say that `topic` has new records. Call it after the commit; returns at once."""
        self._rung.add(topic)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._notify(), name="bell")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _notify(self) -> None:
        while self._rung:
            if self._rung.isdisjoint(URGENT):
                await asyncio.sleep(LINGER)
            topics, self._rung = sorted(self._rung), set()
            try:
                await self._pool.execute(
                    "SELECT pg_notify($1, topic) FROM unnest($2::text[]) AS topic", CHANNEL, topics, timeout=5
                )
            except (
                OSError,
                TimeoutError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
            ) as error:
                logger.debug("nobody was told of new records", error=repr(error))
            await asyncio.sleep(PAUSE)
