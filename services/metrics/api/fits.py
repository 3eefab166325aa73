"""`/v1/fits`: fit the models, list fits, compare a fit's prediction with what happened."""

import asyncio
from datetime import date, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from libs.common.contracts.iso_types import Day
from libs.common.contracts.written import CURRENCY
from libs.common.errors import Invalid
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from services.metrics import fit_data, fits, queries
from services.metrics.api import answers
from services.metrics.domain import rfm
from services.metrics.domain.scores import ANNUAL_DISCOUNT, HORIZON_WEEKS, VALUE_WEEKS
from services.metrics.queries import SCORING, StoredFit
from services.metrics.scorer import Scorer
from services.metrics.settings import Settings

Reader = Annotated[Principal, Depends(require("metrics:read"))]
Writer = Annotated[Principal, Depends(require("metrics:write"))]

#: Seconds that a request waits until all customers have a score; after that it answers `status: scoring`.
SCORING_TIMEOUT = 60.0


class FitRequest(BaseModel):
    """The day and the currency of a fit."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"as_of": "2026-01-31", "currency": "USD"}})

    as_of: Day | None = Field(default=None, description="the last day that the fit includes; yesterday by default")
    currency: Annotated[str, CURRENCY] | None = Field(
        default=None, description="the currency of spend; the workspace's by default"
    )


def routes(part: ConsumerService, scorer: Scorer, settings: Settings) -> APIRouter:
    router = APIRouter(prefix="/v1/fits", tags=["fits"])
    zone = settings.zone

    def today() -> date:
        return datetime.now(zone).date()

    @router.post(
        "",
        status_code=201,
        summary="Fit BG/NBD and Gamma-Gamma as of a day, and score every customer",
        response_model=answers.Fit,
    )
    async def make(
        request: Request, response: Response, writer: Writer, body: FitRequest | None = None
    ) -> dict[str, Any]:
        """A repeated request on unchanged purchases answers the same fit and changes nothing.

        The fit includes purchases up to `as_of`; T is the weeks from a customer's first purchase to `as_of`. The fit
        scores every customer, unless a fit as of a later day has done so, or it is not in the workspace's currency. Waits
        up to a minute for the scores. 409 if the purchases do not determine the models.
        """
        asked = body or FitRequest()
        as_of = asked.as_of or today() - timedelta(days=1)
        if as_of > today():
            raise Invalid(f"as_of {as_of} is in the future: give {today()} or an earlier day.")
        currency = asked.currency or settings.default_currency
        fit = await fits.make(part, as_of, currency, score_currency=settings.default_currency, by=writer.subject)
        if fit.status == SCORING:
            draining = asyncio.create_task(request.app.state.lifecycle.draining.wait())
            await asyncio.wait(
                [scorer.begin(fit.id), draining], timeout=SCORING_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
            )
            draining.cancel()
        response.headers["location"] = f"/v1/fits/{fit.id}"
        async with part.read() as tx:
            return fit_answer(await queries.fit(tx, fit.id))

    @router.get("", summary="The fits, newest first", response_model=answers.Fits)
    async def page(
        _: Reader, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: Annotated[int | None, Query(ge=1)] = None
    ) -> dict[str, Any]:
        async with part.read() as tx:
            found = await queries.fits(tx, limit + 1, cursor)
        more = str(found[limit - 1].number) if len(found) > limit else None
        return {"items": [fit_answer(fit) for fit in found[:limit]], "next": more}

    @router.get("/{id}", summary="One fit", response_model=answers.Fit)
    async def read(id: UUID, _: Reader) -> dict[str, Any]:
        async with part.read() as tx:
            return fit_answer(await queries.fit(tx, id))

    @router.get("/{id}/holdout", summary="A fit's prediction and what happened", response_model=answers.Holdout)
    async def holdout(
        id: UUID, _: Reader, until: Annotated[Day, Query(description="the last day to compare")]
    ) -> dict[str, Any]:
        """Purchase days after the fit's `as_of`, up to and including `until`, of the customers who had bought by `as_of`:
        `predicted` is the sum of E[Y(t) | x, t_x, T] over these customers, `actual` is the number that happened. Both
        use the purchases received so far."""
        async with part.read() as tx:
            fit = await queries.fit(tx, id)
            if until <= fit.as_of:
                raise Invalid(f"until {until} is not after {fit.as_of}, the day of the fit: give a later day.")
            if until > today():
                raise Invalid(f"until {until} is in the future: give {today()} or an earlier day.")
            cells = await fit_data.cells(tx, fit.as_of)
            actual = await fit_data.holdout(tx, fit.as_of, until)
        weeks = (until - fit.as_of).days / 7
        rows = rfm.rows(cells, fit.as_of)
        expected = await asyncio.to_thread(fit.score_model.purchases.expected, weeks, rows.x, rows.t_x, rows.T)
        return {
            "fit": str(fit.id),
            "as_of": fit.as_of,
            "until": until,
            "weeks": round(weeks, 3),
            "customers": int(rows.n.sum()),
            "predicted": round(float(rows.n @ expected), 1),
            "actual": actual,
        }

    return router


def fit_answer(fit: StoredFit) -> dict[str, Any]:
    """A fit as the API answers it: each model's parameters with standard errors, log-likelihood and number of customers."""
    models = {
        name: {**model["parameters"], **{key: value for key, value in model.items() if key != "parameters"}}
        for name, model in fit.models.items()
    }
    return {
        "id": str(fit.id),
        "as_of": fit.as_of,
        "currency": fit.currency,
        "status": fit.status,
        "customers": fit.customers,
        "repeat_customers": fit.repeat_customers,
        **models,
        "horizon": {
            "risk_weeks": HORIZON_WEEKS,
            "value_weeks": VALUE_WEEKS,
            "annual_discount": ANNUAL_DISCOUNT,
        },
        "scored": fit.scored,
        "changed": fit.changed,
        "asked_by": fit.asked_by,
        "created_at": fit.created_at,
        "done_at": fit.done_at,
    }
