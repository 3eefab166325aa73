"""Routes of the tracking plan: the workspace's, and those of sources; drafts, publication, violations."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from libs.common.db.pool import Tx
from libs.common.errors import Conflict
from libs.common.http.etag import CHANGED, IfMatch, set_etag
from libs.common.runtime.postgres import Postgres
from services.ingest import queries
from services.ingest.api.rejected import NEWEST
from services.ingest.api.sources import Limit, Reader, Writer
from services.ingest.log import Log
from services.ingest.plan import store, violations
from services.ingest.plan.in_force import PlansInForce
from services.ingest.plan.plan import Mode, TrackingPlan, refuse_faulty
from services.ingest.plan.sample import sample

Source = Annotated[
    str | None,
    Query(max_length=64, description="a source's name, for its own plan; the workspace's without it"),
]


class ShownPlan(TrackingPlan):
    """A version of a plan. `live_version` was published last, and is in force while `status` is `live`."""

    model_config = ConfigDict(json_schema_extra={})

    source: str | None
    version: int
    newest_version: int
    status: Literal["draft", "live", "paused"]
    live_version: int | None
    created_at: datetime
    edited_by: str
    edited_at: datetime
    published_by: str | None
    published_at: datetime | None


class AddedEvent(BaseModel):
    event: str
    seen: Annotated[int, Field(description="how often, in the sample")]


class InferredPlan(ShownPlan):
    """The draft, and what was added to it."""

    added: list[AddedEvent]


class PlanViolation(BaseModel):
    """How often the events of a name broke a rule of the plan on a day (in UTC). `example` is the last one."""

    id: UUID
    source: str
    day: date
    event: str
    rule: Annotated[str, Field(examples=["properties.revenue is not of type `number`"])]
    mode: Mode
    events: int
    last_at: datetime
    example: Annotated[str, Field(examples=['properties.revenue is not of type `number` (it is "a lot")'])]
    message_id: str


class ViolationPage(BaseModel):
    items: list[PlanViolation]
    next: str | None


def routes(postgres: Postgres, plans: PlansInForce, log: Log) -> APIRouter:
    """Read, write, publish and pause plans; what breaks them."""
    router = APIRouter(prefix="/v1/tracking-plan", tags=["tracking plan"], responses={404: {}})

    @router.get("", summary="The tracking plan in its newest version, or in another")
    async def read(
        _: Reader,
        response: Response,
        source: Source = None,
        version: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    ) -> ShownPlan:
        """Send the `ETag` as `If-Match` to edit or publish this very state."""
        async with postgres.database.connection() as connection:
            return await _shown(connection, await source_id(connection, source), response, version)

    @router.put("", summary="Write the plan: a new version, as a draft; the live one stays in force", responses=CHANGED)
    async def edit(
        plan: TrackingPlan, who: Writer, response: Response, source: Source = None, if_match: IfMatch = None
    ) -> ShownPlan:
        """A source's own plan adds to the workspace's. What it says of an event takes the place of what that says."""
        refuse_faulty(plan)
        async with postgres.database.transaction() as tx:
            identity = await source_id(tx, source)
            await store.edit(tx, identity, plan, who.subject, if_match)
            return await _shown(tx, identity, response)

    @router.post("/infer", summary="Draft a plan from what has arrived", responses={409: {}})
    async def infer(who: Writer, response: Response, source: Source = None) -> InferredPlan:
        """Adds the events to the plan that have arrived and that it does not name, as a new version for you to edit: their
        properties, types, and what all of them have. They are observed. What the plan says stays. A source's own plan leaves
        out what the workspace's live plan names. The sample is the newest events in the log, up to 4,000."""
        async with postgres.database.connection() as connection:
            identity = await source_id(connection, source)
        seen = await sample(log, postgres.settings.partitions, source)
        async with postgres.database.transaction() as tx:
            shared = None if identity is None else await store.live(tx)
            newest = await store.newest(tx, identity)
            known = newest or TrackingPlan()
            plan = seen.added_to(known, () if shared is None else shared.events)
            if newest is None and not plan.events:
                raise Conflict("No events have arrived yet that no plan names: send some, and try again.")
            await store.edit(tx, identity, plan, who.subject)
            shown = await _shown(tx, identity, response)
        counts = seen.counts()
        added = [AddedEvent(event=name, seen=counts[name]) for name in plan.events if name not in known.events]
        return InferredPlan(**shown.model_dump(by_alias=True), added=added)

    @router.post("/publish", summary="Put the newest version in force, within seconds everywhere", responses=CHANGED)
    async def publish(who: Writer, response: Response, source: Source = None, if_match: IfMatch = None) -> ShownPlan:
        async with postgres.database.transaction() as tx:
            identity = await source_id(tx, source)
            await store.publish(tx, identity, who.subject, if_match)
            shown = await _shown(tx, identity, response)
        await plans.refresh()
        return shown

    @router.post("/pause", summary="Take the plan out of force; publishing ends the pause", responses=CHANGED)
    async def pause(_: Writer, response: Response, source: Source = None, if_match: IfMatch = None) -> ShownPlan:
        async with postgres.database.transaction() as tx:
            identity = await source_id(tx, source)
            await store.pause(tx, identity, if_match)
            shown = await _shown(tx, identity, response)
        await plans.refresh()
        return shown

    @router.get("/violations", summary="Violations of the last seven days, by source, day, event and rule")
    async def page(
        _: Reader,
        source: Annotated[str | None, Query(description="a source's name; all without it")] = None,
        event: Annotated[str | None, Query(description="an event's name; all without it")] = None,
        limit: Limit = 50,
        cursor: UUID = NEWEST,
    ) -> ViolationPage:
        """Of each event the first rule that it breaks is counted. Those of a rejected event count each time it comes."""
        async with postgres.database.connection() as connection:
            found = await violations.page(connection, source, event, cursor, limit + 1)
        items = [PlanViolation(**row) for row in found[:limit]]
        return ViolationPage(items=items, next=str(items[-1].id) if len(found) > limit else None)

    return router


async def source_id(tx: Tx, name: str | None) -> UUID | None:
    """Whose plan it is. Raises NotFound."""
    return None if name is None else await queries.source_id(tx, name)


async def _shown(tx: Tx, source: UUID | None, response: Response, version: int | None = None) -> ShownPlan:
    row = await store.get(tx, source, version)
    set_etag(response, store.tag(row))
    said = {name: value for name, value in row.items() if name not in ("id", "content")}
    return ShownPlan(**store.content_of(row).model_dump(by_alias=True), **said)
