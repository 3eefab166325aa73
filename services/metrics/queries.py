"""Reads for routes: totals, KPIs by day, scores, fits. Each takes the caller's connection."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from libs.common.contracts.money import exponent, major
from libs.common.db.pool import Tx
from libs.common.errors import NotFound
from services.metrics import fit_data
from services.metrics.domain.bgnbd import BGNBD
from services.metrics.domain.gamma_gamma import GammaGamma
from services.metrics.domain.scores import ScoreModel

Order = Literal["cltv", "risk", "worth"]

#: The status of a fit: it still scores customers, or has scored all that it scores.
SCORING, DONE = "scoring", "done"


class Totals(NamedTuple):
    """All orders that count: their number, their revenue after refunds and the refunds, by currency in minor units; the
    customers who ordered, and those who did so on more than one day; the first and the last day with an order."""

    orders: int
    orders_in: dict[str, int]
    revenue: dict[str, int]
    refunded: dict[str, int]
    customers: int
    repeaters: int
    first_day: date | None
    last_day: date | None

    @property
    def repeat_rate(self) -> float | None:
        return round(self.repeaters / self.customers, 4) if self.customers else None

    @property
    def aov(self) -> dict[str, str]:
        """Average order value by currency, in major units."""
        return {code: average(self.revenue[code], orders, code) for code, orders in self.orders_in.items()}


async def totals(tx: Tx, until: date | None = None) -> Totals:
    """The totals of all orders, or of those up to and including the day `until`."""
    sums = await tx.fetch(
        "SELECT currency, sum(orders)::bigint, sum(net_minor)::bigint, sum(refunded_minor)::bigint FROM metrics.daily_sales"
        " WHERE $1::date IS NULL OR day <= $1 GROUP BY currency HAVING sum(orders) > 0 ORDER BY currency",
        until,
    )
    ((first, last),) = await tx.fetch(
        "SELECT min(day), max(day) FROM (SELECT day FROM metrics.daily_sales WHERE $1::date IS NULL OR day <= $1"
        " GROUP BY day HAVING sum(orders) > 0) AS d",
        until,
    )
    customers, repeaters = await _buyers(tx, until)
    return Totals(
        orders=sum(row[1] for row in sums),
        orders_in={row[0]: row[1] for row in sums},
        revenue={row[0]: row[2] for row in sums},
        refunded={row[0]: row[3] for row in sums},
        customers=customers,
        repeaters=repeaters,
        first_day=first,
        last_day=last,
    )


async def _buyers(tx: Tx, until: date | None) -> tuple[int, int]:
    """The number of customers who bought, and of those who did so on more than one day."""
    if until is not None:
        cells = await fit_data.cells(tx, until)
        return sum(cells.values()), sum(n for cell, n in cells.items() if cell.x)
    ((customers, repeaters),) = await tx.fetch(
        "SELECT coalesce(sum(customers), 0)::bigint, coalesce(sum(customers) FILTER (WHERE x > 0), 0)::bigint"
        " FROM metrics.rfm_cells"
    )
    return customers, repeaters


async def active_on(tx: Tx, day: date) -> int:
    """The number of customers who sent an event on the day."""
    query = "SELECT coalesce(sum(customers), 0)::bigint FROM metrics.daily_active WHERE day = $1"
    count: int = await tx.fetchval(query, day)
    return count


async def sales_by_day(tx: Tx, start: date, end: date, currency: str | None) -> dict[date, tuple[int, int]]:
    """Orders and net revenue (minor units; meaningless without a currency) of the days with any."""
    rows = await tx.fetch(
        "SELECT day, sum(orders)::bigint, sum(net_minor)::bigint FROM metrics.daily_sales"
        " WHERE day BETWEEN $1 AND $2 AND ($3::text IS NULL OR currency = $3) GROUP BY day",
        start,
        end,
        currency,
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def active_by_day(tx: Tx, start: date, end: date) -> tuple[int, dict[date, int]]:
    """The number of distinct customers active from `start` to `end`, and on each day with any."""
    rows = await tx.fetch(
        "SELECT day, sum(customers)::bigint FROM metrics.daily_active WHERE day BETWEEN $1 AND $2 GROUP BY day",
        start,
        end,
    )
    total = await tx.fetchval(
        "SELECT count(DISTINCT customer) FROM metrics.active_days WHERE day BETWEEN $1 AND $2", start, end
    )
    return total, {row[0]: row[1] for row in rows}


async def repeaters_until(tx: Tx, end: date) -> dict[date, tuple[int, int]]:
    """The number of customers who bought for the first, and for the second time, on each day up to `end`."""
    rows = await tx.fetch(
        "SELECT day, count(*) FILTER (WHERE visit = 1), count(*) FILTER (WHERE visit = 2) FROM ("
        "  SELECT day, row_number() OVER (PARTITION BY customer ORDER BY day) AS visit"
        "  FROM (SELECT DISTINCT customer, day FROM metrics.purchase_days WHERE day <= $1) AS bought"
        ") AS visits WHERE visit <= 2 GROUP BY day ORDER BY day",
        end,
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def scores(
    tx: Tx,
    order: Order,
    limit: int,
    *,
    risks: tuple[float, float],
    risk_band: str | None,
    value_band: str | None,
    after: tuple[float, UUID] | None,
) -> list[asyncpg.Record]:
    """Scores, the highest by `order` first, then by customer; only those after the row `after` (value, customer). `risks` is
    the lowest and the highest risk listed."""
    value, customer = after or (None, None)
    return await tx.fetch(
        "SELECT * FROM metrics.scores WHERE risk BETWEEN $1 AND $2"
        " AND ($3::text IS NULL OR risk_band = $3) AND ($4::text IS NULL OR value_band = $4)"
        f" AND ($6::float8 IS NULL OR ({order}, customer) < ($6, $7::uuid))"
        f" ORDER BY {order} DESC, customer DESC LIMIT $5",
        *risks,
        risk_band,
        value_band,
        limit,
        value,
        customer,
    )


async def score(tx: Tx, customer: UUID) -> asyncpg.Record | None:
    """The score of one customer."""
    return await tx.fetchrow("SELECT * FROM metrics.scores WHERE customer = $1", customer)


async def has_bought(tx: Tx, customer: UUID) -> bool:
    """Whether the customer has an order that counts."""
    query = "SELECT EXISTS (SELECT 1 FROM metrics.purchase_days WHERE customer = $1)"
    return bool(await tx.fetchval(query, customer))


async def refs(tx: Tx, customers: Sequence[UUID]) -> dict[UUID, list[str]]:
    """The identifiers of these customers, as `user:ann` or `anon:a1`, user ids first."""
    found: dict[UUID, list[str]] = {customer: [] for customer in customers}
    for row in await tx.fetch(
        "SELECT customer, kind, value FROM metrics.identifiers WHERE customer = ANY($1::uuid[])"
        " ORDER BY kind DESC, value",
        list(customers),
    ):
        found[row[0]].append(f"{row[1]}:{row[2]}")
    return found


def average(minor: int, orders: int, currency: str) -> str:
    """The mean of `minor` units over `orders`, in major units, rounded half-even to the currency's decimals."""
    return str((major(minor, currency) / orders).quantize(Decimal(1).scaleb(-exponent(currency)), ROUND_HALF_EVEN))


