"""The route of refunds that wait for their order."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from libs.common.fold.service import ConsumerService
from libs.common.http.auth.verifier import require
from services.profile import queries
from services.profile.api import answers


def refund_routes(part: ConsumerService) -> APIRouter:
    """The route needs the scope `customers:read`."""
    router = APIRouter(prefix="/v1/refunds", tags=["customers"], dependencies=[Depends(require("customers:read"))])

    @router.get("/waiting", summary="Refunds whose order the customer does not have", response_model=answers.Waiting)
    async def waiting(
        limit: Annotated[int, Query(ge=1, le=200, description="at most so many items")] = 50,
        cursor: Annotated[str | None, Query(max_length=1000)] = None,
    ) -> dict[str, Any]:
        """A refund or cancellation applies to the order with its `order_id` of the same customer, and waits until that
        order comes.

        One that stays here names a mistyped order, or the order of another customer: `orders` lists the customers who
        have it. Send the refund again with that customer's ids. The latest come first.
        """
        async with part.read() as tx:
            return await queries.waiting_refunds(tx, limit, cursor)

    return router
