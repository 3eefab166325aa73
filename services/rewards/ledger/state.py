"""The ledger's state of a customer: a wallet, and as sections the credits with their lots."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from libs.common.contracts.money import Money
from libs.common.contracts.orders import Back, in_currency
from libs.common.fold.sections import Section, Sectioned

#: The kind of section. Its key says what the points came from: an order, or any other input.
CREDIT = "credit"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: The rank of points that are good for ever begins here, behind all dates.
_FOR_EVER = 2**62


class Lot(msgspec.Struct, frozen=True, array_like=True):
    """Points that one rule credited at once. `points` is what was credited, `remaining` what is neither spent nor
    reversed.

    `rule` is None for an adjustment by a person, which does not qualify for levels. A `duplicate` comes from an order
    that both customers of a merge had counted; all of it is reversed. What is left at `expires_at` expires. It counts
    as `reversed`, so that a refund does not take it again.
    """

    points: int
    remaining: int
    reversed: int
    earned_at: datetime
    rule: str | None
    duplicate: bool = False
    expires_at: datetime | None = None

    def expires_by(self, until: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= until


class Order(msgspec.Struct, frozen=True, array_like=True):
    """An order that was `counted`, or only the refunds that wait for it. `minor` is its amount in minor units; None if
    it has none.

    `refunds` are by id. `void`: it was refunded whole, and what it counted for was taken back.
    """

    minor: int | None = None
    currency: str = ""
    counted: bool = False
    void: bool = False
    refunds: dict[str, Back] = {}

    @property
    def refunded(self) -> int:
        """The refunded amount in minor units. Refunds in other currencies have no effect."""
        return sum(in_currency(back, self.currency) or 0 for back in self.refunds.values())

    @property
    def whole(self) -> bool:
        """Whether the order was refunded whole. Any refund in its currency refunds an order over nothing."""
        if any(back is None for back in self.refunds.values()):
            return True
        return self.refunded >= (self.minor or 0) and any(
            not isinstance(back, Money) or back.currency == self.currency for back in self.refunds.values()
        )


class Credit(msgspec.Struct, frozen=True, array_like=True):
    """The points of one order or other input: the order, if it was one, and the lots, duplicates first."""

    order: Order | None = None
    lots: tuple[Lot, ...] = ()

    @property
    def remaining(self) -> int:
        return sum(lot.remaining for lot in self.lots)

    @property
    def next_expiry(self) -> datetime | None:
        """When the first of the remaining points expire; None if none ever do."""
        dates = [lot.expires_at for lot in self.lots if lot.remaining and lot.expires_at is not None]
        return min(dates, default=None)

    @property
    def rank(self) -> int | None:
        """The place among open credits: first those that expire soonest, then those that never expire, the oldest
        first. None if nothing remains."""
        if (expires := self.next_expiry) is not None:
            return (expires - _EPOCH) // _MICROSECOND
        earned = [lot.earned_at for lot in self.lots if lot.remaining]
        return _FOR_EVER + (min(earned) - _EPOCH) // _MICROSECOND if earned else None

    def section(self) -> Section:
        """The credit with its rank, as it is stored."""
        return Section(self, self.rank)


class Wallet(Sectioned, omit_defaults=True):
    """A customer's points.

    balance = sum of the lots' `remaining` - `debt`. Debt arises when spent points are reversed. The next credits repay
    it, so never both remain. `has_earned`: there was ever a credit.
    """

    balance: int = 0
    qualifying: int = 0
    debt: int = 0
    has_earned: bool = False

    def credit(self, key: str) -> Credit:
        """The credit under a key; an empty one if there is none."""
        return self.sections.get(CREDIT, key) or Credit()

    def credits(self) -> dict[str, Credit]:
        """All credits, by key."""
        return self.sections.every(CREDIT)

    def open(self) -> Iterator[tuple[str, Credit]]:
        """The credits with points left, in the order in which they are spent."""
        return self.sections.open(CREDIT)

    def put(self, key: str, credit: Credit) -> None:
        self.sections.set(CREDIT, key, *credit.section())

    def has_counted(self, order: str) -> bool:
        known = self.credit(order_key(order)).order
        return known is not None and known.counted

    def next_expiry(self) -> datetime | None:
        """When points expire next if none are spent before; None if none ever do."""
        return next((credit.next_expiry for _, credit in self.open()), None)

    def expiring(self, until: datetime) -> Iterator[tuple[str, Credit]]:
        """The open credits of which something expires by `until`."""
        for key, credit in self.open():
            if (first := credit.next_expiry) is None or first > until:
                return
            yield key, credit

    def reach(self, points: int, besides: str = "") -> None:
        """Look at the open credits needed to take `points`, leaving out the one under `besides`.

        For `decide`, because `evolve` may change only what `decide` has looked at.
        """
        for key, credit in self.open() if points > 0 else ():
            points -= 0 if key == besides else credit.remaining
            if points <= 0:
                return


def order_key(order: str) -> str:
    """The key of the credit for an order."""
    return f"order:{order}"


def input_key(id: str) -> str:
    """The key of the credit for any other input: an event, an adjustment."""
    return f"input:{id}"


def order_of(key: str) -> str | None:
    """The order that a credit is for; None for another input."""
    kind, _, order = key.partition(":")
    return order if kind == "order" else None
