"""Purchases as rows by day and currency, and how totals over customers move when these rows do."""

from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from services.metrics.domain.histogram import Cell
from services.metrics.domain.purchases import Purchases


class Key(NamedTuple):
    """A day and a currency."""

    day: date
    currency: str


class Line(NamedTuple):
    """Orders, what is left of them after refunds, and what was refunded, in minor units."""

    orders: int
    net: int
    refunded: int

    def plus(self, other: "Line") -> "Line":
        return Line(self.orders + other.orders, self.net + other.net, self.refunded + other.refunded)

    def minus(self, other: "Line") -> "Line":
        return Line(self.orders - other.orders, self.net - other.net, self.refunded - other.refunded)


NOTHING = Line(0, 0, 0)

#: The rows of one customer.
Book = dict[Key, Line]


def book(purchases: Purchases) -> Book:
    """The rows of a customer: the orders that count, refunds on the day of their order."""
    found: dict[tuple[int, str], list[int]] = {}
    for order, bought in purchases.counted():
        paid = max(bought.minor, 0)
        net = purchases.net(order) if order in purchases.refunds else paid
        line = found.setdefault((bought.day, bought.currency), [0, 0, 0])
        line[0] += 1
        line[1] += net
        line[2] += paid - net
    return {Key(date.fromordinal(day), currency): Line(*line) for (day, currency), line in found.items()}


def cell(rows: Iterable[Key]) -> Cell | None:
    """Where a customer with these rows stands in the histogram."""
    days = {key.day for key in rows}
    return Cell(len(days) - 1, (max(days) - min(days)).days, min(days)) if days else None


class Totals(NamedTuple):
    """What changes in the totals over customers."""

    days: dict[Key, Line]
    cells: Counter[Cell]

    def move(self, before: Cell | None, after: Cell | None) -> None:
        """A customer goes from one cell to another."""
        for where, by in ((before, -1), (after, +1)):
            if where is not None:
                self.cells[where] += by


def difference(before: Book, after: Book) -> dict[Key, Line]:
    """What is to be added to the rows of a customer."""
    changes = {
        key: after.get(key, NOTHING).minus(before.get(key, NOTHING)) for key in sorted(before.keys() | after.keys())
    }
    return {key: by for key, by in changes.items() if by != NOTHING}
