"""What the ledger keeps of a customer: lots of points, and the orders that they came from."""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from libs.common.contracts.money import Money
from libs.common.contracts.orders import Back, in_currency


class Lot(msgspec.Struct, array_like=True):
    """Points credited at once. `points` = what was credited, `remaining` = neither spent nor reversed.

    `rule` is None for a person's adjustment, which does not qualify for levels. A `double` belongs to an order that was
    counted for both customers of a merge: all of it is reversed. What is left at `expires_at` is lost; it counts as
    `reversed`, so that a refund does not take it a second time.
    """

    points: int
    remaining: int
    reversed: int
    earned_at: datetime
    rule: str | None
    order: str | None
    double: bool = False
    expires_at: datetime | None = None


class Order(msgspec.Struct, array_like=True):
    """An order as `counted`, or only the refunds that wait for it. Amount in minor units; None when it names none.

    `refunds` by their ids. `void`: it was refunded whole, and what it had counted for was taken back.
    """

    minor: int | None = None
    currency: str = ""
    counted: bool = False
    void: bool = False
    refunds: dict[str, Back] = {}

    @property
    def refunded(self) -> int:
        """What was given back, in minor units. Refunds in another currency count for nothing."""
        return sum(in_currency(back, self.currency) or 0 for back in self.refunds.values())

    @property
    def whole(self) -> bool:
        """Whether all of it was given back. An order over nothing is given back by any refund in its currency."""
        if any(back is None for back in self.refunds.values()):
            return True
        return self.refunded >= (self.minor or 0) and any(
            not isinstance(back, Money) or back.currency == self.currency for back in self.refunds.values()
        )


class Wallet(msgspec.Struct, omit_defaults=True):
    """A customer's points.

    balance = sum of the lots' `remaining` - `debt`. Debt arises when points that were already taken are reversed; the
    next credits repay it, so that either nothing remains or nothing is owed.
    """

    balance: int = 0
    qualifying: int = 0
    debt: int = 0
    lots: list[Lot] = []
    orders: dict[str, Order] = {}

    def has_counted(self, order: str) -> bool:
        known = self.orders.get(order)
        return known is not None and known.counted

    def lots_of(self, order: str) -> Iterator[Lot]:
        """The lots that came from an order, doubles first."""
        found = [lot for lot in self.lots if lot.order == order]
        return iter(sorted(found, key=lambda lot: not lot.double))

    def expiring(self, until: datetime) -> list[Lot]:
        """The lots of which something is left that is lost by `until`."""
        return [lot for lot in self.lots if lot.remaining and lot.expires_at is not None and lot.expires_at <= until]

    def next_expiry(self) -> datetime | None:
        """When points are lost next, if none are spent before; None when none ever are."""
        dates = [lot.expires_at for lot in self.lots if lot.remaining and lot.expires_at is not None]
        return min(dates, default=None)
