"""Routes of computed traits: drafts, previews, publication."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict

from libs.common.db.pool import Tx
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.http.etag import CHANGED, IfMatch, set_etag
from services.profile.computed.trait import ComputedTrait, refuse_faulty, window_of
from services.profile.documents import Row, tag
from services.profile.segments import queries
from services.profile.segments.store import TRAITS

Reader = Annotated[Principal, Depends(require("segments:read"))]
Writer = Annotated[Principal, Depends(require("segments:write"))]


class ShownTrait(ComputedTrait):
    """A computed trait in its newest version. `live_version` is in force."""

    model_config = ConfigDict(json_schema_extra={})

    id: UUID
    version: int
    status: Literal["draft", "live", "archived"]
    live_version: int | None
    created_at: datetime
    edited_by: str
    edited_at: datetime
    published_by: str | None
    published_at: datetime | None


class Traits(BaseModel):
    """A page of computed traits, each in its newest version."""

    items: list[ShownTrait]
    next: UUID | None


class Sample(BaseModel):
    customer: UUID
    user_id: str | None
    value: Any


class Samples(BaseModel):
    """Customers drawn at random, with the value that the newest version would have for them now."""

    samples: list[Sample]


def routes(part: ConsumerService) -> APIRouter:
    """Create, read, edit, preview, publish and archive computed traits."""
    router = APIRouter(prefix="/v1/computed-traits", tags=["computed traits"])

    @router.post("", status_code=201, summary="A new computed trait, as a draft")
    async def create(trait: ComputedTrait, who: Writer, response: Response) -> ShownTrait:
        refuse_faulty(trait)
        async with part.tx() as tx:
            return await _shown(tx, await TRAITS.create(tx, trait, who.subject), response)

    @router.get("", summary="The computed traits, the oldest first")
    async def page(_: Reader, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: UUID | None = None) -> Traits:
        async with part.read() as tx:
            rows = await TRAITS.page(tx, limit + 1, cursor)
        items = [shown(row) for row in rows[:limit]]
        return Traits(items=items, next=items[-1].id if len(rows) > limit else None)

    @router.get("/{id}", summary="A computed trait")
    async def read(id: UUID, _: Reader, response: Response) -> ShownTrait:
        """Send the `ETag` as `If-Match` to edit or publish this very state."""
        async with part.read() as tx:
            return await _shown(tx, id, response)

    @router.put(
        "/{id}", summary="Edit a computed trait: a new version, as a draft; the live one stays", responses=CHANGED
    )
    async def edit(
        id: UUID, trait: ComputedTrait, who: Writer, response: Response, if_match: IfMatch = None
    ) -> ShownTrait:
        refuse_faulty(trait)
        async with part.tx() as tx:
            await TRAITS.edit(tx, id, trait, who.subject, if_match)
            return await _shown(tx, id, response)

    @router.post("/{id}/preview", summary="What the newest version would give for some customers now")
    async def preview(id: UUID, _: Reader) -> Samples:
        """Changes nothing. Up to ten customers."""
        async with part.tx() as tx:
            window = window_of(TRAITS.content_of(await TRAITS.get(tx, id)).value)
            found = await queries.values(tx, window, uuid4(), datetime.now(UTC))
        return Samples(samples=[Sample(customer=id, user_id=user, value=value) for id, user, value in found])

    @router.post(
        "/{id}/publish", summary="Put the newest version in force, and compute it for all customers", responses=CHANGED
    )
    async def publish(id: UUID, who: Writer, response: Response, if_match: IfMatch = None) -> ShownTrait:
        """Events from now on count. What customers did before is counted from their journal, in the background."""
        async with part.tx() as tx:
            await TRAITS.publish(tx, id, who.subject, if_match)
            return await _shown(tx, id, response)

    @router.post("/{id}/archive", summary="Take a computed trait out of force for good; customers lose it")
    async def archive(id: UUID, who: Writer, response: Response) -> ShownTrait:
        async with part.tx() as tx:
            await TRAITS.archive(tx, id, who.subject)
            return await _shown(tx, id, response)

    return router


async def _shown(tx: Tx, id: UUID, response: Response) -> ShownTrait:
    row = await TRAITS.get(tx, id)
    set_etag(response, tag(row))
    return shown(row)


def shown(row: Row) -> ShownTrait:
    """A computed trait's row, as the routes answer it."""
    names = ShownTrait.model_fields.keys() - ComputedTrait.model_fields.keys()
    return ShownTrait(**TRAITS.content_of(row).model_dump(), **{name: row[name] for name in names})
