"""Maintenance of a service's own topic: creates segments ahead and drops old ones, notes how far the service's readers
are, deletes old answers to commands. Each service has this component; only one process at a time does the work."""

from typing import Protocol

import structlog
from prometheus_client import Gauge

from libs.common.contracts.registry import read_by, written_by
from libs.common.db.errors import UNAVAILABLE
from libs.common.db.locks import Lock
from libs.common.db.pool import Database, Tx
from libs.common.log import retention, segments
from libs.common.log.retention import Pinned
from libs.common.observability.telemetry import Meter
from libs.common.runtime.component import Check
from libs.common.runtime.periodic import PeriodicTask
from libs.common.settings import Settings

logger = structlog.get_logger()

#: The rounds between noting readers' positions, dropping old segments, deleting old answers.
NOTE_EVERY, EXPIRE_EVERY, FORGET_EVERY = 5, 30, 1800
FORGET_BATCH = 1000
#: A statement that waits longer for a lock is given up until the next round, because others queue behind it.
LOCK_TIMEOUT = "1s"
#: Answers are kept for as long as a client may reasonably repeat a command.
_FORGET = """
DELETE FROM "{service}".commands WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM "{service}".commands WHERE answered_at < now() - interval '30 days' LIMIT $1 FOR UPDATE SKIP LOCKED
))
"""


class DatabaseComponent(Protocol):
    """The component that opens the topic's database. `database` raises Unavailable until it is connected."""

    @property
    def settings(self) -> Settings: ...

    @property
    def meter(self) -> Meter: ...

    @property
    def database(self) -> Database: ...


class LogMaintenance(PeriodicTask):
    """Maintains the topic that a service writes to this database."""

    name = "log"
    #: Seconds between two rounds. At the highest measured rate, a segment lasts ten seconds.
    every = 2.0

    def __init__(self, service: str, component: DatabaseComponent) -> None:
        super().__init__()
        self._service = service
        self._component = component
        self.topic = written_by(service)
        self._folds = bool(read_by(service))
        self._rounds = 0
        self._pinned: list[Pinned] = []
        self._gauge: Gauge | None = None

    async def start(self) -> None:
        if self._gauge is None:
            self._gauge = Gauge(
                "rapport_log_pinned_segments",
                "Old segments of a topic that are kept because a reader has not read them.",
                ["topic", "reader"],
                registry=self._component.meter.registry,
            )
        await super().start()

    async def check(self) -> Check:
        """Always ready. The detail names readers that keep old segments from being dropped."""
        return Check(True, "; ".join(str(pinned) for pinned in self._pinned))

    async def round(self, *, note: bool = True, expire: bool = True) -> tuple[list[str], list[str]]:
        """Create the segments that will be needed; note positions and drop old segments if asked to.

        Returns the names of segments created and dropped; none while another process does the work.
        """
        made: list[str] = []
        dropped: list[str] = []
        async with self._component.database.connection() as connection:
            if not await connection.fetchval(
                "SELECT pg_try_advisory_lock($1, hashtext($2))", Lock.LOG_MAINTENANCE, self.topic
            ):
                return made, dropped
            try:
                await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
                made = await self._make(connection)
                if note and self._folds:
                    await retention.note(connection, self._service, self._component.settings)
                if expire:
                    dropped = await self._expire(connection)
            finally:
                await self._release(connection)
        return made, dropped

    async def _release(self, connection: Tx) -> None:
        """Unlock and restore the session for the pool; if that fails, end the session, and with it the lock."""
        try:
            await connection.execute("SELECT pg_advisory_unlock($1, hashtext($2))", Lock.LOG_MAINTENANCE, self.topic)
            await connection.execute("RESET lock_timeout")
        except UNAVAILABLE:
            connection.terminate()
        except BaseException:
            connection.terminate()
            raise

    async def forget(self) -> None:
        """Delete answers to commands that are over 30 days old, FORGET_BATCH in each transaction."""
        status = f"DELETE {FORGET_BATCH}"
        while status == f"DELETE {FORGET_BATCH}":
            async with self._component.database.connection() as connection:
                status = await connection.execute(_FORGET.format(service=self._service), FORGET_BATCH)

    async def _make(self, connection: Tx) -> list[str]:
        existing = await segments.existing(connection, self.topic)
        heads = [row[0] for row in await connection.fetch("SELECT next FROM log.heads WHERE topic = $1", self.topic)]
        size = segments.size_of(self.topic, self._component.settings)
        return await segments.make(connection, self.topic, segments.missing(existing, heads, size))

    async def _expire(self, connection: Tx) -> list[str]:
        leaving = [segment for segment in await segments.existing(connection, self.topic) if segment.leaving]
        dropped = await segments.drop(
            connection, self.topic, leaving
        )  # also those that an earlier round left half dropped
        expired = await retention.expirable(connection, self.topic, self._component.settings)
        self._report_pinned(expired.pinned)
        return dropped + await segments.drop(connection, self.topic, expired.due)

    def _report_pinned(self, pinned: list[Pinned]) -> None:
        for each in pinned:
            logger.error("a reader keeps old segments from being dropped", **each._asdict(), detail=str(each))
        if self._gauge is not None:
            for each in self._pinned:
                self._gauge.labels(each.topic, each.reader).set(0)
            for each in pinned:
                self._gauge.labels(each.topic, each.reader).set(each.segments)
        self._pinned = pinned

    async def _run_once(self) -> None:
        number = self._rounds
        made, dropped = await self.round(note=number % NOTE_EVERY == 0, expire=number % EXPIRE_EVERY == 0)
        if dropped:
            logger.info("segments dropped", made=made, dropped=dropped)
        if self._folds and number % FORGET_EVERY == 0:
            await self.forget()
        self._rounds += 1
