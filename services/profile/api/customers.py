"""Customers over REST: look up, timeline, list, totals."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from libs.common.contracts.iso_types import Day
from libs.common.fold.customers import Customers
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.verifier import require
from services.profile import queries
from services.profile.api import answers
from services.profile.domain.state import Customer

Limit = Annotated[int, Query(ge=1, le=200, description="at most so many items")]


def customer_routes(part: ConsumerService) -> APIRouter:
    """All routes need the scope `customers:read`. The id of a merged customer answers for the survivor."""
    router = APIRouter(prefix="/v1/customers", tags=["customers"], dependencies=[Depends(require("customers:read"))])
    customers = Customers("profile", Customer)

    @router.get("", summary="All customers, by id", response_model=answers.Customers)
    async def page(
        limit: Limit = 50,
        cursor: UUID | None = None,
        q: Annotated[str | None, Query(max_length=200, description="an identifier begins so")] = None,
    ) -> dict[str, Any]:
        async with part.read() as tx:
            return await queries.page(tx, limit, cursor, q)

    @router.get(
        "/summary",
        summary="How many customers, merges, claims, events and dropped duplicates",
        response_model=answers.Summary,
    )
    async def summary(
        until: Annotated[
            Day | None, Query(description="as it was at the end of this day of the workspace's zone")
        ] = None,
    ) -> dict[str, Any]:
        async with part.read() as tx:
            return await queries.summary(tx, until)

    @router.get("/{ref}", summary="One customer: traits, orders, revenue, identifiers", response_model=answers.Customer)
    async def customer(ref: str) -> dict[str, Any]:
        """`ref` is a customer's id, `user:ann` or `anon:a1`."""
        async with part.read() as tx:
            return await queries.customer(tx, await customers.resolve(tx, ref))

    @router.get(
        "/{ref}/timeline",
        summary="What a customer did and what followed, newest first",
        response_model=answers.Timeline,
    )
    async def timeline(ref: str, limit: Limit = 50, cursor: str | None = None) -> dict[str, Any]:
        async with part.read() as tx:
            return await queries.timeline(tx, await customers.resolve(tx, ref), limit, cursor)

    return router
