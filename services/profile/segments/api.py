"""Routes of segments: drafts, previews, publication, members, why in or out, sizes."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from libs.common.db.pool import Tx
from libs.common.fold.customers import Customers
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.http.etag import CHANGED, IfMatch, set_etag
from libs.common.rules.cel.condition import Operand
from services.profile.documents import Row, tag
from services.profile.domain.state import Customer
from services.profile.segments import queries
from services.profile.segments.segment import Segment, refuse_faulty
from services.profile.segments.store import SEGMENTS

Reader = Annotated[Principal, Depends(require("segments:read"))]
Writer = Annotated[Principal, Depends(require("segments:write"))]


class ShownSegment(Segment):
    """A segment in its newest version. `live_version` is in force. `size` is how many customers are in it now."""

    model_config = ConfigDict(json_schema_extra={})

    id: UUID
    version: int
    status: Literal["draft", "live", "archived"]
    live_version: int | None
    size: int
    created_at: datetime
    edited_by: str
    edited_at: datetime
    published_by: str | None
    published_at: datetime | None


class Fill(BaseModel):
    """How far all customers have been evaluated since the last publication. Who has an event meanwhile is evaluated at once."""

    done: int
    total: int
    started_at: datetime
    finished_at: datetime | None


class SegmentAndFill(ShownSegment):
    fill: Fill | None


class Segments(BaseModel):
    """A page of segments, each in its newest version."""

    items: list[ShownSegment]
    next: UUID | None


class Sample(BaseModel):
    """A customer who would be in the segment, and why."""

    customer: UUID
    user_id: str | None
    because: str


class Preview(BaseModel):
    """How many customers the newest version would have. Up to 1,000 customers are tried; of more, the count is estimated."""

    count: int
    estimated: bool
    tried: int
    total: int
    samples: list[Sample]


class Comparison(BaseModel):
    """One comparison of a condition. `holds` is null if it could not be evaluated, which `error` or `absent` explains."""

    text: str = Field(examples=["count('Order Completed', days=30) >= 3"])
    holds: bool | None
    values: dict[str, Any] = Field(examples=[{"count('Order Completed', days=30)": 2}])
    absent: list[str]
    error: str | None


class Why(BaseModel):
    """Whether a customer meets the condition of the newest version now, and why. `member_since` says since when they have been in
    the live version; null if they are not."""

    customer: UUID
    matches: bool
    because: str = Field(examples=["false because count('Order Completed', days=30) >= 3 (it was 2)"])
    comparisons: list[Comparison]
    member_since: datetime | None


class Member(BaseModel):
    customer: UUID
    user_id: str | None
    since: datetime


class Members(BaseModel):
    """A page of members, by id."""

    items: list[Member]
    next: UUID | None


class Day(BaseModel):
    day: date
    entered: int
    exited: int
    size: int = Field(description="at the end of the day")


class Sizes(BaseModel):
    """The size of a segment at the end of each day on which it changed, the oldest first, and now."""

    days: list[Day]
    size: int


def routes(part: ConsumerService) -> APIRouter:
    """Create, read, edit, preview, publish and archive segments."""
    router = APIRouter(prefix="/v1/segments", tags=["segments"])
    customers = Customers("profile", Customer)

    @router.post("", status_code=201, summary="A new segment, as a draft")
    async def create(segment: Segment, who: Writer, response: Response) -> ShownSegment:
        refuse_faulty(segment)
        async with part.tx() as tx:
            return await _shown(tx, await SEGMENTS.create(tx, segment, who.subject), response)

    @router.get("", summary="The segments, the oldest first")
    async def page(_: Reader, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: UUID | None = None) -> Segments:
        async with part.read() as tx:
            rows = await SEGMENTS.page(tx, limit + 1, cursor)
            sizes = await queries.sizes(tx, [row["name"] for row in rows])
        items = [shown(row, sizes) for row in rows[:limit]]
        return Segments(items=items, next=items[-1].id if len(rows) > limit else None)

    @router.get("/{id}", summary="A segment, its size, and how far the customers have been evaluated")
    async def read(id: UUID, _: Reader, response: Response) -> SegmentAndFill:
        """Send the `ETag` as `If-Match` to edit or publish this very state."""
        async with part.read() as tx:
            segment = await _shown(tx, id, response)
            row = await queries.fill_progress(tx)
        fill = None if row is None else Fill(**{name: row[name] for name in Fill.model_fields})
        return SegmentAndFill(**segment.model_dump(), fill=fill)

    @router.put(
        "/{id}", summary="Edit a segment: a new version, as a draft; the live one stays in force", responses=CHANGED
    )
    async def edit(
        id: UUID, segment: Segment, who: Writer, response: Response, if_match: IfMatch = None
    ) -> ShownSegment:
        refuse_faulty(segment)
        async with part.tx() as tx:
            await SEGMENTS.edit(tx, id, segment, who.subject, if_match)
            return await _shown(tx, id, response)

    @router.post("/{id}/preview", summary="Who would be in the newest version now")
    async def preview(id: UUID, _: Reader) -> Preview:
        """Changes nothing. Customers are drawn at random, and their events of all windows counted."""
        async with part.tx() as tx:
            segment = SEGMENTS.content_of(await SEGMENTS.get(tx, id))
            found = await queries.preview(tx, segment, uuid4(), datetime.now(UTC))
        return Preview(
            count=found.count,
            estimated=found.tried < found.total,
            tried=found.tried,
            total=found.total,
            samples=[Sample(customer=id, user_id=user, because=because) for id, user, because in found.samples],
        )

    @router.post(
        "/{id}/publish", summary="Put the newest version in force, and evaluate all customers", responses=CHANGED
    )
    async def publish(id: UUID, who: Writer, response: Response, if_match: IfMatch = None) -> ShownSegment:
        """Events from now on fall under it. All customers are evaluated in the background (`fill` says how far): facts on
        those who enter or exit by the publication itself say `backfill`."""
        async with part.tx() as tx:
            await SEGMENTS.publish(tx, id, who.subject, if_match)
            return await _shown(tx, id, response)

    @router.post("/{id}/archive", summary="Take a segment out of force for good; its members leave it")
    async def archive(id: UUID, who: Writer, response: Response) -> ShownSegment:
        async with part.tx() as tx:
            await SEGMENTS.archive(tx, id, who.subject)
            return await _shown(tx, id, response)

    @router.get("/{id}/customers", summary="Who is in the segment, by id")
    async def members(
        id: UUID, _: Reader, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: UUID | None = None
    ) -> Members:
        async with part.read() as tx:
            row = await SEGMENTS.get(tx, id)
            rows = await queries.members(tx, row["name"], limit + 1, cursor)
        items = [
            Member(customer=each["customer"], user_id=each["user_id"], since=each["since"]) for each in rows[:limit]
        ]
        return Members(items=items, next=items[-1].customer if len(rows) > limit else None)

    @router.get("/{id}/customers/{ref}", summary="Why a customer is in the segment, or is not")
    async def why(id: UUID, ref: str, _: Reader) -> Why:
        async with part.tx() as tx:
            row = await SEGMENTS.get(tx, id)
            customer = await customers.resolve(tx, ref)
            found = await queries.verdict(tx, SEGMENTS.content_of(row), customer, datetime.now(UTC))
            since = await queries.member_since(tx, row["name"], customer)
        return Why(
            customer=customer,
            matches=found.matched,
            because=found.because,
            comparisons=[_comparison(each) for each in found.operands],
            member_since=since,
        )

    @router.get("/{id}/sizes", summary="The size of the segment over time")
    async def sizes(id: UUID, _: Reader, days: Annotated[int, Query(ge=1, le=3_650)] = 90) -> Sizes:
        """Days are those of the workspace's zone."""
        today = datetime.now(part.settings.zone).date()
        async with part.read() as tx:
            row = await SEGMENTS.get(tx, id)
            size = (await queries.sizes(tx, [row["name"]]))[row["name"]]
            found = await queries.size_by_day(tx, row["name"], today - timedelta(days=days - 1))
        left, after = [], size
        for day, entered, exited in reversed(found):
            left.append(Day(day=day, entered=entered, exited=exited, size=after))
            after -= entered - exited
        return Sizes(days=left[::-1], size=size)

    return router


async def _shown(tx: Tx, id: UUID, response: Response) -> ShownSegment:
    row = await SEGMENTS.get(tx, id)
    set_etag(response, tag(row))
    return shown(row, await queries.sizes(tx, [row["name"]]))


def shown(row: Row, sizes: dict[str, int]) -> ShownSegment:
    """A segment's row, as the routes answer it."""
    names = ShownSegment.model_fields.keys() - Segment.model_fields.keys() - {"size"}
    segment = SEGMENTS.content_of(row)
    return ShownSegment(**segment.model_dump(), size=sizes[segment.name], **{name: row[name] for name in names})


def _comparison(operand: Operand) -> Comparison:
    return Comparison(
        text=operand.text,
        holds=operand.value,
        values=dict(operand.values),
        absent=list(operand.absent),
        error=operand.error,
    )
