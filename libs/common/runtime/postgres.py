"""PostgreSQL as a service's first component: opens and closes the pool, checks it, and measures its size."""

import time

from libs.common.db.pool import Database
from libs.common.db.schema import refuse_other_partitions, refuse_outdated
from libs.common.errors import Unavailable
from libs.common.observability.telemetry import Meter
from libs.common.runtime.component import Check
from libs.common.settings import Settings


class Postgres:
    """The pool of one service, opened at start. Other components read its `database` when they need it."""

    name = "postgres"

    def __init__(self, settings: Settings, service: str, meter: Meter) -> None:
        self.settings = settings
        self.service = service
        self.meter = meter
        self._database: Database | None = None

    @property
    def database(self) -> Database:
        """The open pool. Raises Unavailable before the start and after the stop."""
        if self._database is None:
            raise Unavailable("PostgreSQL is not connected yet.")
        return self._database

    async def start(self) -> None:
        """Connect. Raises Unavailable if PostgreSQL is, if a schema is older than the code, or if the log has another
        number of partitions."""
        database = await Database.connect(self.settings, self.service)
        try:
            async with database.connection() as connection:
                await refuse_outdated(connection, "log")
                await refuse_outdated(connection, self.service)
                await refuse_other_partitions(connection, self.settings.partitions)
        except BaseException:
            await database.close()
            raise
        self._database = database
        self.meter.watch_pool(database.pool.get_size, database.pool.get_idle_size, self.settings.pool_size)

    async def stop(self) -> None:
        database, self._database = self.database, None
        await database.close()

    async def check(self) -> Check:
        """Whether PostgreSQL answers. Also measures the difference of the clocks, exact to half the round trip."""
        asked = time.time()
        theirs = await self.database.ping()
        self.meter.clock_skew.set((asked + time.time()) / 2 - theirs.timestamp())
        return Check(True, "PostgreSQL answers")
