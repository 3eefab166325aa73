"""The route of a customer's badges."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from libs.common.fold.handler import DeciderHandler
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.require_self import require_self
from services.rewards import customers
from services.rewards.badges.rules import Badge
from services.rewards.badges.state import BadgesHeld
from services.rewards.customers import Reader
from services.rewards.feature import Live


class BadgeHeld(BaseModel):
    """A badge: how often it was earned, and how far the next one is (`count` of `needed`)."""

    badge: str
    name: str
    earned: int
    earned_at: datetime | None
    count: int
    needed: int | None = Field(description="null when there is nothing more to earn")


class BadgePage(BaseModel):
    """All badges of the live programme, and those that were earned under earlier ones."""

    items: list[BadgeHeld]
    next: None = None


def routes(part: ConsumerService, handler: DeciderHandler[Any, Any], live: Live) -> APIRouter:
    """What a customer has earned."""
    router = APIRouter(prefix="/v1/customers/{ref}", tags=["customers"])

    @router.get("/badges", summary="Earned badges, and how far the others are")
    async def badges(ref: str, who: Reader) -> BadgePage:
        async with part.read() as tx:
            await require_self(tx, handler.customers, who, ref)
            _customer, account = await customers.account(tx, handler.customers, ref)
            return BadgePage(items=_shown(account.badges, await live(tx)))

    return router


def _shown(held: BadgesHeld, section: list[Badge]) -> list[BadgeHeld]:
    listed = []
    known = {badge.id: badge for badge in section}
    for id, badge in known.items():
        progress = held.of(id)
        more = badge.repeatable or not progress.earned
        needed = badge.count * ((progress.earned if badge.repeatable else 0) + 1) if more else None
        listed.append((id, badge.name, progress, needed))
    for id, progress in held.progress.items():
        if id not in known and progress.earned:
            listed.append((id, id, progress, None))
    return [
        BadgeHeld(
            badge=id,
            name=name,
            earned=progress.earned,
            earned_at=progress.earned_at if progress.earned else None,
            count=progress.count,
            needed=needed,
        )
        for id, name, progress, needed in listed
    ]
