"""What one customer bought, and what the models need to know of it; the same in whatever order it is told.

Rules, one for each trap:

- An order counts once per order id. Told twice, the earlier day holds; on one day, the larger amount.
- A refund reduces its own order, on that order's day, and never below zero. One that comes first waits for its order.
- An order refunded to zero, like one that cost nothing, was still a purchase: it counts for x, with a spend of zero.
- A cancelled order was none: it counts for nothing, also when the cancellation comes first.
- The grain is a day: orders of one day are one purchase. Whose days they are (the workspace's zone) is the caller's affair.
- Currencies are never added: all orders count as purchases, but spend is told for one currency at a time.
"""

from bisect import insort
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

import msgspec

from libs.common.contracts.orders import Back, in_currency, larger, united


class Order(msgspec.Struct, frozen=True, array_like=True):
    """A completed order: day (`date.toordinal`), amount in minor units, currency (ISO 4217)."""

    day: int
    minor: int
    currency: str


class Purchases(msgspec.Struct, omit_defaults=True):
    """Orders of a customer by order id, refunds by order id and refund id, and the ids of cancelled orders.

    Each order's are stored apart (`state.ORDER`).
    """

    orders: dict[str, Order] = {}
    refunds: dict[str, dict[str, Back]] = {}
    cancelled: list[str] = []

    def complete(self, order: str, day: date, minor: int, currency: str) -> None:
        """An order was completed on `day`. Idempotent."""
        self._keep(order, Order(day.toordinal(), minor, currency))

    def refund(self, order: str, refund: str, back: Back) -> None:
        """`order`, or a part of it, was given back. Idempotent per `refund`, the refund's own id.

        Told twice with different amounts, the larger holds. One in another currency than the order's changes nothing.
        """
        refunds = self.refunds.setdefault(order, {})
        refunds[refund] = larger(refunds.get(refund, back), back)

    def cancel(self, order: str) -> None:
        """The order was cancelled. Idempotent."""
        if order not in self.cancelled:
            insort(self.cancelled, order)

    def copied(self) -> "Purchases":
        """The same, to be changed."""
        refunds = {order: dict(refunds) for order, refunds in self.refunds.items()}
        return Purchases(dict(self.orders), refunds, list(self.cancelled))

    def net(self, order: str) -> int:
        """What is left of a completed order after its refunds, in minor units; 0 or more."""
        bought = self.orders[order]
        left = bought.minor
        for refund in self.refunds.get(order, {}).values():
            back = in_currency(refund, bought.currency)
            if back is None:
                return 0
            left -= back
        return max(left, 0)

    def counted(self, as_of: date | None = None) -> Iterator[tuple[str, Order]]:
        """The orders that count: not cancelled, and not after `as_of`."""
        last = date.max.toordinal() if as_of is None else as_of.toordinal()
        cancelled = frozenset(self.cancelled)
        for order, bought in self.orders.items():
            if bought.day <= last and order not in cancelled:
                yield order, bought

    def _keep(self, order: str, told: Order) -> None:
        known = self.orders.get(order)
        if known is None or _precedence(told) < _precedence(known):
            self.orders[order] = told


def absorb(survivor: Purchases, other: Purchases) -> None:
    """Two customers were one: `survivor` has the purchases of both, what both were told once. `other` is unchanged."""
    for order, bought in other.orders.items():
        survivor._keep(order, bought)
    for order, refunds in other.refunds.items():
        survivor.refunds[order] = united(survivor.refunds.get(order, {}), refunds)
    for order in other.cancelled:
        survivor.cancel(order)


class Day(NamedTuple):
    """What was bought on one day: orders, and what is left after refunds, in minor units of each currency."""

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


def _precedence(order: Order) -> tuple[int, int, str]:
    return order.day, -order.minor, order.currency
