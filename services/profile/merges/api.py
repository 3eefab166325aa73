"""Routes of merges: every merge with its cause; merging two customers, and a preview of it."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel, ConfigDict, Field

from libs.common.contracts.consent import Status
from libs.common.fold.customers import Customers
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from services.profile import queries
from services.profile.api import answers
from services.profile.domain.state import Customer
from services.profile.merges import store
from services.profile.merges.commands import MergeCommands, MergeCustomers

Reader = Annotated[Principal, Depends(require("customers:read"))]
Merger = Annotated[Principal, Depends(require("customers:merge"))]
Ref = Annotated[str, Field(min_length=1, max_length=1000, description="an id, `user:ann` or `anon:a1`")]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, description="sent again, it is answered again, once"),
]


class Two(BaseModel):
    """Two customers who are one person: `absorb` becomes part of `keep`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"keep": "user:ann", "absorb": "user:ann@old.example"}}
    )

    keep: Ref
    absorb: Ref


class MergeRequest(Two):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"keep": "user:ann", "absorb": "user:ann@old.example", "reason": "wrote in: two accounts"}
        },
    )

    reason: str | None = Field(default=None, min_length=1, max_length=500)


class MergeCause(BaseModel):
    """What asked for the merge. Of an event, `name` is the event's and `source` its app; of a command, `by` is whose token
    sent it."""

    kind: Literal["event", "command"]
    record: UUID = Field(description="the event, as in the timeline, or the command")
    name: str = Field(examples=["Identified"])
    source: str = Field(examples=["/apps/shop-web"])
    by: str | None
    reason: str | None


class Merge(BaseModel):
    """`other` was merged into `survivor`, under the ids that they had then: either may have been merged on since."""

    id: UUID = Field(description="of the fact Customer Merged in the survivor's timeline")
    survivor: UUID
    other: UUID
    at: datetime
    recorded_at: datetime
    identifiers: list[str] = Field(description="which came along", examples=[["anon:a1"]])
    cause: MergeCause


class Merges(BaseModel):
    """A page of merges, the latest first."""

    items: list[Merge]
    next: str | None


class TraitConflict(BaseModel):
    """A trait on which the two differ, and the `result`: the value that was set last."""

    name: str
    keep: Any
    absorb: Any
    result: Any


class ConsentConflict(BaseModel):
    """A purpose and channel on which the two differ, and the `result`: what was said last, a denial before a grant."""

    purpose: str
    channel: str
    keep: Status
    absorb: Status
    result: Status | None


class Conflicts(BaseModel):
    """Where the two say different things. Of two `user_ids` the first stays the main one, and both lead to the survivor.
    `orders` are those of both, which count once (at most 100 are named)."""

    user_ids: list[str]
    traits: list[TraitConflict]
    consents: list[ConsentConflict]
    orders: list[str]


class MergePreview(BaseModel):
    """What a merge would make of the survivor (`customer`); segments, level and bands follow after it."""

    survivor: UUID
    other: UUID
    customer: answers.CustomerInFull
    identifiers: list[str] = Field(description="which would come along")
    conflicts: Conflicts


def merge_routes(part: ConsumerService, commands: MergeCommands) -> APIRouter:
    """The list of merges, of one customer or in all; merging."""
    router = APIRouter(prefix="/v1/merges", tags=["merges"])
    customers = Customers("profile", Customer)

    @router.get("", summary="Every merge with its cause, the latest first", response_model=Merges)
    async def page(
        who: Reader,
        customer: Annotated[
            str | None, Query(max_length=1000, description="into this customer: an id, `user:ann` or `anon:a1`")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=200, description="at most so many merges")] = 50,
        cursor: Annotated[str | None, Query(max_length=1000)] = None,
    ) -> dict[str, Any]:
        """Of a customer: all merges that made them who they are, also those of customers who were merged into them later."""
        async with part.read() as tx:
            of = None
            if customer is not None:
                survivor = await customers.resolve(tx, customer)
                of = [survivor, *map(UUID, (await queries.state_of(tx, survivor)).merged)]
            return await store.page(tx, limit, cursor, of)

    @router.post("", status_code=201, summary="Merge two customers", response_model=Merge, responses={404: {}, 409: {}})
    async def merge(request: MergeRequest, who: Merger, key: Key = None) -> dict[str, Any]:
        """`keep` stays with its id and userId; everything of `absorb` becomes theirs: identifiers, traits, orders, points,
        messages. Two customers who each have a userId are merged here only, never by an event."""
        return await commands.run(MergeCustomers(request.keep, request.absorb, request.reason), who.subject, key)

    @router.post(
        "/preview",
        summary="What a merge would make of the survivor; merges nothing",
        response_model=MergePreview,
        responses={404: {}, 409: {}},
    )
    async def preview(two: Two, who: Reader) -> dict[str, Any]:
        """A 409 says why the two cannot be merged."""
        return await commands.preview(MergeCustomers(two.keep, two.absorb))

    @router.get("/{id}", summary="One merge with its cause", response_model=Merge)
    async def one(id: UUID, who: Reader) -> dict[str, Any]:
        async with part.read() as tx:
            return await store.get(tx, id)

    return router
