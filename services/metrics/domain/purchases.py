"""What one customer bought. The result does not depend on the order in which events come, or on repeats.

- An order counts once per order id. If it is repeated with other values, the earlier day counts; on the same day, the
  larger amount.
- A refund reduces its order, on that order's day, never below zero. A refund that comes first waits for its order.
- An order refunded to zero, like one that cost nothing, is a purchase with a spend of zero: it counts for x.
- A cancelled order does not count, even if the cancellation comes first.
- Orders of one day are one purchase. The caller decides the zone of the day.
- Currencies are never added. All orders count as purchases; spend is in one currency at a time.
"""

from bisect import insort
from collections.abc import Iterator
from datetime import date

import msgspec

from libs.common.contracts.orders import Back, in_currency, larger, united


class Order(msgspec.Struct, frozen=True, array_like=True):
    """A completed order: day (`date.toordinal`), amount in minor units, currency (ISO 4217)."""

    day: int
    minor: int
    currency: str


class Purchases(msgspec.Struct, omit_defaults=True):
    """Orders by order id, refunds by order id and refund id, and the ids of cancelled orders.

    State stores one of these for each order (`state.ORDER`).
    """

    orders: dict[str, Order] = {}
    refunds: dict[str, dict[str, Back]] = {}
    cancelled: list[str] = []

    def complete(self, order: str, day: date, minor: int, currency: str) -> None:
        """An order was completed on `day`. Idempotent."""
        self._keep(order, Order(day.toordinal(), minor, currency))

    def refund(self, order: str, refund: str, back: Back) -> None:
        """`order`, or a part of it, was refunded. Idempotent per `refund`, the refund's own id.

        If a refund is repeated, the larger amount counts. A refund in a currency other than the order's has no effect.
        """
        refunds = self.refunds.setdefault(order, {})
        refunds[refund] = larger(refunds.get(refund, back), back)

    def cancel(self, order: str) -> None:
        """The order was cancelled. Idempotent."""
        if order not in self.cancelled:
            insort(self.cancelled, order)

    def copied(self) -> "Purchases":
        """A copy to change."""
        refunds = {order: dict(refunds) for order, refunds in self.refunds.items()}
        return Purchases(dict(self.orders), refunds, list(self.cancelled))

    def net(self, order: str) -> int:
        """The amount of a completed order after its refunds, in minor units; 0 or more."""
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

    def _keep(self, order: str, new: Order) -> None:
        known = self.orders.get(order)
        if known is None or _precedence(new) < _precedence(known):
            self.orders[order] = new


def absorb(survivor: Purchases, other: Purchases) -> None:
    """Merge `other` into `survivor`; what both have counts once. `other` is unchanged."""
    for order, bought in other.orders.items():
        survivor._keep(order, bought)
    for order, refunds in other.refunds.items():
        survivor.refunds[order] = united(survivor.refunds.get(order, {}), refunds)
    for order in other.cancelled:
        survivor.cancel(order)


def _precedence(order: Order) -> tuple[int, int, str]:
    return order.day, -order.minor, order.currency