def amounts(minor: dict[str, int]) -> dict[str, str]:
    """Amounts by currency in major units: {"USD": "29.33"}."""
    return {code: str(major(units, code)) for code, units in minor.items()}


def jsonable(totals: Totals) -> dict[str, Any]:
    """The totals as the API answers them."""
    return {
        "orders": totals.orders,
        "revenue": amounts(totals.revenue),
        "refunded": amounts(totals.refunded),
        "aov": totals.aov,
        "customers_with_orders": totals.customers,
        "repeat_customers": totals.repeaters,
        "repeat_rate": totals.repeat_rate,
        "first_day": totals.first_day,
        "last_day": totals.last_day,
    }


# -- fits ---------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class StoredFit:
    """A row of `fits`. `reached` is the last customer scored by it; `number` orders fits by when they were made."""

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
    def score_model(self) -> ScoreModel:
        """The fitted models, which score customers."""
        parameters = {name: model["parameters"] for name, model in self.models.items()}
        return ScoreModel(BGNBD(**parameters["bgnbd"]), GammaGamma(**parameters["gamma_gamma"]))


async def find_fit(tx: Tx, id: UUID) -> StoredFit | None:
    """A fit by its id."""
    row = await tx.fetchrow("SELECT * FROM metrics.fits WHERE id = $1", id)
    return row and _stored(row)


async def fit(tx: Tx, id: UUID) -> StoredFit:
    """A fit by its id. Raises NotFound."""
    if (found := await find_fit(tx, id)) is None:
        raise NotFound(f"There is no fit {id}: GET /v1/fits lists them.")
    return found


async def fits(tx: Tx, limit: int, before: int | None) -> list[StoredFit]:
    """Fits, the newest first; only those older than number `before`, if it is given."""
    query = "SELECT * FROM metrics.fits WHERE $2::bigint IS NULL OR number < $2 ORDER BY number DESC LIMIT $1"
    return [_stored(row) for row in await tx.fetch(query, limit, before)]


async def unfinished_fits(tx: Tx) -> list[UUID]:
    """The fits that still score customers, the oldest first."""
    rows = await tx.fetch("SELECT id FROM metrics.fits WHERE status = 'scoring' ORDER BY number")
    return [row[0] for row in rows]


async def newest_scored_day(tx: Tx, currency: str) -> date | None:
    """The latest day of a fit in this currency that has scored customers, or still does."""
    query = "SELECT max(as_of) FROM metrics.fits WHERE currency = $1 AND (status = 'scoring' OR scored > 0)"
    found: date | None = await tx.fetchval(query, currency)
    return found


def _stored(row: asyncpg.Record) -> StoredFit:
    return StoredFit(**{**row, "models": msgspec.json.decode(row["models"])})
