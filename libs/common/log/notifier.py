"""The notifier: wakes readers in other processes when a topic has new records, so that they need not poll.

NOTIFY takes a lock that all of PostgreSQL shares, so it is sent after the commit, not in it. It is a hint: a reader that misses
it finds the records at its next look. Waking a process costs more than reading a few records, so only latency-sensitive readers
are notified (`registry.notified_at_once`), only of their own topics: immediately of records that match a wake hint
(`wake_hints`), of all others together a little later. The other readers look now and then (`PostgresReader`).
"""

import asyncio
import math
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from libs.common.contracts.registry import notified_at_once
from libs.common.db.errors import UNAVAILABLE
from libs.common.log.wake_hints import WakeHints
from libs.common.runtime.cancel import cancel_and_wait

if TYPE_CHECKING:
    import asyncpg

    from libs.common.db.pool import Database, Tx

logger = structlog.get_logger()

#: Seconds between two notifications by one process: of records that match a wake hint, and of others.
PAUSE, LATER = 0.005, 0.1

#: What was written to a topic: the partitions, and the names of what each now has more of.
Written: TypeAlias = Mapping[int, Set[str]]

_URGENT = frozenset(notified_at_once())
_NOTIFY = "SELECT pg_notify('{channel}', '{partitions}')"


def channel(topic: str) -> str:
    """Where a topic's readers listen."""
    return f"rapport {topic}"


def partitions(payload: str) -> list[int]:
    """The partitions that have new records, out of a notification."""
    return [int(each) for each in payload.split(",")]


class Notifier:
    """Of one process, for the topics that it writes through `database`. Over Kafka every record counts as urgent."""

    def __init__(self, database: "Database") -> None:
        self._pool = database.pool
        self.hints = WakeHints(database.pool) if database.settings.log == "postgres" else None
        self._pending: dict[str, set[int]] = {}
        self._notified_at = 0.0
        self._timer: asyncio.Handle | None = None
        self._at = 0.0  # when it is due
        self._task: asyncio.Task[None] | None = None

    def notify_later(self, topic: str, written: Written) -> None:
        """Notify of what was written, in the background. Call it after the commit; returns at once."""
        self._later(topic, written, self._wait(topic, written))

    async def notify(self, connection: "Tx", topic: str, written: Written) -> None:
        """The same through a connection that has just committed, and so is awake, if a notification is due now."""
        if (wait := self._wait(topic, written)) <= 0:
            await _notify(connection, self._statements_with(topic, written))
        else:
            self._later(topic, written, wait)

    async def commit(self, connection: "Tx", topic: str, written: Written) -> None:
        """Commit what was begun by a plain BEGIN, and `notify` in the same round trip: readers still learn only of what is
        committed. Raises what asyncpg raises; then it may be committed all the same, and the readers find it, and what else
        was pending, at their next look."""
        if (wait := self._wait(topic, written)) <= 0:
            await connection.execute(f"COMMIT; {self._statements_with(topic, written)}")
        else:
            await connection.execute("COMMIT")
            self._later(topic, written, wait)

    @property
    def due_at(self) -> float | None:
        """The event loop's time at which the next deferred notification is due; None if there is none."""
        return None if self._timer is None else self._at

    async def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._task:
            await cancel_and_wait(self._task)
        if self.hints:
            await self.hints.stop()

    def _wait(self, topic: str, written: Written) -> float:
        """Seconds until the notification is due; infinite when no reader gets one."""
        if topic not in _URGENT or not written:
            return math.inf
        urgent = self.hints is None or self.hints.match(set().union(*written.values()))
        return self._notified_at + (PAUSE if urgent else LATER) - asyncio.get_running_loop().time()

    def _later(self, topic: str, written: Written, wait: float) -> None:
        if wait < math.inf:
            self._pending.setdefault(topic, set()).update(written)
            self._schedule(wait)

    def _schedule(self, wait: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + wait
        if self._timer is None or at < self._at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._at = loop.call_at(at, self._fire), at

    def _fire(self) -> None:
        self._timer = None
        if self._task is not None and not self._task.done():
            self._schedule(PAUSE)
        else:
            self._task = asyncio.create_task(_notify(self._pool, self._statements()), name="notifier")

    def _statements_with(self, topic: str, written: Written) -> str:
        """The statements that notify of this and of all that is pending."""
        self._pending.setdefault(topic, set()).update(written)
        return self._statements()

    def _statements(self) -> str:
        """The statements that notify of all that is pending; after it nothing is pending, and no timer runs."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending, self._notified_at = self._pending, {}, asyncio.get_running_loop().time()
        return "; ".join(
            _NOTIFY.format(channel=channel(topic), partitions=",".join(map(str, sorted(numbers))))
            for topic, numbers in pending.items()
        )


async def _notify(through: "asyncpg.Pool[Any] | Tx", statements: str) -> None:
    try:
        await through.execute(statements, timeout=5)
    except UNAVAILABLE as error:
        logger.debug("readers were not notified", error=repr(error))
