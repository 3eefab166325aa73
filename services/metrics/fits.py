"""Makes fits: BG/NBD and Gamma-Gamma as of a day, once for the same purchases."""

import asyncio
from dataclasses import asdict
from datetime import date
from typing import Any

import numpy as np

from libs.common.contracts.ids import derived
from libs.common.contracts.money import exponent
from libs.common.fold.service import ConsumerService
from services.metrics import fit_data, queries, store
from services.metrics.domain import rfm
from services.metrics.domain.bgnbd import BGNBD
from services.metrics.domain.gamma_gamma import GammaGamma
from services.metrics.domain.newton import Fit
from services.metrics.fit_data import FitData
from services.metrics.queries import DONE, SCORING, StoredFit

#: Part of a fit's id: increase it when the mathematics changes.
MODEL_VERSION = "1"


async def make(part: ConsumerService, as_of: date, currency: str, *, score_currency: str, by: str) -> StoredFit:
    """The fit of the purchases up to `as_of`: an earlier one of the same purchases, or a new one.

    A new fit scores customers if it is in `score_currency` and no fit as of a later day has scored them. Raises
    FitImpossible.
    """
    async with part.read() as tx:
        data = await fit_data.load(tx, as_of, currency)
        id = derived("metrics", "fit", MODEL_VERSION, as_of.isoformat(), currency, data.digest())
        if known := await queries.find_fit(tx, id):
            return known
    models = await asyncio.to_thread(fit_models, data, as_of, currency)
    async with part.tx() as tx:
        newest = await queries.newest_scored_day(tx, currency)
        scores = currency == score_currency and (newest is None or as_of >= newest)
        await store.insert_fit(
            tx,
            id,
            as_of=as_of,
            currency=currency,
            customers=sum(data.cells.values()),
            repeat_customers=sum(n for cell, n in data.cells.items() if cell.x),
            models=models,
            status=SCORING if scores else DONE,
            asked_by=by,
        )
        return await queries.fit(tx, id)


def fit_models(data: FitData, as_of: date, currency: str) -> dict[str, Any]:
    """Both models with their standard errors, log-likelihood and number of customers. CPU work: call it in a thread.

    Deterministic: without a warm start, the same purchases give the same parameters. Raises FitImpossible.
    """
    purchases = BGNBD.fit(*rfm.rows(data.cells, as_of))
    spend = sorted(data.spend.items())
    x = np.array([row.days for row, _ in spend], dtype=np.float64)
    m = np.array([row.total for row, _ in spend], dtype=np.float64) / np.maximum(x, 1) / 10 ** exponent(currency)
    return {"bgnbd": _model(purchases), "gamma_gamma": _model(GammaGamma.fit(x, m, [float(n) for _, n in spend]))}


def _model(fit: Fit[BGNBD] | Fit[GammaGamma]) -> dict[str, Any]:
    return {
        "parameters": asdict(fit.model),
        "standard_errors": fit.standard_errors,
        "log_likelihood": fit.log_likelihood,
        "n": fit.n,
    }
