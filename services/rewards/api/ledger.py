"""The ledger as a whole, and what the programme came to."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from libs.common.contracts.iso_types import Day
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from services.rewards import queries
from services.rewards.api import answers
from services.rewards.domain.ledger import ADJUSTED, AVAILABLE, EXPIRED, ISSUANCE, REVERSED

Reader = Annotated[Principal, Depends(require("rewards:read"))]
Until = Annotated[Day | None, Query(description="as it was at the end of this day of the workspace's zone")]


def routes(part: ConsumerService) -> APIRouter:
    """Sums over all customers."""
    router = APIRouter(prefix="/v1", tags=["ledger"])

    @router.get("/ledger", summary="The sum of every account; over all of them it is zero")
    async def ledger(_: Reader) -> answers.Ledger:
        async with part.read() as tx:
            sums = await queries.ledger(tx)
        customers, system = sums[AVAILABLE], sum(sums.values()) - sums[AVAILABLE]
        return answers.Ledger(
            sum=customers + system,
            balanced=customers == -system,
            customers=customers,
            system=system,
            accounts=sums,
            issued=-sums[ISSUANCE],
            reversed=sums[REVERSED],
            adjusted=-sums[ADJUSTED],
            expired=sums[EXPIRED],
        )

    @router.get("/ledger/check", summary="Sum up every entry again, and compare")
    async def check(_: Annotated[Principal, Depends(require("operate"))]) -> answers.Check:
        """Reads the whole ledger: for operators."""
        async with part.database.transaction() as tx:
            await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            totals = await queries.ledger(tx)
            entries, unbalanced = await queries.booked(tx)
        return answers.Check(
            balanced=unbalanced == 0 and totals == entries and sum(entries.values()) == 0,
            unbalanced_transactions=unbalanced,
            totals=totals,
            entries=entries,
        )

    @router.get("/rewards/summary", summary="Points, badges and levels over all customers")
    async def summary(_: Reader, until: Until = None) -> answers.Summary:
        async with part.database.transaction() as tx:
            await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            sums = await queries.ledger(tx, until)
            tallies = await queries.tallies(tx, until)
        return answers.Summary(
            points_issued=-sums[ISSUANCE],
            points_reversed=sums[REVERSED],
            points_adjusted=-sums[ADJUSTED],
            points_expired=sums[EXPIRED],
            balance=sums[AVAILABLE],
            badges=tallies["badge"],
            levels=tallies["level"],
            ledger_sum=sum(sums.values()),
        )

    return router
