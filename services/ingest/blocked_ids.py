"""The workspace's own ids that identify nobody, cached: no query for each request."""

from libs.common.runtime.periodic import PeriodicTask
from libs.common.runtime.postgres import Postgres
from services.ingest import queries


class BlockedIds(PeriodicTask):
    """`values` are in lower case. A change is in force within seconds everywhere; without PostgreSQL the last ones hold."""

    name = "blocked ids"
    every = 2.0

    def __init__(self, postgres: Postgres) -> None:
        super().__init__()
        self._postgres = postgres
        self.values: frozenset[str] = frozenset()

    async def _run_once(self) -> None:
        async with self._postgres.database.connection() as connection:
            self.values = frozenset(await queries.blocked_ids(connection))
