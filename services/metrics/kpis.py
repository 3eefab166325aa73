"""Key figures by day, each with the sentence that defines it."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import date, timedelta
from typing import Any, NamedTuple

from libs.common.contracts.money import major
from libs.common.db.pool import Tx
from services.metrics import queries


class Series(NamedTuple):
    """A figure over all days of a query, and on each day with a value; other days have `empty`. `currency` if it is in one."""

    total: Any
    by_day: dict[date, Any]
    empty: Any
    currency: str | None = None


class KpiQuery(NamedTuple):
    """The first and the last day, the currency if the request names one, and the workspace's currency."""

    start: date
    end: date
    currency: str | None
    workspace_currency: str

    @property
    def days(self) -> Iterator[date]:
        return (self.start + timedelta(days=n) for n in range((self.end - self.start).days + 1))


async def orders(tx: Tx, query: KpiQuery) -> Series:
    sales = await queries.sales_by_day(tx, query.start, query.end, query.currency)
    return Series(sum(n for n, _ in sales.values()), {day: n for day, (n, _) in sales.items()}, 0, query.currency)


async def revenue(tx: Tx, query: KpiQuery) -> Series:
    currency = query.currency or query.workspace_currency
    sales = await queries.sales_by_day(tx, query.start, query.end, currency)
    total = str(major(sum(net for _, net in sales.values()), currency))
    return Series(
        total, {day: str(major(net, currency)) for day, (_, net) in sales.items()}, str(major(0, currency)), currency
    )


async def aov(tx: Tx, query: KpiQuery) -> Series:
    currency = query.currency or query.workspace_currency
    found = await queries.sales_by_day(tx, query.start, query.end, currency)
    sales = {day: (n, net) for day, (n, net) in found.items() if n}
    count = sum(n for n, _ in sales.values())
    total = queries.average(sum(net for _, net in sales.values()), count, currency) if count else None
    by_day = {day: queries.average(net, n, currency) for day, (n, net) in sales.items()}
    return Series(total, by_day, None, currency)


async def active_customers(tx: Tx, query: KpiQuery) -> Series:
    total, by_day = await queries.active_by_day(tx, query.start, query.end)
    return Series(total, by_day, 0)


async def repeat_rate(tx: Tx, query: KpiQuery) -> Series:
    visits = await queries.repeaters_until(tx, query.end)
    rates: dict[date, float | None] = {}
    customers = repeaters = 0
    for day in sorted({*visits, *query.days}):
        first, second = visits.get(day, (0, 0))
        customers, repeaters = customers + first, repeaters + second
        rates[day] = round(repeaters / customers, 4) if customers else None
    return Series(rates[query.end], rates, None)


class Kpi(NamedTuple):
    """A key figure: the sentence that defines it, and the function that computes it."""

    definition: str
    compute: Callable[[Tx, KpiQuery], Awaitable[Series]]


KPIS = {
    "orders": Kpi(
        "Completed orders on the day. Each counts once; cancelled orders do not count, refunded orders do. "
        "The total is their sum. In all currencies, unless you name one.",
        orders,
    ),
    "revenue": Kpi(
        "The amounts of the day's completed orders in one currency, less their refunds. "
        "A refund counts on the day of its order. The total is the sum.",
        revenue,
    ),
    "aov": Kpi(
        "Average order value: net revenue over orders, in one currency; null without orders. "
        "The total is the average over all days.",
        aov,
    ),
    "active_customers": Kpi(
        "Customers with an event on the day; merged customers count once. "
        "The total counts each customer once over all days.",
        active_customers,
    ),
    "repeat_rate": Kpi(
        "The share of customers with orders, up to and including the day, who ordered on more than one day, in any "
        "currency; null before the first order. The total is the share on the last day.",
        repeat_rate,
    ),
}
