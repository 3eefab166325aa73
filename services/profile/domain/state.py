"""A customer's state in profile: identifiers, traits, orders. Plain data; the rules are in `evolve`.

Times are microseconds since 1970 UTC, amounts are integer minor units. A trait's value is kept as the JSON text that
was sent.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from libs.common.contracts.orders import Back, in_currency
from libs.common.contracts.profile import RelationshipKind
from libs.common.fold.sections import Sectioned
from services.profile.domain.consent import Choice
from services.profile.domain.touch import Channel, Touch, acquired

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
    """The UTC time of `micros`."""
    return _EPOCH + timedelta(microseconds=micros)


class Trait(msgspec.Struct, array_like=True, frozen=True):
    """A value as JSON text, with its time and source (without `/apps/`). `null` removes the trait."""

    at: int
    value: msgspec.Raw
    source: str = ""

    @property
    def text(self) -> bytes:
        return bytes(self.value)

    @property
    def gone(self) -> bool:
        """Whether the trait was removed."""
        return len(self.value) == 4 and bytes(self.value) == b"null"


class Order(msgspec.Struct, frozen=True, array_like=True):
    """An order, its refunds, or both. `at` is None while refunds wait for the order; `minor` is None if no amount was
    sent.

    `refunds` are by id, the first of them at `refunded_at`. A `cancelled` order does not count.
    """

    at: int | None = None
    minor: int | None = None
    currency: str = ""
    refunds: dict[str, Back] = {}
    cancelled: bool = False
    refunded_at: int | None = None

    @property
    def waits_since(self) -> int | None:
        """The time since which refunds wait for the order; None if none wait. It is the section's rank."""
        return self.refunded_at if self.at is None else None

    @property
    def counts(self) -> bool:
        """Whether the order was placed and not cancelled."""
        return self.at is not None and not self.cancelled

    @property
    def net(self) -> int:
        """The amount after refunds in minor units of `currency`, at least 0. Refunds in other currencies have no
        effect."""
        paid = max(self.minor or 0, 0)
        left = paid
        for refund in self.refunds.values():
            back = in_currency(refund, self.currency)
            left -= paid if back is None else back
        return max(left, 0)


class Paid(msgspec.Struct, frozen=True, array_like=True):
    """The sum of orders in one currency: how many have an amount, and their net amounts in minor units."""

    orders: int = 0
    minor: int = 0


class Total(msgspec.Struct, array_like=True, frozen=True):
    """A window over a customer's events: `count` of them, of which `numbers` have a number, `sum` together; the oldest and the
    newest. Those up to `until` have left. Times are microseconds, numbers millionths. `values` says how many events have
    each value of a property, as JSON text, where the window asks for that."""

    count: int = 0
    numbers: int = 0
    sum: int = 0
    oldest: int | None = None
    newest: int | None = None
    until: int | None = None
    values: dict[str, int] = {}


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the facts of other services say about a customer: their points, level, and bands."""

    points: int = 0
    level: str | None = None
    risk_band: str | None = None
    value_band: str | None = None


class Deselected(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Since when, why and by whose decision a customer gets no marketing."""

    at: int
    reason: str
    by: str


class SaidRelationship(msgspec.Struct, frozen=True, array_like=True, order=True):
    """What somebody said of the relationship with a customer."""

    at: int
    kind: RelationshipKind
    reason: str
    by: str


class Customer(Sectioned, omit_defaults=True):
    """A customer's state. Their orders are sections (`ORDER`, by id); `completed` and `paid` are sums of them.

    `identifiers` maps references (`user:ann`, `anon:a1`) to the version of each binding. `merged` holds the ids of all
    customers merged into this one, at any depth. `facts` is the number of facts that profile has decided on them.

    `segments` are those that they are in, each with the time since when. `windows` are the totals of windows that
    segments and computed traits read, complete for all windows of rulebook `filled`; of nobody who is `stale`, because
    they were just merged. `computed` are the values of computed traits. `due` is when their timer is due; `pending` is when
    the latest record came of those that wait for the timer (they came after it was due, or merged the customer), and `silent`
    whether all of them are imported.

    `consent` is what they allow now, by purpose and channel (`consent.key_of`); its history is in rows. It is replaced as
    a whole, never changed in place.

    `first_touch` and `last_touch` are the earliest and the latest touch, by when they happened. `advocate`: they have
    recommended us (`journey`).

    `deselected` is set while the business does not market to them, `relationship` once somebody has said what it is.
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
    standing: Standing = Standing()
    segments: dict[str, int] = msgspec.field(default_factory=dict)
    windows: dict[str, Total] = msgspec.field(default_factory=dict)
    computed: dict[str, Any] = msgspec.field(default_factory=dict)
    filled: int = 0
    stale: bool = False
    due: int | None = None
    pending: int | None = None
    silent: bool = False
    consent: dict[str, Choice] = msgspec.field(default_factory=dict)
    first_touch: Touch | None = None
    last_touch: Touch | None = None
    advocate: bool = False
    deselected: Deselected | None = None
    relationship: SaidRelationship | None = None

    @property
    def channel(self) -> Channel:
        """Through which channel they were acquired."""
        return acquired(self.first_touch, self.first)

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
    """A stored state; the state of a new customer if `value` is empty."""
    return _decoder.decode(value) if value else Customer()


def encode(state: Customer) -> bytes:
    """The state as it is stored."""
    return _encoder.encode(state)


def decode_order(value: bytes) -> Order:
    """A stored order."""
    return DECODERS[ORDER].decode(value)
