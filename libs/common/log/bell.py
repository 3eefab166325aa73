"""The bell: tells readers in other processes that a topic has new records, so that they need not ask all the time.

NOTIFY takes a lock that all of PostgreSQL shares, so it is sent behind the commit, not in it. It is a hint: who misses it
finds the records at the next look. As to wake a process costs more than to read a few records, only those are told for whom
somebody waits (`topics.told_at_once`), and only of their own topics; the others look now and then (`PostgresReader`).
"""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import structlog

from libs.common.topics import told_at_once
from libs.common.unavailable import UNAVAILABLE

if TYPE_CHECKING:
    import asyncpg

    from libs.common.db import Tx

logger = structlog.get_logger()

#: Seconds between two notifications of one process.
PAUSE = 0.005

_URGENT = frozenset(told_at_once())
_NOTIFY = "SELECT pg_notify('{channel}', '{partitions}')"


def channel(topic: str) -> str:
    """Where a topic's readers listen."""
    return f"rapport {topic}"


def partitions(payload: str) -> list[int] | None:
    """Which have new records; None when the notification names none: any may have."""
    return [int(each) for each in payload.split(",")] if payload else None


class Bell:
    """Of one process, for the topics that it writes."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._news: dict[str, set[int]] = {}
        self._told = 0.0
        self._task: asyncio.Task[None] | None = None

    def ring(self, topic: str, partitions: Iterable[int]) -> None:
        """Say that these partitions (any, if there are none) have new records. Call it after the commit; returns at once."""
        self._note(topic, partitions)
        if self._news and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._tell(), name="bell")

    async def tell(self, connection: "Tx", topic: str, partitions: Iterable[int]) -> None:
        """The same through a connection that has just committed, and so is awake, unless others were told just before."""
        if self._is_due(topic):
            self._note(topic, partitions)
            await self._notify(connection)
        else:
            self.ring(topic, partitions)

    async def commit(self, connection: "Tx", topic: str, partitions: Iterable[int]) -> None:
        """Commit what was begun by a plain BEGIN, and `tell` in the same round trip: the readers are told even so only of
        what is committed. Raises what asyncpg raises; then it may be committed all the same."""
        if self._is_due(topic) and partitions:
            self._note(topic, partitions)
            await connection.execute(f"COMMIT; {self._take()}")
        else:
            await connection.execute("COMMIT")
            if partitions:
                self.ring(topic, partitions)

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _is_due(self, topic: str) -> bool:
        return topic in _URGENT and time.monotonic() >= self._told + PAUSE

    def _note(self, topic: str, partitions: Iterable[int]) -> None:
        if topic in _URGENT:
            self._news.setdefault(topic, set()).update(partitions)

    def _take(self) -> str:
        """What tells of all the news; there are none then."""
        news, self._news, self._told = self._news, {}, time.monotonic()
        return "; ".join(
            _NOTIFY.format(channel=channel(topic), partitions=",".join(map(str, sorted(lanes))))
            for topic, lanes in news.items()
        )

    async def _tell(self) -> None:
        while self._news:
            await asyncio.sleep(self._told + PAUSE - time.monotonic())
            if self._news:  # else somebody has just committed, and told of them
                await self._notify(self._pool)

    async def _notify(self, through: "asyncpg.Pool[Any] | Tx") -> None:
        try:
            await through.execute(self._take(), timeout=5)
        except UNAVAILABLE as error:
            logger.debug("nobody was told of new records", error=repr(error))
