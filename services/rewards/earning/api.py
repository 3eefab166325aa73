"""The route of budgets: what the earning rules in force may still give."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from libs.common.contracts.input import Resource
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from services.rewards.earning.budget import CompiledBudget
from services.rewards.feature import Live
from services.rewards.rules import Workspace


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


def routes(part: ConsumerService, handler: DeciderHandler[Any, Any], live: Live) -> APIRouter:
    """What all customers together may still earn."""
    router = APIRouter(prefix="/v1", tags=["programmes"])
    workspace = Workspace(part.settings.zone, part.settings.partitions)

    @router.get("/budgets", summary="What the budgets of the earning rules in force have left")
    async def budgets(_: Annotated[Principal, Depends(require("rewards:read"))]) -> Budgets:
        """An event counts in the period in which it happened: one that comes late draws on the budget of a period before."""
        now = datetime.now(UTC)
        async with part.read() as tx:
            limits = [CompiledBudget(rule.id, rule.budget, workspace) for rule in await live(tx) if rule.budget]
            drawn = {limit.rule: [limit.resource(now, part) for part in range(limit.parts)] for limit in limits}
            given = await handler.shared.taken(tx, [resource for resources in drawn.values() for resource in resources])
        return Budgets(items=[_left(limit, {each: given[each] for each in drawn[limit.rule]}) for limit in limits])

    return router


def _left(limit: CompiledBudget, given: Mapping[Resource, int]) -> BudgetLeft:
    return BudgetLeft(
        rule=limit.rule,
        period=next(iter(given)).period,
        points=limit.budget.points,
        given=sum(given.values()),
        left=sum(max(limit.points(each.part) - points, 0) for each, points in given.items()),
    )
