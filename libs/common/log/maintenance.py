"""Maintenance of a service's own topic: segments made ahead and dropped behind, its readers' positions noted, answers to
commands forgotten. A component of each service; of its processes one does the work at a time.
"""

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

#: Every so many rounds readers' positions are noted, segments expire, old answers are forgotten.
NOTING, EXPIRING, FORGETTING = 5, 30, 1800
FORGOTTEN = 1000
#: A statement that would wait for longer lets others pass, and is tried again.
PATIENCE = "1s"
#: Answers are kept for as long as a client may reasonably repeat a command, and forgotten so many at a time.
_FORGET = """
DELETE FROM "{service}".commands WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM "{service}".commands WHERE answered_at < now() - interval '30 days' LIMIT $1 FOR UPDATE SKIP LOCKED
))
"""


class Home(Protocol):
    """Where the topic's database is: the service's part that opens it. `database` raises Unavailable while it is away."""

    @property
    def settings(self) -> Settings: ...

    @property
    def meter(self) -> Meter: ...

    @property
    def database(self) -> Database: ...


class LogMaintenance(PeriodicTask):
    """Keeps the topic that a service writes in this database."""

    name = "log"
    #: Between looks at the heads; at the fastest measured a segment lasts ten seconds.
    every = 2.0

    def __init__(self, service: str, home: Home) -> None:
        super().__init__()
        self._service = service
        self._home = home
        self.topic = written_by(service)
        self._folds = bool(read_by(service))
        self._rounds = 0
        self._pinned: list[Pinned] = []
        self._gauge: Gauge | None = None

    async def start(self) -> None:
        if self._gauge is None:
            self._gauge = Gauge(
                "rapport_log_pinned_segments",
                "Segments of a topic past their time that a reader has not read.",
                ["topic", "reader"],
                registry=self._home.meter.registry,
            )
        await super().start()

    async def check(self) -> Check:
        """Always ready; who keeps old records from being dropped is named."""
        return Check(True, "; ".join(str(pinned) for pinned in self._pinned))

    async def round(self, *, note: bool = True, expire: bool = True) -> tuple[list[str], list[str]]:
        """Make the segments that will be needed; note positions and expire segments, if wanted.

        The segments made, and those dropped; none of either while another process is at it.
        """
        made: list[str] = []
        dropped: list[str] = []
        async with self._home.database.connection() as connection:
            if not await connection.fetchval(
                "SELECT pg_try_advisory_lock($1, hashtext($2))", Lock.LOG_MAINTENANCE, self.topic
            ):
                return made, dropped
            try:
                await connection.execute(f"SET lock_timeout = '{PATIENCE}'")
                made = await self._make(connection)
                if note and self._folds:
                    await retention.note(connection, self._service, self._home.settings)
                if expire:
                    dropped = await self._expire(connection)
            finally:
                await self._leave(connection)
        return made, dropped

    async def _leave(self, connection: Tx) -> None:
        """Leave the session as the pool's others expect it, or end it: with it the lock goes, too."""
        try:
            await connection.execute("SELECT pg_advisory_unlock($1, hashtext($2))", Lock.LOG_MAINTENANCE, self.topic)
            await connection.execute("RESET lock_timeout")
        except UNAVAILABLE:
            connection.terminate()
        except BaseException:
            connection.terminate()
            raise

    async def forget(self) -> None:
        """Forget the answers to commands of over 30 days ago, a thousand a transaction."""
        status = f"DELETE {FORGOTTEN}"
        while status == f"DELETE {FORGOTTEN}":
            async with self._home.database.connection() as connection:
                status = await connection.execute(_FORGET.format(service=self._service), FORGOTTEN)

    async def _make(self, connection: Tx) -> list[str]:
        there = await segments.existing(connection, self.topic)
        heads = [row[0] for row in await connection.fetch("SELECT next FROM log.heads WHERE topic = $1", self.topic)]
        size = segments.size_of(self.topic, self._home.settings)
        return await segments.make(connection, self.topic, segments.missing(there, heads, size))

    async def _expire(self, connection: Tx) -> list[str]:
        leaving = [segment for segment in await segments.existing(connection, self.topic) if segment.leaving]
        dropped = await segments.drop(connection, self.topic, leaving)  # also what an earlier round left behind
        expired = await retention.expirable(connection, self.topic, self._home.settings)
        self._report_pinned(expired.pinned)
        return dropped + await segments.drop(connection, self.topic, expired.due)

    def _report_pinned(self, pinned: list[Pinned]) -> None:
        for each in pinned:
            logger.error("a reader keeps old records from being dropped", **each._asdict(), detail=str(each))
        if self._gauge is not None:
            for each in self._pinned:
                self._gauge.labels(each.topic, each.reader).set(0)
            for each in pinned:
                self._gauge.labels(each.topic, each.reader).set(each.segments)
        self._pinned = pinned

    async def _run_once(self) -> None:
        number = self._rounds
        made, dropped = await self.round(note=number % NOTING == 0, expire=number % EXPIRING == 0)
        if dropped:
            logger.info("segments dropped", made=made, dropped=dropped)
        if self._folds and number % FORGETTING == 0:
            await self.forget()
        self._rounds += 1
