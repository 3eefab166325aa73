"""The route of budgets: what the earning rules in force may still give."""

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from services.rewards.earning.budget import CompiledBudget
from services.rewards.earning.queries import taken
from services.rewards.feature import Live


class BudgetLeft(BaseModel):
    """The budget of an earning rule in the present period: of `points`, so many are `given` and `left`."""

    rule: str
    period: str = Field(description="2026-03-01, 2026-W09, 2026-03 or 2026; empty for a budget without `per`")
    points: int
    given: int
    left: int


class Budgets(BaseModel):
    """The budgets of the rules in force, in the order of the programme."""

    items: list[BudgetLeft]


def routes(part: ConsumerService, live: Live, zone: ZoneInfo) -> APIRouter:
    """What all customers together may still earn."""
    router = APIRouter(prefix="/v1", tags=["programmes"])

    @router.get("/budgets", summary="What the budgets of the earning rules in force have left")
    async def budgets(_: Annotated[Principal, Depends(require("rewards:read"))]) -> Budgets:
        """An event counts in the period in which it happened: one that comes late draws on the budget of a period before."""
        now = datetime.now(UTC)
        async with part.read() as tx:
            limits = [CompiledBudget(rule.id, rule.budget, zone) for rule in await live(tx) if rule.budget is not None]
            given = await taken(tx, [limit.resource(now) for limit in limits])
        return Budgets(items=[_left(limit, now, given[limit.resource(now)]) for limit in limits])

    return router


def _left(limit: CompiledBudget, now: datetime, given: int) -> BudgetLeft:
    points = limit.budget.points
    return BudgetLeft(
        rule=limit.rule,
        period=limit.resource(now).period,
        points=points,
        given=given,
        left=max(points - given, 0),
    )
