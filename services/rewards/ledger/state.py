"""What the ledger keeps of a customer: a wallet; and in sections the credits, each with the lots of points that came from it."""

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
    """Points credited at once by one rule. `points` = what was credited, `remaining` = neither spent nor reversed.

    `rule` is None for a person's adjustment, which does not qualify for levels. A `duplicate` belongs to an order that was
    counted for both customers of a merge: all of it is reversed. What is left at `expires_at` is lost; it counts as
    `reversed`, so that a refund does not take it a second time.
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


class Credit(msgspec.Struct, frozen=True, array_like=True):
    """Points that came from one order or other input: the order, if it was one, and the lots, duplicates first."""

    order: Order | None = None
    lots: tuple[Lot, ...] = ()

    @property
    def remaining(self) -> int:
        return sum(lot.remaining for lot in self.lots)

    @property
    def next_expiry(self) -> datetime | None:
        """When the first of the points that remain are lost; None when none ever are."""
        dates = [lot.expires_at for lot in self.lots if lot.remaining and lot.expires_at is not None]
        return min(dates, default=None)

    @property
    def rank(self) -> int | None:
        """Where it stands among the credits of which something remains: first those that are lost soonest, then those that are
        good for ever, the oldest first. None when nothing remains."""
        if (expires := self.next_expiry) is not None:
            return (expires - _EPOCH) // _MICROSECOND
        earned = [lot.earned_at for lot in self.lots if lot.remaining]
        return _FOR_EVER + (min(earned) - _EPOCH) // _MICROSECOND if earned else None

    def section(self) -> Section:
        """As it is kept."""
        return Section(self, self.rank)


class Wallet(Sectioned, omit_defaults=True):
    """A customer's points.

    balance = sum of the lots' `remaining` - `debt`. Debt arises when points that were already taken are reversed; the
    next credits repay it, so that either nothing remains or nothing is owed. `has_earned`: there was ever a credit.
    """

    balance: int = 0
    qualifying: int = 0
    debt: int = 0
    has_earned: bool = False

    def credit(self, key: str) -> Credit:
        """The credit under a key; an empty one where there is none."""
        return self.sections.get(CREDIT, key) or Credit()

    def credits(self) -> dict[str, Credit]:
        """All of them, by their keys."""
        return self.sections.every(CREDIT)

    def open(self) -> Iterator[tuple[str, Credit]]:
        """Those of which something remains, in the order in which they are spent."""
        return self.sections.open(CREDIT)

    def put(self, key: str, credit: Credit) -> None:
        self.sections.set(CREDIT, key, *credit.section())

    def has_counted(self, order: str) -> bool:
        known = self.credit(order_key(order)).order
        return known is not None and known.counted

    def next_expiry(self) -> datetime | None:
        """When points are lost next, if none are spent before; None when none ever are."""
        return next((credit.next_expiry for _, credit in self.open()), None)

    def expiring(self, until: datetime) -> Iterator[tuple[str, Credit]]:
        """The open credits of which something is lost by `until`."""
        for key, credit in self.open():
            if (first := credit.next_expiry) is None or first > until:
                return
            yield key, credit

    def reach(self, points: int, besides: str = "") -> None:
        """Look at the open credits that it takes to take so many points from, without the one under `besides`.

        For `decide`: `evolve` can only change what `decide` has looked at.
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
    """The order that a credit is for; None where it is for another input."""
    kind, _, order = key.partition(":")
    return order if kind == "order" else None
