"""Key figures by day, each with the sentence that defines it."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import date, timedelta
from typing import Any, NamedTuple

from libs.common.contracts.money import major
from libs.common.db.pool import Tx
from services.metrics import queries


class Series(NamedTuple):
    """A figure over all days asked and on each that has a value; other days have `empty`. `currency` when it is in one."""

    total: Any
    by_day: dict[date, Any]
    empty: Any
    currency: str | None = None


class Asked(NamedTuple):
    """Days (both inclusive), the currency asked for if any, and the workspace's."""

    start: date
    end: date
    currency: str | None
    workspace_currency: str

    @property
    def days(self) -> Iterator[date]:
        return (self.start + timedelta(days=n) for n in range((self.end - self.start).days + 1))


async def orders(tx: Tx, asked: Asked) -> Series:
    sales = await queries.sales_by_day(tx, asked.start, asked.end, asked.currency)
    return Series(sum(n for n, _ in sales.values()), {day: n for day, (n, _) in sales.items()}, 0, asked.currency)


async def revenue(tx: Tx, asked: Asked) -> Series:
    currency = asked.currency or asked.workspace_currency
    sales = await queries.sales_by_day(tx, asked.start, asked.end, currency)
    total = str(major(sum(net for _, net in sales.values()), currency))
    return Series(
        total, {day: str(major(net, currency)) for day, (_, net) in sales.items()}, str(major(0, currency)), currency
    )


async def aov(tx: Tx, asked: Asked) -> Series:
    currency = asked.currency or asked.workspace_currency
    found = await queries.sales_by_day(tx, asked.start, asked.end, currency)
    sales = {day: (n, net) for day, (n, net) in found.items() if n}
    count = sum(n for n, _ in sales.values())
    total = queries.average(sum(net for _, net in sales.values()), count, currency) if count else None
    by_day = {day: queries.average(net, n, currency) for day, (n, net) in sales.items()}
    return Series(total, by_day, None, currency)


async def active_customers(tx: Tx, asked: Asked) -> Series:
    total, by_day = await queries.active_by_day(tx, asked.start, asked.end)
    return Series(total, by_day, 0)


async def repeat_rate(tx: Tx, asked: Asked) -> Series:
    visits = await queries.repeaters_until(tx, asked.end)
    rates: dict[date, float | None] = {}
    customers = repeaters = 0
    for day in sorted({*visits, *asked.days}):
        first, second = visits.get(day, (0, 0))
        customers, repeaters = customers + first, repeaters + second
        rates[day] = round(repeaters / customers, 4) if customers else None
    return Series(rates[asked.end], rates, None)


class Kpi(NamedTuple):
    """How a figure is defined, and computed."""

    definition: str
    compute: Callable[[Tx, Asked], Awaitable[Series]]


KPIS = {
    "orders": Kpi(
        "Completed orders on the day, each counted once; cancelled ones are not counted, refunded ones are. "
        "The total is their sum. In all currencies unless one is asked for.",
        orders,
    ),
    "revenue": Kpi(
        "What completed orders of the day brought in one currency, less what was refunded of them, whenever that was: "
        "a refund mends the day of its order. The total is the sum.",
        revenue,
    ),
    "aov": Kpi(
        "Average order value: net revenue over orders, in one currency; null without orders. "
        "The total is that of all orders of the time.",
        aov,
    ),
    "active_customers": Kpi(
        "Customers of whom any event was received that happened on the day; two who turned out to be one count once. "
        "The total counts each customer of the time once.",
        active_customers,
    ),
    "repeat_rate": Kpi(
        "Of the customers who have ordered up to and including the day, the share who have on more than one day, in any "
        "currency; null before the first order. The total is that of the last day.",
        repeat_rate,
    ),
}
