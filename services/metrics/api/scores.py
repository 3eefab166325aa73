"""`/v1/scores` and `/v1/customers/{ref}/score`: each customer's risk of leaving and value, with an explanation."""

import base64
import binascii
import math
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Query

from libs.common.db.pool import Tx
from libs.common.errors import Invalid, NotFound
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from services.metrics import queries
from services.metrics.api import answers
from services.metrics.api.answers import Band
from services.metrics.domain.scores import RISK_BOUNDS, ScoreModel
from services.metrics.domain.state import Customer
from services.metrics.queries import Order

Reader = Annotated[Principal, Depends(require("metrics:read"))]

#: The risks of `at_risk`: an order in the next 39 weeks is less likely than not, but the customer is not lost yet.
AT_RISK = (RISK_BOUNDS[0], 0.95)
ANY_RISK = (0.0, 1.0)


def routes(part: ConsumerService, handler: DeciderHandler[Customer, None]) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["scores"])

    @router.get("/scores", summary="Customers by value or risk", response_model=answers.Scores)
    async def page(
        _: Reader,
        order: Annotated[Order | None, Query(description="cltv by default; worth with at_risk")] = None,
        at_risk: Annotated[bool, Query(description="only those with a risk from 0.5 to 0.95")] = False,
        risk_band: Band | None = None,
        value_band: Band | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        """The highest first. `risk` is the chance of no order in the next 39 weeks. `cltv` is the expected, discounted
        spend of the next 12 months. `worth` is the `cltv` of a customer who is known to stay. `at_risk=true` lists the
        customers who are most worth winning back: those with a risk from 50 to 95 %, the highest `worth` first."""
        by: Order = order or ("worth" if at_risk else "cltv")
        after = _read_cursor(cursor, by) if cursor else None
        async with part.read() as tx:
            found = await queries.scores(
                tx,
                by,
                limit + 1,
                risks=AT_RISK if at_risk else ANY_RISK,
                risk_band=risk_band,
                value_band=value_band,
                after=after,
            )
            items = await score_answers(tx, found[:limit])
        return {"items": items, "next": _cursor(found[limit - 1], by) if len(found) > limit else None}

    @router.get(
        "/customers/{ref}/score",
        summary="One customer's risk and value, with an explanation",
        response_model=answers.Score,
    )
    async def read(ref: str, _: Reader) -> dict[str, Any]:
        async with part.read() as tx:
            customer = await handler.customers.resolve(tx, ref)
            if (found := await queries.score(tx, customer)) is not None:
                return (await score_answers(tx, [found]))[0]
            if not await queries.has_bought(tx, customer):
                raise NotFound(
                    f"{ref} has no score, because we know no order of theirs: only customers with orders have one."
                )
            if not await queries.fits(tx, 1, None):
                raise NotFound(f"{ref} has no score yet, because there is no fit: POST /v1/fits scores every customer.")
            raise NotFound(
                f"{ref} has no score yet: their first order is after the last fit's day. POST /v1/fits again."
            )

    return router


async def score_answers(tx: Tx, rows: Sequence[asyncpg.Record]) -> list[dict[str, Any]]:
    """Scores as the API answers them, each with the customer's identifiers and an explanation."""
    refs = await queries.refs(tx, [row["customer"] for row in rows])
    models = {id: (await queries.fit(tx, id)).score_model for id in {row["fit"] for row in rows}}
    return [_item(row, refs[row["customer"]], models[row["fit"]]) for row in rows]


def _item(row: asyncpg.Record, refs: list[str], model: ScoreModel) -> dict[str, Any]:
    silent, span = (row["as_of"] - row["last"]).days, (row["last"] - row["first"]).days
    return {
        "customer": str(row["customer"]),
        "refs": refs,
        "risk": round(row["risk"], 4),
        "risk_band": row["risk_band"],
        "cltv": round(row["cltv"], 2),
        "value_band": row["value_band"],
        "worth": round(row["worth"], 2),
        "currency": row["currency"],
        "expected_purchases": round(row["expected_purchases"], 3),
        "purchase_days": row["x"] + 1,
        "first_purchase": row["first"],
        "last_purchase": row["last"],
        "fit": str(row["fit"]),
        "as_of": row["as_of"],
        "explanation": model.explain(row["x"], span / 7, (span + silent) / 7),
    }


def _cursor(row: asyncpg.Record, by: Order) -> str:
    return base64.urlsafe_b64encode(f"{by} {row[by].hex()} {row['customer']}".encode()).decode()


def _read_cursor(cursor: str, by: Order) -> tuple[float, UUID]:
    try:
        order, value, customer = base64.urlsafe_b64decode(cursor).decode().split(" ")
        after = float.fromhex(value), UUID(customer)
    except (ValueError, binascii.Error, OverflowError) as error:
        raise Invalid("The cursor is not valid: send the `next` of the previous page unchanged.") from error
    if order != by or not math.isfinite(after[0]):
        raise Invalid(f"The cursor belongs to a list ordered by {order}: send the same order as for the previous page.")
    return after
