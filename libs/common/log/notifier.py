"""The notifier wakes readers in other processes when a topic has new records.

NOTIFY takes a lock that the whole PostgreSQL server shares, so it is sent after the commit, not in it. It is only a
hint: a reader that misses it finds the records at its next poll. Waking a process costs more than reading a few
records, so only latency-sensitive readers are notified (`registry.notified_at_once`): immediately of records that match
a wake hint (`wake_hints`), a little later of all others together. The other readers poll (`PostgresReader`).
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

#: Seconds between two notifications by one process: for records that match a wake hint, and for others.
URGENT_PAUSE, OTHER_PAUSE = 0.005, 0.1

#: What was written to a topic: for each partition, the names of the new records.
Written: TypeAlias = Mapping[int, Set[str]]

_URGENT = frozenset(notified_at_once())
_NOTIFY = "SELECT pg_notify('{channel}', '{partitions}')"


def channel(topic: str) -> str:
    """The channel on which a topic's readers listen."""
    return f"rapport {topic}"


def partitions(payload: str) -> list[int]:
    """The partitions with new records, from a notification's payload."""
    return [int(each) for each in payload.split(",")]


class Notifier:
    """Notifies of what one process writes through `database`. With Kafka as the log, every record counts as urgent."""

    def __init__(self, database: "Database") -> None:
        self._pool = database.pool
        self.hints = WakeHints(database.pool) if database.settings.log == "postgres" else None
        self._pending: dict[str, set[int]] = {}
        self._notified_at = 0.0
        self._timer: asyncio.Handle | None = None
        self._due = 0.0  # when the timer is due
        self._task: asyncio.Task[None] | None = None

    def notify_later(self, topic: str, written: Written) -> None:
        """Notify of what was written, in the background. Does not block. Call it after the commit."""
        self._later(topic, written, self._wait(topic, written))

    async def notify(self, connection: "Tx", topic: str, written: Written) -> None:
        """Notify of what was written: now through `connection`, if a notification is due, else later in the background.

        Call it after the commit, with the connection that committed, because its server process is awake.
        """
        if (wait := self._wait(topic, written)) <= 0:
            await _notify(connection, self._statements_with(topic, written))
        else:
            self._later(topic, written, wait)

    async def commit(self, connection: "Tx", topic: str, written: Written) -> None:
        """Commit a transaction begun by a plain BEGIN, and `notify` in the same round trip, after the commit.

        Raises what asyncpg raises. The transaction may be committed even then; readers find its records, and others
        whose notification was pending, at their next poll.
        """
        if (wait := self._wait(topic, written)) <= 0:
            await connection.execute(f"COMMIT; {self._statements_with(topic, written)}")
        else:
            await connection.execute("COMMIT")
            self._later(topic, written, wait)

    @property
    def due_at(self) -> float | None:
        """The event loop's time at which the next deferred notification is due; None if there is none."""
        return None if self._timer is None else self._due

    async def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._task:
            await cancel_and_wait(self._task)
        if self.hints:
            await self.hints.stop()

    def _wait(self, topic: str, written: Written) -> float:
        """Seconds until the notification is due; infinite if no reader is notified."""
        if topic not in _URGENT or not written:
            return math.inf
        urgent = self.hints is None or self.hints.match(set().union(*written.values()))
        return self._notified_at + (URGENT_PAUSE if urgent else OTHER_PAUSE) - asyncio.get_running_loop().time()

    def _later(self, topic: str, written: Written, wait: float) -> None:
        if wait < math.inf:
            self._pending.setdefault(topic, set()).update(written)
            self._schedule(wait)

    def _schedule(self, wait: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + wait
        if self._timer is None or at < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._due = loop.call_at(at, self._fire), at

    def _fire(self) -> None:
        self._timer = None
        if self._task is not None and not self._task.done():
            self._schedule(URGENT_PAUSE)
        else:
            self._task = asyncio.create_task(_notify(self._pool, self._statements()), name="notifier")

    def _statements_with(self, topic: str, written: Written) -> str:
        """SQL that notifies of this and of all that is pending."""
        self._pending.setdefault(topic, set()).update(written)
        return self._statements()

    def _statements(self) -> str:
        """SQL that notifies of all that is pending. Afterwards nothing is pending and no timer runs."""
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
