"""The bell: tells readers in other processes that a topic has new records, so that they need not ask all the time.

NOTIFY takes a lock that all of PostgreSQL shares, so it is sent behind the commit, not in it. It is a hint: who misses it
finds the records at the next look. As to wake a process costs more than to read a few records, only those are told for whom
somebody waits (`topics.told_at_once`), only of their own topics, and at once only of what is `awaited`: of the rest together,
a little later. The other readers look now and then (`PostgresReader`).
"""

import asyncio
import math
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from libs.common.contracts.registry import notified_at_once
from libs.common.db.errors import UNAVAILABLE
from libs.common.log.awaited import Awaited
from libs.common.runtime.cancel import ended

if TYPE_CHECKING:
    import asyncpg

    from libs.common.db.pool import Tx

logger = structlog.get_logger()

#: Seconds between two notifications of one process: of what is awaited, and of what is not.
PAUSE, LATER = 0.005, 0.1

#: What was written to a topic: the partitions, and the names of what each now has more of.
Written: TypeAlias = Mapping[int, Set[str]]

_URGENT = frozenset(notified_at_once())
_NOTIFY = "SELECT pg_notify('{channel}', '{partitions}')"


def channel(topic: str) -> str:
    """Where a topic's readers listen."""
    return f"rapport {topic}"


def partitions(payload: str) -> list[int]:
    """Which have new records."""
    return [int(each) for each in payload.split(",")]


class Bell:
    """Of one process, for the topics that it writes. Without `awaited` everything is."""

    def __init__(self, pool: "asyncpg.Pool[Any]", awaited: Awaited | None = None) -> None:
        self._pool = pool
        self._awaited = awaited
        self._news: dict[str, set[int]] = {}
        self._told = 0.0
        self._timer: asyncio.Handle | None = None
        self._at = 0.0  # when it is due
        self._task: asyncio.Task[None] | None = None

    def ring(self, topic: str, written: Written) -> None:
        """Say what was written. Call it after the commit; returns at once."""
        self._later(topic, written, self._wait(topic, written))

    async def tell(self, connection: "Tx", topic: str, written: Written) -> None:
        """The same through a connection that has just committed, and so is awake, if they are to be told now."""
        if (wait := self._wait(topic, written)) <= 0:
            await _notify(connection, self._all_with(topic, written))
        else:
            self._later(topic, written, wait)

    async def commit(self, connection: "Tx", topic: str, written: Written) -> None:
        """Commit what was begun by a plain BEGIN, and `tell` in the same round trip: the readers are told even so only of
        what is committed. Raises what asyncpg raises; then it may be committed all the same, and its readers find it, and
        what else was to be told, at their next look."""
        if (wait := self._wait(topic, written)) <= 0:
            await connection.execute(f"COMMIT; {self._all_with(topic, written)}")
        else:
            await connection.execute("COMMIT")
            self._later(topic, written, wait)

    async def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._task:
            await ended(self._task)
        if self._awaited:
            await self._awaited.stop()

    def _wait(self, topic: str, written: Written) -> float:
        """Seconds until it is to be told; for ever when nobody is."""
        if topic not in _URGENT or not written:
            return math.inf
        awaited = self._awaited is None or self._awaited.any_of(set().union(*written.values()))
        return self._told + (PAUSE if awaited else LATER) - asyncio.get_running_loop().time()

    def _later(self, topic: str, written: Written, wait: float) -> None:
        if wait < math.inf:
            self._news.setdefault(topic, set()).update(written)
            self._tell_in(wait)

    def _tell_in(self, wait: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + wait
        if self._timer is None or at < self._at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._at = loop.call_at(at, self._time_has_come), at

    def _time_has_come(self) -> None:
        self._timer = None
        if self._task is not None and not self._task.done():
            self._tell_in(PAUSE)
        else:
            self._task = asyncio.create_task(_notify(self._pool, self._all()), name="bell")

    def _all_with(self, topic: str, written: Written) -> str:
        """What tells of this and of all that waits to be told."""
        self._news.setdefault(topic, set()).update(written)
        return self._all()

    def _all(self) -> str:
        """What tells of all the news; there are none then, nor is any telling due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        news, self._news, self._told = self._news, {}, asyncio.get_running_loop().time()
        return "; ".join(
            _NOTIFY.format(channel=channel(topic), partitions=",".join(map(str, sorted(lanes))))
            for topic, lanes in news.items()
        )


async def _notify(through: "asyncpg.Pool[Any] | Tx", statements: str) -> None:
    try:
        await through.execute(statements, timeout=5)
    except UNAVAILABLE as error:
        logger.debug("nobody was told of new records", error=repr(error))
