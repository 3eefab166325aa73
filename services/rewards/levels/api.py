"""The route of a customer's level."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from libs.common.fold.handler import DeciderHandler
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.require_self import require_self
from services.rewards import customers
from services.rewards.customers import Reader
from services.rewards.feature import Live
from services.rewards.levels.rules import next_level


class LevelName(BaseModel):
    """A level, and the qualifying points that reach it."""

    id: str
    name: str
    points: int | None


class Standing(BaseModel):
    """The level that was reached last, the next one, and the qualifying points that are missing for it."""

    customer: UUID
    qualifying: int
    level: LevelName | None
    next: LevelName | None
    points_to_go: int | None


def routes(part: ConsumerService, handler: DeciderHandler[Any, Any], live: Live) -> APIRouter:
    """What a customer has reached."""
    router = APIRouter(prefix="/v1/customers/{ref}", tags=["customers"])

    @router.get("/level", summary="The level reached, and what is missing for the next")
    async def level(ref: str, who: Reader) -> Standing:
        async with part.read() as tx:
            await require_self(tx, handler.customers, who, ref)
            customer, account = await customers.account(tx, handler.customers, ref)
            known = {level.id: level for level in await live(tx)}
        current, qualifying = None, account.ledger.qualifying
        if (reached := account.levels.level) is not None:
            named = known.get(reached)
            current = LevelName(
                id=reached, name=named.name if named else reached, points=named.points if named else None
            )
        following = next_level(list(known.values()), qualifying)
        return Standing(
            customer=customer,
            qualifying=qualifying,
            level=current,
            next=LevelName(id=following.id, name=following.name, points=following.points) if following else None,
            points_to_go=following.points - qualifying if following else None,
        )

    return router
