"""What routes ask of the database: totals, KPIs by day, lists of scores."""

from collections.abc import Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.contracts.money import exponent, major
from libs.common.db.pool import Tx
from services.metrics import inputs

Order = Literal["cltv", "risk", "worth"]


class Totals(NamedTuple):
    """All orders that count: how many, what is left of them after refunds and what was refunded, by currency in minor
    units; customers who ordered, those who did on more than one day; the first and the last day with an order."""

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
    """The totals at this moment, of all orders or of those up to and including the day `until`."""
    sums = await tx.fetch(
        "SELECT currency, sum(orders)::bigint, sum(net_minor)::bigint, sum(refunded_minor)::bigint FROM metrics.days"
        " WHERE $1::date IS NULL OR day <= $1 GROUP BY currency HAVING sum(orders) > 0 ORDER BY currency",
        until,
    )
    ((first, last),) = await tx.fetch(
        "SELECT min(day), max(day) FROM (SELECT day FROM metrics.days WHERE $1::date IS NULL OR day <= $1"
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
    """Customers who bought, and who did so on more than one day."""
    if until is not None:
        cells = await inputs.cells(tx, until)
        return sum(cells.values()), sum(n for cell, n in cells.items() if cell.x)
    ((customers, repeaters),) = await tx.fetch(
        "SELECT coalesce(sum(n), 0)::bigint, coalesce(sum(n) FILTER (WHERE x > 0), 0)::bigint FROM metrics.histogram"
    )
    return customers, repeaters


async def active_on(tx: Tx, day: date) -> int:
    """Customers who sent an event on the day."""
    query = "SELECT coalesce(sum(customers), 0)::bigint FROM metrics.active_totals WHERE day = $1"
    count: int = await tx.fetchval(query, day)
    return count


async def sales_by_day(tx: Tx, start: date, end: date, currency: str | None) -> dict[date, tuple[int, int]]:
    """Orders and net revenue (minor units; meaningless without a currency) of the days that have any."""
    rows = await tx.fetch(
        "SELECT day, sum(orders)::bigint, sum(net_minor)::bigint FROM metrics.days"
        " WHERE day BETWEEN $1 AND $2 AND ($3::text IS NULL OR currency = $3) GROUP BY day",
        start,
        end,
        currency,
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def active_by_day(tx: Tx, start: date, end: date) -> tuple[int, dict[date, int]]:
    """Distinct customers who were active from `start` to `end`, and on each day that has any."""
    rows = await tx.fetch(
        "SELECT day, sum(customers)::bigint FROM metrics.active_totals WHERE day BETWEEN $1 AND $2 GROUP BY day",
        start,
        end,
    )
    total = await tx.fetchval(
        "SELECT count(DISTINCT customer) FROM metrics.active_days WHERE day BETWEEN $1 AND $2", start, end
    )
    return total, {row[0]: row[1] for row in rows}


async def repeaters_until(tx: Tx, end: date) -> dict[date, tuple[int, int]]:
    """How many customers bought for the first, and for the second time, on each day up to `end`."""
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
    """Scores, the highest first by `order`, then by customer; beyond `after` (value, customer). `risks` is the lowest
    and the highest risk listed."""
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
    """Whether any order of the customer counts."""
    query = "SELECT EXISTS (SELECT 1 FROM metrics.purchase_days WHERE customer = $1)"
    return bool(await tx.fetchval(query, customer))


async def refs(tx: Tx, customers: Sequence[UUID]) -> dict[UUID, list[str]]:
    """The identifiers that lead to these customers, as `user:ann` or `anon:a1`, user ids first."""
    found: dict[UUID, list[str]] = {customer: [] for customer in customers}
    for row in await tx.fetch(
        "SELECT customer, kind, value FROM metrics.identifiers WHERE customer = ANY($1::uuid[])"
        " ORDER BY kind DESC, value",
        list(customers),
    ):
        found[row[0]].append(f"{row[1]}:{row[2]}")
    return found


def average(minor: int, orders: int, currency: str) -> str:
    """`minor` units over so many orders, in major units, half-even to the currency's decimals."""
    return str((major(minor, currency) / orders).quantize(Decimal(1).scaleb(-exponent(currency)), ROUND_HALF_EVEN))


def amounts(minor: dict[str, int]) -> dict[str, str]:
    """Amounts by currency as people write them: {"USD": "29.33"}."""
    return {code: str(major(units, code)) for code, units in minor.items()}


def jsonable(totals: Totals) -> dict[str, Any]:
    """The totals as REST says them."""
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
