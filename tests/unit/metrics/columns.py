"""A customer as the models see them, computed from their purchases one by one: what rows and totals must agree with."""

from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from libs.common.contracts.money import exponent
from services.metrics.domain.purchases import Purchases
from services.metrics.domain.rfm import RfmCell, cell_of_days


class Day(NamedTuple):
    """The purchases of one day: orders, and their revenue after refunds, in minor units of each currency."""

    orders: int
    net: dict[str, int]


def days(purchases: Purchases, as_of: date | None = None) -> dict[date, Day]:
    """The days with a purchase, in order, up to and including `as_of`."""
    found: dict[int, Day] = {}
    for order, bought in purchases.counted(as_of):
        count, net = found.get(bought.day, Day(0, {}))
        net[bought.currency] = net.get(bought.currency, 0) + purchases.net(order)
        found[bought.day] = Day(count + 1, net)
    return {date.fromordinal(day): found[day] for day in sorted(found)}


def cells(customers: Iterable[Purchases], as_of: date | None = None) -> Counter[RfmCell]:
    """The RFM cells of customers, by their purchases up to `as_of`."""
    found = (cell_of_days(days(purchases, as_of).keys()) for purchases in customers)
    return Counter(cell for cell in found if cell is not None)


class Recency(NamedTuple):
    """x, t_x and T of BG/NBD: purchase days after the first; weeks from the first to the last; to the day asked."""

    x: int
    t_x: float
    T: float


def recency(purchases: Purchases, as_of: date) -> Recency | None:
    """The customer as BG/NBD sees them at `as_of`, that day included; None when they had bought nothing by then."""
    bought = {order.day for _, order in purchases.counted(as_of)}
    if not bought:
        return None
    first = min(bought)
    return Recency(len(bought) - 1, (max(bought) - first) / 7, (as_of.toordinal() - first) / 7)


class Spend(NamedTuple):
    """x and m of Gamma-Gamma: repeat days with an order in the currency, and the mean spend on them, in major units."""

    x: int
    mean: float


def spend(purchases: Purchases, as_of: date, currency: str) -> Spend:
    """The customer's spend in `currency` on days after their first, up to `as_of`. Without such days: (0, 0.0).

    Refunds count whenever they were made: they mend the day of their order.
    """
    repeat = [day.net[currency] for day in list(days(purchases, as_of).values())[1:] if currency in day.net]
    return Spend(len(repeat), sum(repeat) / len(repeat) / 10 ** exponent(currency)) if repeat else Spend(0, 0.0)
