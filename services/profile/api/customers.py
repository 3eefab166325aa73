"""Customers over REST: look up, timeline, list, totals."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from libs.common.contracts.iso_types import Day
from libs.common.fold.customers import Customers
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.verifier import require
from services.profile import queries
from services.profile.api import answers
from services.profile.domain.state import Customer
from services.profile.search import Search
from services.profile.search import page as find
from services.profile.segments.rulebooks import Rulebooks

Limit = Annotated[int, Query(ge=1, le=200, description="at most so many items")]

_FILTERS: list[dict[str, Any]] = [
    {
        "name": f"{kind}.{{name}}",
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "string", "minLength": 1, "maxLength": 100},
        "examples": {"one": {"value": value}},
    }
    for kind, value, description in (
        (
            "trait",
            "gold",
            "customers with this value of a trait: `trait.plan=gold`. Text, numbers and booleans are found.",
        ),
        ("consent", "granted", "with this status of a consent: `consent.marketing.email=granted`"),
    )
]


def customer_routes(part: ConsumerService, rulebooks: Rulebooks) -> APIRouter:
    """All routes need the scope `customers:read`. The id of a merged customer answers for the survivor."""
    router = APIRouter(prefix="/v1/customers", tags=["customers"], dependencies=[Depends(require("customers:read"))])
    customers = Customers("profile", Customer)

    @router.get(
        "",
        summary="Search and list customers",
        response_model=answers.Customers,
        openapi_extra={"parameters": _FILTERS},
    )
    async def page(
        request: Request,
        limit: Limit = 50,
        cursor: Annotated[str | None, Query(max_length=1000)] = None,
        q: Annotated[
            str,
            Query(
                max_length=200,
                description="a name, an e-mail address or an identifier begins so; of several words, each",
            ),
        ] = "",
        segment: Annotated[list[str], Query(description="in this live segment; several: in all of them")] = [],  # noqa: B006 - FastAPI copies it
        sort: Annotated[
            str,
            Query(
                description="`id`, `first_seen`, `last_seen`, `orders` or `revenue.USD`; `-last_seen`: the latest first"
            ),
        ] = "id",
    ) -> dict[str, Any]:
        """All filters must be met. Capital and small letters make no difference in values. `last_seen` sorts by the hour. `orders` and
        `revenue.USD` list those who have ordered.

        If each filter is met by more than 1,000 customers, a request looks at 2,000 of the list: the page may then be short
        or empty. Go on with `next` until it is null. A text that is too short for a quick answer is refused.
        """
        filters = [pair for pair in request.query_params.multi_items() if pair[0].startswith(("trait.", "consent."))]
        search = Search.read(filters, segment, q, sort, limit)
        async with part.read() as tx:
            return await find(tx, search, cursor, queries.now_under(await rulebooks.newest(tx)))

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

    @router.get("/{ref}", summary="One customer in full", response_model=answers.CustomerInFull)
    async def customer(ref: str) -> dict[str, Any]:
        """`ref` is a customer's id, `user:ann` or `anon:a1`."""
        async with part.read() as tx:
            return await queries.customer(tx, await customers.resolve(tx, ref), await rulebooks.newest(tx))

    return router
