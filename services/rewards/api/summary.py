"""What the programme came to, over all customers."""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, create_model

from libs.common.contracts.iso_types import Day
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from services.rewards import standings
from services.rewards.features import FEATURES
from services.rewards.ledger import queries
from services.rewards.ledger.booking import ADJUSTED, AVAILABLE, EXPIRED, ISSUANCE, REVERSED

Until = Annotated[Day | None, Query(description="as it was at the end of this day of the workspace's zone")]


class _Points(BaseModel):
    points_issued: int
    points_reversed: int
    points_adjusted: int
    points_expired: int
    balance: int
    ledger_sum: int


#: The points, and how many of each item of a feature are held: badges by id, customers by level.
Summary: Any = create_model(
    "Summary",
    __base__=_Points,
    __doc__="What the programme came to. Badges held by id, customers by level.",
    __module__=__name__,
    **cast("dict[str, Any]", {feature.name: (dict[str, int], ...) for feature in FEATURES if feature.counted}),
)


def routes(part: ConsumerService) -> APIRouter:
    """The summary."""
    router = APIRouter(prefix="/v1", tags=["ledger"])

    @router.get("/rewards/summary", summary="Points, badges and levels over all customers", response_model=Summary)
    async def summary(_: Annotated[Principal, Depends(require("rewards:read"))], until: Until = None) -> BaseModel:
        async with part.database.transaction() as tx:
            await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            sums = await queries.ledger(tx, until)
            held = await standings.totals(tx, until)
        answer: BaseModel = Summary(
            points_issued=-sums[ISSUANCE],
            points_reversed=sums[REVERSED],
            points_adjusted=-sums[ADJUSTED],
            points_expired=sums[EXPIRED],
            balance=sums[AVAILABLE],
            ledger_sum=sum(sums.values()),
            **held,
        )
        return answer

    return router
