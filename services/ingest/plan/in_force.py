"""The tracking plans in force, compiled and cached: no query for each request."""

import asyncio
from uuid import UUID

from libs.common.observability.telemetry import log
from libs.common.runtime.periodic import PeriodicTask
from libs.common.runtime.postgres import Postgres
from services.ingest.plan import store
from services.ingest.plan.compiled import CompiledPlan
from services.ingest.plan.plan import TrackingPlan
from services.ingest.plan.store import InForce

logger = log("tracking plans")


class PlansInForce(PeriodicTask):
    """`of` is a look-up. A change is in force within seconds everywhere; without PostgreSQL the last plans hold."""

    name = "tracking plans"
    every = 2.0

    def __init__(self, postgres: Postgres) -> None:
        super().__init__()
        self._postgres = postgres
        self._lock = asyncio.Lock()
        self._live: list[InForce] = []
        self._workspace: CompiledPlan | None = None
        self._of: dict[UUID, CompiledPlan] = {}

    async def start(self) -> None:
        """The plans are in force before the first event. Raises Unavailable when they cannot be read."""
        await self._run_once()
        await super().start()

    def of(self, source: UUID) -> CompiledPlan | None:
        """What a source's events have to follow; None when no plan says anything about them."""
        return self._of.get(source, self._workspace)

    async def refresh(self) -> None:
        """A plan was published or paused here: put it in force at once."""
        await self._run_once()

    async def _run_once(self) -> None:
        async with self._lock:
            async with self._postgres.database.connection() as connection:
                live = await store.in_force(connection)
                if live == self._live:
                    return
                found = await store.contents(connection, live)
            workspace, of = await asyncio.to_thread(_compiled, found)
            self._workspace, self._of = workspace, of
            self._live = live
            for plan in (workspace, *of.values()):
                for event, error in () if plan is None else plan.faulty.items():
                    logger.error("a schema of the tracking plan is not in force", event_name=event, error=error)


def _compiled(found: dict[InForce, TrackingPlan]) -> tuple[CompiledPlan | None, dict[UUID, CompiledPlan]]:
    shared = [plan for each, plan in found.items() if each.source is None]
    of = {each.source: CompiledPlan(*shared, plan) for each, plan in found.items() if each.source is not None}
    return CompiledPlan(*shared) if shared else None, of
