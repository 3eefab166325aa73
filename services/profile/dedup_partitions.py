"""The partitions of `profile.dedup_keys`, one table a week. They are created in advance and on demand, and dropped
after five weeks."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import asyncpg

from libs.common.db.locks import Lock
from libs.common.db.pipeline import AnyTx
from libs.common.db.pool import Tx
from libs.common.fold.service import ConsumerService
from libs.common.observability.telemetry import log
from libs.common.runtime.periodic import PeriodicTask
from services.profile.store import week_of

logger = log("weeks")

WEEK = timedelta(weeks=1)
KEPT = 5 * WEEK

_EXISTING = """
SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
WHERE inhparent = 'profile.dedup_keys'::regclass
"""


def table_of(week: date) -> str:
    """The name of a week's table, without the schema."""
    return f"dedup_keys_{week:%Y_%m_%d}"


async def ensure(tx: AnyTx, weeks: Iterable[date]) -> None:
    """Create the missing tables of `weeks`. Does not commit. Readers and writers of other weeks need not wait."""
    existing = {row[0] for row in await tx.fetch(_EXISTING)}
    if not (missing := [week for week in sorted(weeks) if table_of(week) not in existing]):
        return
    await tx.execute("SELECT pg_advisory_xact_lock($1)", Lock.DEDUP_PARTITIONS)
    existing = {row[0] for row in await tx.fetch(_EXISTING)}
    for week in missing:
        if (name := table_of(week)) not in existing:
            await tx.execute(f"CREATE TABLE profile.{name} (LIKE profile.dedup_keys INCLUDING ALL)")
            await tx.execute(f"ALTER TABLE profile.dedup_keys ATTACH PARTITION profile.{name} FOR VALUES IN ('{week}')")


async def drop(connection: Tx, before: date) -> list[str]:
    """Drop the tables of weeks before that of `before`, one by one, without waiting for readers. Call it outside a
    transaction."""
    oldest = table_of(week_of(datetime(before.year, before.month, before.day, tzinfo=UTC)))
    dropped = []
    for name in sorted(row[0] for row in await connection.fetch(_EXISTING) if row[0] < oldest):
        try:
            await connection.execute(f"ALTER TABLE profile.dedup_keys DETACH PARTITION profile.{name} CONCURRENTLY")
        except asyncpg.ObjectNotInPrerequisiteStateError:  # an earlier try was cut off half way
            await connection.execute(f"ALTER TABLE profile.dedup_keys DETACH PARTITION profile.{name} FINALIZE")
        await connection.execute(f"DROP TABLE profile.{name}")
        dropped.append(name)
    return dropped


class Housekeeping(PeriodicTask):
    """Keeps the tables of this week and the next ready, and drops those that no retry can reach."""

    name = "housekeeping"
    every = 3600.0

    def __init__(self, part: ConsumerService) -> None:
        super().__init__()
        self._part = part

    async def keep(self, now: datetime) -> list[str]:
        """Run once. Returns the dropped tables. The age of an unread record counts from its append."""
        async with self._part.tx() as tx:
            await ensure(tx, (week_of(now), week_of(now + WEEK)))
        behind = max((lag.seconds for lag in (await self._part.fold.lag()).values()), default=0.0)
        async with self._part.read() as connection:
            return await drop(connection, (now - timedelta(seconds=behind) - KEPT).date())

    async def _run_once(self) -> None:
        if dropped := await self.keep(datetime.now(UTC)):
            logger.info("weeks dropped", tables=dropped)
