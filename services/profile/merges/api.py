"""Routes of merges: every merge with its cause."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from libs.common.fold.customers import Customers
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from services.profile import queries
from services.profile.domain.state import Customer
from services.profile.merges import store

Reader = Annotated[Principal, Depends(require("customers:read"))]


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


def merge_routes(part: ConsumerService) -> APIRouter:
    """The list of merges, of one customer or in all."""
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

    @router.get("/{id}", summary="One merge with its cause", response_model=Merge)
    async def merge(id: UUID, who: Reader) -> dict[str, Any]:
        async with part.read() as tx:
            return await store.get(tx, id)

    return router
