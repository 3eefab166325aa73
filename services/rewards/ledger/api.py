"""The ledger's routes: a customer's points, statement and adjustments; and the sums over all customers."""

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
from services.rewards import customers
from services.rewards.customers import Reader, Writer
from services.rewards.inputs import Adjust
from services.rewards.ledger import answers, queries
from services.rewards.ledger.booking import ADJUSTED, AVAILABLE, EXPIRED, ISSUANCE, REVERSED
from services.rewards.ledger.state import order_of

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


def of_customers(part: ConsumerService, handler: DeciderHandler[Any, Any]) -> APIRouter:
    """What a customer has, where it came from, and how a person changes it."""
    router = APIRouter(prefix="/v1/customers/{ref}", tags=["customers"])

    @router.get("/points", summary="What they have, and where it came from")
    async def points(ref: str, who: Reader) -> answers.Points:
        async with part.read() as tx:
            await require_self(tx, handler.customers, who, ref)
            customer, account = await customers.account(tx, handler.customers, ref)
            credits = await queries.open_credits(tx, customer)
        wallet = account.ledger
        return answers.Points(
            customer=customer,
            available=wallet.balance + wallet.debt,
            debt=wallet.debt,
            balance=wallet.balance,
            qualifying=wallet.qualifying,
            lots=[
                answers.LotLeft(
                    points=lot.points,
                    remaining=lot.remaining,
                    reversed=lot.reversed,
                    earned_at=lot.earned_at,
                    rule=lot.rule,
                    order_id=order_of(key),
                )
                for key, credit in credits
                for lot in credit.lots
                if lot.remaining
            ],
        )

    @router.get("/statement", summary="Everything that was booked, the latest first")
    async def statement(
        ref: str, who: Reader, limit: Annotated[int, Query(ge=1, le=500)] = 100, cursor: UUID | None = None
    ) -> answers.Statement:
        async with part.read() as tx:
            await require_self(tx, handler.customers, who, ref)
            customer, _account = await customers.account(tx, handler.customers, ref)
            rows = await queries.statement(tx, customer, limit + 1, cursor)
        lines = [answers.Line.model_validate(row) for row in rows[:limit]]
        return answers.Statement(items=lines, next=lines[-1].transaction if len(rows) > limit else None)

    @router.post("/adjustments", status_code=201, summary="Give or take points, for a reason")
    async def adjust(ref: str, adjustment: Adjustment, key: Key, _: Writer) -> answers.Adjusted:
        """Taking more than there is, is refused (409). The same key with another body is refused too."""
        async with part.read() as tx:
            customer, _account = await customers.account(tx, handler.customers, ref)
        commands = Commands(part.fold, handler)
        body = Adjust(adjustment.points, adjustment.reason)
        answer = await commands.run(
            customer, body, key=key, at=datetime.now(UTC), answer=_adjusted, traceparent=current_traceparent()
        )
        return answers.Adjusted.model_validate(answer)

    return router


def of_all(part: ConsumerService) -> APIRouter:
    """Sums over all customers."""
    router = APIRouter(prefix="/v1", tags=["ledger"])

    @router.get("/ledger", summary="The sum of every account; over all of them it is zero")
    async def ledger(_: Annotated[Principal, Depends(require("rewards:read"))]) -> answers.Ledger:
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

    return router


def _adjusted(applied: Applied[Any]) -> dict[str, Any]:
    adjust = applied.input.body
    return {
        "transaction": applied.facts[0].id,
        "customer": applied.customer,
        "points": adjust.points,
        "reason": adjust.reason,
        "balance": applied.state.ledger.balance,
        "effective_at": applied.input.time,
    }
