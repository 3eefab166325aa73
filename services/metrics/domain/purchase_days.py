"""A customer's purchase days: their orders by day and currency; and what a change of them adds to the totals."""

from collections import Counter
from datetime import date
from typing import NamedTuple

from services.metrics.domain.purchases import Purchases
from services.metrics.domain.rfm import RfmCell, cell_of_days


class DayKey(NamedTuple):
    """A day and a currency."""

    day: date
    currency: str


class DaySums(NamedTuple):
    """The number of orders, their revenue after refunds, and the refunds, both in minor units."""

    orders: int
    net: int
    refunded: int

    def plus(self, other: "DaySums") -> "DaySums":
        return DaySums(self.orders + other.orders, self.net + other.net, self.refunded + other.refunded)

    def minus(self, other: "DaySums") -> "DaySums":
        return DaySums(self.orders - other.orders, self.net - other.net, self.refunded - other.refunded)


NO_SALES = DaySums(0, 0, 0)

#: The sums of each day, or what is to be added to them.
PurchaseDays = dict[DayKey, DaySums]


def purchase_days_of(purchases: Purchases) -> PurchaseDays:
    """The sums of the orders that count. A refund counts on the day of its order."""
    found: dict[tuple[int, str], list[int]] = {}
    for order, bought in purchases.counted():
        paid = max(bought.minor, 0)
        net = purchases.net(order) if order in purchases.refunds else paid
        sums = found.setdefault((bought.day, bought.currency), [0, 0, 0])
        sums[0] += 1
        sums[1] += net
        sums[2] += paid - net
    return {DayKey(date.fromordinal(day), currency): DaySums(*sums) for (day, currency), sums in found.items()}


def delta(before: PurchaseDays, after: PurchaseDays) -> PurchaseDays:
    """What to add to `before` to get `after`, without days that stay the same."""
    changes = {
        key: after.get(key, NO_SALES).minus(before.get(key, NO_SALES)) for key in sorted(before.keys() | after.keys())
    }
    return {key: sums for key, sums in changes.items() if sums != NO_SALES}


def add(days: PurchaseDays, delta: PurchaseDays) -> None:
    """Add `delta` to `days`, in place."""
    for key, sums in delta.items():
        days[key] = days.get(key, NO_SALES).plus(sums)


def rfm_cell(days: PurchaseDays) -> RfmCell | None:
    """The RFM cell of a customer with these purchase days; None without any."""
    return cell_of_days({key.day for key in days})


class TotalsDelta(NamedTuple):
    """What to add to the totals over customers."""

    days: PurchaseDays
    cells: Counter[RfmCell]

    def move(self, before: RfmCell | None, after: RfmCell | None) -> None:
        """Count one customer in cell `after` instead of `before`."""
        for cell, customers in ((before, -1), (after, +1)):
            if cell is not None:
                self.cells[cell] += customers
