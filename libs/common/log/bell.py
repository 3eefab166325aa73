"""The bell: tells readers in other processes that a topic has new records, so that they need not ask all the time.

NOTIFY takes a lock that all of PostgreSQL shares, so it is sent after the commit, apart from it, and one for many. It is a
hint: who misses it finds the records at the next poll. There are two channels, as to wake a process costs more than to read
a few records: those who are told at once (`topics.told_at_once`) hear of each commit and its partitions, the others of the
topics that had any within LINGER.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from libs.common.topics import TOPICS, told_at_once
from libs.common.unavailable import UNAVAILABLE

if TYPE_CHECKING:
    from libs.common.db import Tx

logger = structlog.get_logger()

AT_ONCE, LATER = "rapport_log", "rapport_log_later"
#: Seconds between two notifications of one process at once.
PAUSE = 0.005
#: Seconds for which records are gathered before the others are told of them.
LINGER = 0.1

_URGENT = frozenset(told_at_once())
_PATIENT = frozenset(topic.name for topic in TOPICS if set(topic.readers) - set(topic.at_once))
_NOTIFY = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"


class News:
    """Topics that have new records, and in which partitions; written `topic:0,3`, or `topic` for any of them."""

    def __init__(self) -> None:
        self._partitions: dict[str, set[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._partitions)

    def add(self, topic: str, partitions: Iterable[int]) -> None:
        self._partitions.setdefault(topic, set()).update(partitions)

    def payloads(self) -> list[str]:
        return [f"{topic}:{','.join(map(str, sorted(lanes)))}" for topic, lanes in sorted(self._partitions.items())]


def read(payload: str) -> tuple[str, list[int] | None]:
    """A notification's topic and partitions; None when it names none: any may have something new."""
    topic, _, partitions = payload.partition(":")
    return topic, [int(each) for each in partitions.split(",")] if partitions else None


class Bell:
    """Of one process, for the topics that it writes."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._urgent = News()
        self._later: set[str] = set()
        self._told = 0.0
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def ring(self, topic: str, partitions: Iterable[int]) -> None:
        """Say that these partitions have new records. Call it after the commit; returns at once."""
        self._note(topic, partitions)
        if self._urgent:
            self._start(AT_ONCE)

    async def tell(self, connection: "Tx", topic: str, partitions: Iterable[int]) -> None:
        """The same through a connection that has just committed, and so is awake, unless others were told just before."""
        self._note(topic, partitions)
        if self._urgent and time.monotonic() >= self._told + PAUSE:
            await self._notify_urgent(connection)
        elif self._urgent:
            self._start(AT_ONCE)

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _note(self, topic: str, partitions: Iterable[int]) -> None:
        if topic in _URGENT:
            self._urgent.add(topic, partitions)
        if topic in _PATIENT:
            self._later.add(topic)
            self._start(LATER)

    def _start(self, channel: str) -> None:
        if channel not in self._tasks or self._tasks[channel].done():
            told = self._tell_at_once() if channel == AT_ONCE else self._tell_later()
            self._tasks[channel] = asyncio.create_task(told, name=f"bell {channel}")

    async def _tell_at_once(self) -> None:
        while self._urgent:
            await asyncio.sleep(self._told + PAUSE - time.monotonic())
            await self._notify_urgent(self._pool)

    async def _tell_later(self) -> None:
        while self._later:
            await asyncio.sleep(LINGER)
            topics, self._later = sorted(self._later), set()
            await _notify(self._pool, LATER, topics)

    async def _notify_urgent(self, through: "asyncpg.Pool[Any] | Tx") -> None:
        news, self._urgent, self._told = self._urgent, News(), time.monotonic()
        await _notify(through, AT_ONCE, news.payloads())


async def _notify(through: "asyncpg.Pool[Any] | Tx", channel: str, payloads: list[str]) -> None:
    try:
        await through.execute(_NOTIFY, channel, payloads, timeout=5)
    except UNAVAILABLE as error:
        logger.debug("nobody was told of new records", error=repr(error))
