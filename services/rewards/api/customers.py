"""A customer's points, statement, badges and level; and adjustments."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator

from libs.common.fold.commands import Commands
from libs.common.fold.decider import Applied
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.require_self import require_self
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.observability.telemetry import current_traceparent
from services.rewards import queries
from services.rewards.api import answers
from services.rewards.domain import levels
from services.rewards.domain.inputs import Adjust
from services.rewards.domain.programme import Programme
from services.rewards.domain.rules import Rules
from services.rewards.domain.state import Account

Reader = Annotated[Principal, Depends(require("rewards:read", own="own:points"))]
Writer = Annotated[Principal, Depends(require("rewards:write"))]
Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="a text of your own for this adjustment: sent again, it is answered again and booked once",
    ),
]


class Adjustment(BaseModel):
    """Points to give (positive) or to take (negative), and why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"points": 50, "reason": "lost parcel"}})

    points: StrictInt = Field(ge=-(10**12), le=10**12, examples=[50])
    reason: str = Field(min_length=1, max_length=500, examples=["lost parcel"])

    @field_validator("points")
    @classmethod
    def _some(cls, points: int) -> int:
        if points == 0:
            raise ValueError("0 points would change nothing")
        return points


def routes(part: ConsumerService, handler: DeciderHandler[Account, Rules]) -> APIRouter:
    """What is known of one customer, and how a person changes it."""
    router = APIRouter(prefix="/v1/customers/{ref}", tags=["customers"])
    customers = handler.customers

    @router.get("/points", summary="What they have, and where it came from")
    async def points(ref: str, who: Reader) -> answers.Points:
        async with part.read() as tx:
            await require_self(tx, customers, who, ref)
            customer, account = await queries.account(tx, customers, ref)
        return answers.Points(
            customer=customer,
            available=account.balance + account.debt,
            debt=account.debt,
            balance=account.balance,
            qualifying=account.qualifying,
            lots=[
                answers.LotLeft(
                    points=lot.points,
                    remaining=lot.remaining,
                    reversed=lot.reversed,
                    earned_at=lot.earned_at,
                    rule=lot.rule,
                    order_id=lot.order,
                )
                for lot in account.lots
                if lot.remaining
            ],
        )

    @router.get("/statement", summary="Everything that was booked, the latest first")
    async def statement(
        ref: str, who: Reader, limit: Annotated[int, Query(ge=1, le=500)] = 100, cursor: UUID | None = None
    ) -> answers.Statement:
        async with part.read() as tx:
            await require_self(tx, customers, who, ref)
            customer, _account = await queries.account(tx, customers, ref)
            rows = await queries.statement(tx, customer, limit + 1, cursor)
        lines = [answers.Line.model_validate(row) for row in rows[:limit]]
        return answers.Statement(items=lines, next=lines[-1].transaction if len(rows) > limit else None)

    @router.get("/badges", summary="Earned badges, and how far the others are")
    async def badges(ref: str, who: Reader) -> answers.Badges:
        async with part.read() as tx:
            await require_self(tx, customers, who, ref)
            _customer, account = await queries.account(tx, customers, ref)
            programme = await queries.live(tx)
        return answers.Badges(items=_badges(account, programme))

    @router.get("/level", summary="The level reached, and what is missing for the next")
    async def level(ref: str, who: Reader) -> answers.Standing:
        async with part.read() as tx:
            await require_self(tx, customers, who, ref)
            customer, account = await queries.account(tx, customers, ref)
            programme = await queries.live(tx)
        return _standing(customer, account, programme)

    @router.post("/adjustments", status_code=201, summary="Give or take points, for a reason")
    async def adjust(ref: str, adjustment: Adjustment, key: Key, _: Writer) -> answers.Adjusted:
        """Taking more than there is, is refused (409). The same key with another body is refused too."""
        async with part.read() as tx:
            customer, _account = await queries.account(tx, customers, ref)
        commands = Commands(part.fold, handler)
        body = Adjust(adjustment.points, adjustment.reason)
        answer = await commands.run(
            customer, body, key=key, at=datetime.now(UTC), answer=_adjusted, traceparent=current_traceparent()
        )
        return answers.Adjusted.model_validate(answer)

    return router


def _adjusted(applied: Applied[Account]) -> dict[str, Any]:
    adjust = applied.input.body
    return {
        "transaction": applied.facts[0].id,
        "customer": applied.customer,
        "points": adjust.points,
        "reason": adjust.reason,
        "balance": applied.state.balance,
        "effective_at": applied.input.time,
    }


def _badges(account: Account, programme: Programme | None) -> list[answers.BadgeHeld]:
    listed = []
    known = {badge.id: badge for badge in programme.badges} if programme else {}
    for id, badge in known.items():
        progress = account.progress(id)
        more = badge.repeatable or not progress.earned
        needed = badge.count * ((progress.earned if badge.repeatable else 0) + 1) if more else None
        listed.append((id, badge.name, progress, needed))
    for id, progress in account.badges.items():
        if id not in known and progress.earned:
            listed.append((id, id, progress, None))
    return [
        answers.BadgeHeld(
            badge=id,
            name=name,
            earned=progress.earned,
            earned_at=progress.earned_at if progress.earned else None,
            count=progress.count,
            needed=needed,
        )
        for id, name, progress, needed in listed
    ]


def _standing(customer: UUID, account: Account, programme: Programme | None) -> answers.Standing:
    known = {level.id: level for level in programme.levels} if programme else {}
    current = None
    if account.level is not None:
        level = known.get(account.level)
        current = answers.LevelName(
            id=account.level, name=level.name if level else account.level, points=level.points if level else None
        )
    following = levels.next_level(list(known.values()), account.qualifying)
    return answers.Standing(
        customer=customer,
        qualifying=account.qualifying,
        level=current,
        next=answers.LevelName(id=following.id, name=following.name, points=following.points) if following else None,
        points_to_go=following.points - account.qualifying if following else None,
    )
