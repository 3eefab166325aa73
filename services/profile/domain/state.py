"""One customer as profile knows them: identifiers, traits, orders. Plain data; the rules are in `evolve`.

Times are microseconds since 1970 UTC, amounts integer minor units. A trait's value is kept as the very JSON text that
was sent.
"""

from datetime import UTC, datetime, timedelta

import msgspec

from libs.common.contracts.orders import Back, in_currency
from libs.common.fold.sections import Sectioned

#: A customer's traits may be this many bytes as JSON; beyond it the largest are refused.
TRAITS = 64 * 1024
#: A profile may be merged with so many others, and be led to by so many identifiers (Segment's limits).
MERGES = 100
IDENTIFIERS = 1_000

#: The kind of section.
ORDER = "order"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(time: datetime) -> int:
    """Microseconds since 1970, exact."""
    return (time - _EPOCH) // _MICROSECOND


def moment(micros: int) -> datetime:
    """The time that `micros` stands for, in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


class Trait(msgspec.Struct, array_like=True, frozen=True):
    """A value as JSON text, and when the customer was said to have it. `null` says that they have it no longer."""

    at: int
    value: msgspec.Raw

    @property
    def text(self) -> bytes:
        return bytes(self.value)

    @property
    def gone(self) -> bool:
        """Whether the trait was taken away."""
        return len(self.value) == 4 and bytes(self.value) == b"null"


class Order(msgspec.Struct, frozen=True, array_like=True):
    """An order, its refunds, or both. `at` is None while a refund waits for its order; `minor` when no amount was said.

    `refunds` by their ids, the first of them at `refunded_at`; `cancelled` says that the order does not count any more.
    """

    at: int | None = None
    minor: int | None = None
    currency: str = ""
    refunds: dict[str, Back] = {}
    cancelled: bool = False
    refunded_at: int | None = None

    @property
    def waits_since(self) -> int | None:
        """Since when its refunds have waited for the order; None when they do not. It is the section's rank."""
        return self.refunded_at if self.at is None else None

    @property
    def counts(self) -> bool:
        """Whether it is an order that was placed, and not cancelled."""
        return self.at is not None and not self.cancelled

    @property
    def net(self) -> int:
        """What is left after refunds, 0 or more minor units of `currency`; one in another currency takes nothing off."""
        paid = max(self.minor or 0, 0)
        left = paid
        for refund in self.refunds.values():
            back = in_currency(refund, self.currency)
            left -= paid if back is None else back
        return max(left, 0)


class Paid(msgspec.Struct, frozen=True, array_like=True):
    """What orders of one currency sum up to: how many name an amount, and their net amounts in minor units."""

    orders: int = 0
    minor: int = 0


class Customer(Sectioned, omit_defaults=True):
    """The state of a customer. Their orders lie in sections (`ORDER`, by their ids); `completed` and `paid` are the sums of them.

    `identifiers` are references (`user:ann`, `anon:a1`) with the version of each binding; `merged` the ids of all
    customers who went into this one, at any depth; `facts` how many facts profile has decided on them.
    """

    identifiers: dict[str, int] = msgspec.field(default_factory=dict)
    user: str | None = None
    traits: dict[str, Trait] = msgspec.field(default_factory=dict)
    completed: int = 0
    paid: dict[str, Paid] = msgspec.field(default_factory=dict)
    first: int | None = None
    last: int | None = None
    merged: list[str] = msgspec.field(default_factory=list)
    facts: int = 0

    @property
    def revenue(self) -> dict[str, int]:
        """Net revenue in minor units by currency."""
        return {currency: paid.minor for currency, paid in self.paid.items()}


#: What sections hold, by their kind.
SECTIONS = {ORDER: Order}
DECODERS = {kind: msgspec.json.Decoder(type) for kind, type in SECTIONS.items()}
_decoder = msgspec.json.Decoder(Customer)
_encoder = msgspec.json.Encoder()


def decode(value: bytes) -> Customer:
    """A stored state; that of a customer of whom nothing is known when empty."""
    return _decoder.decode(value) if value else Customer()


def encode(state: Customer) -> bytes:
    """A state as it is stored."""
    return _encoder.encode(state)


def decode_order(value: bytes) -> Order:
    """An order as its section stores it."""
    return DECODERS[ORDER].decode(value)
