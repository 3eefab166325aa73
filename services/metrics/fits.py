"""Fits: BG/NBD and Gamma-Gamma as of a day, made once for the same purchases, kept with what they were made from."""

import asyncio
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import numpy as np

from libs.common.contracts.ids import derived
from libs.common.contracts.money import exponent
from libs.common.db.pool import Tx
from libs.common.errors import NotFound
from libs.common.fold.service import ConsumerService
from services.metrics import inputs
from services.metrics.domain import histogram
from services.metrics.domain.bgnbd import BGNBD
from services.metrics.domain.gamma_gamma import GammaGamma
from services.metrics.domain.newton import Fit
from services.metrics.domain.scores import Scoring
from services.metrics.inputs import Inputs

#: Part of a fit's id: change it when the mathematics does.
EDITION = "1"

SCORING, DONE = "scoring", "done"


@dataclass(frozen=True)
class Stored:
    """A fit as it is kept. `reached` is the last customer scored by it; `number` orders fits by when they were made."""

    id: UUID
    number: int
    as_of: date
    currency: str
    customers: int
    repeat_customers: int
    models: dict[str, Any]
    status: str
    reached: UUID | None
    scored: int
    changed: int
    asked_by: str
    created_at: datetime
    done_at: datetime | None

    @property
    def scoring(self) -> Scoring:
        """How this fit scores."""
        parameters = {name: model["parameters"] for name, model in self.models.items()}
        return Scoring(BGNBD(**parameters["bgnbd"]), GammaGamma(**parameters["gamma_gamma"]))


def fitted(given: Inputs, as_of: date, currency: str) -> dict[str, Any]:
    """Both models with their standard errors, log-likelihood and number of customers. CPU work: call it in a thread.

    Raises FitImpossible. Deterministic: no warm start, so that the same purchases give the same parameters.
    """
    purchases = BGNBD.fit(*histogram.rows(given.cells, as_of))
    spend = sorted(given.spend.items())
    x = np.array([row.days for row, _ in spend], dtype=np.float64)
    m = np.array([row.total for row, _ in spend], dtype=np.float64) / np.maximum(x, 1) / 10 ** exponent(currency)
    return {"bgnbd": _kept(purchases), "gamma_gamma": _kept(GammaGamma.fit(x, m, [float(n) for _, n in spend]))}


def _kept(fit: Fit[BGNBD] | Fit[GammaGamma]) -> dict[str, Any]:
    return {
        "parameters": asdict(fit.model),
        "standard_errors": fit.standard_errors,
        "log_likelihood": fit.log_likelihood,
        "n": fit.n,
    }


async def make(part: ConsumerService, as_of: date, currency: str, *, scoring: str, by: str) -> Stored:
    """The fit of the purchases up to `as_of`: the one that was made of the same before, else a new one.

    Customers are scored by it when it is in the currency `scoring`, and no fit as of a later day has scored them: one as
    of an earlier day is a look back. Raises FitImpossible.
    """
    async with part.read() as tx:
        given = await inputs.inputs(tx, as_of, currency)
        id = derived("metrics", "fit", EDITION, as_of.isoformat(), currency, given.digest())
        if known := await find(tx, id):
            return known
    models = await asyncio.to_thread(fitted, given, as_of, currency)
    async with part.tx() as tx:
        newest = await newest_scored(tx, currency)
        scores = currency == scoring and (newest is None or as_of >= newest)
        await tx.execute(
            "INSERT INTO metrics.fits"
            " (id, as_of, currency, customers, repeat_customers, models, status, asked_by, done_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $7 = 'done' THEN now() END) ON CONFLICT (id) DO NOTHING",
            id,
            as_of,
            currency,
            sum(given.cells.values()),
            sum(n for cell, n in given.cells.items() if cell.x),
            msgspec.json.encode(models).decode(),
            SCORING if scores else DONE,
            by,
        )
        return await get(tx, id)


async def find(tx: Tx, id: UUID) -> Stored | None:
    """A fit by its id."""
    row = await tx.fetchrow("SELECT * FROM metrics.fits WHERE id = $1", id)
    return row and _stored(row)


async def get(tx: Tx, id: UUID) -> Stored:
    """A fit by its id. Raises NotFound."""
    if (fit := await find(tx, id)) is None:
        raise NotFound(f"there is no fit {id}: GET /v1/fits lists them")
    return fit


async def page(tx: Tx, limit: int, before: int | None) -> list[Stored]:
    """Fits, the newest first, older than number `before`."""
    query = "SELECT * FROM metrics.fits WHERE $2::bigint IS NULL OR number < $2 ORDER BY number DESC LIMIT $1"
    return [_stored(row) for row in await tx.fetch(query, limit, before)]


async def unfinished(tx: Tx) -> list[UUID]:
    """The fits by which not every customer has been scored yet, oldest first."""
    rows = await tx.fetch("SELECT id FROM metrics.fits WHERE status = 'scoring' ORDER BY number")
    return [row[0] for row in rows]


async def newest_scored(tx: Tx, currency: str) -> date | None:
    """The latest day as of which customers are, or are being, scored in this currency."""
    query = "SELECT max(as_of) FROM metrics.fits WHERE currency = $1 AND (status = 'scoring' OR scored > 0)"
    found: date | None = await tx.fetchval(query, currency)
    return found


async def advance(tx: Tx, fit: Stored, to: UUID | None, scored: int) -> bool:
    """Move a fit's mark on to customer `to`, or to its end (None), if it stands where `fit` says. Does not commit."""
    status = await tx.execute(
        "UPDATE metrics.fits SET reached = coalesce($3, reached), scored = scored + $4,"
        " status = CASE WHEN $3::uuid IS NULL THEN 'done' ELSE status END,"
        " done_at = CASE WHEN $3::uuid IS NULL THEN now() END"
        " WHERE id = $1 AND status = 'scoring' AND reached IS NOT DISTINCT FROM $2",
        fit.id,
        fit.reached,
        to,
        scored,
    )
    return bool(status == "UPDATE 1")


async def count_changes(tx: Tx, fit: UUID, changed: int) -> None:
    """Add to how many customers a fit moved to other bands. Call it in the transaction that moved them."""
    await tx.execute("UPDATE metrics.fits SET changed = changed + $2 WHERE id = $1", fit, changed)


def _stored(row: asyncpg.Record) -> Stored:
    return Stored(**{**row, "models": msgspec.json.decode(row["models"])})
