"""The facts: what services decide, as the typed `data` of their records. A breaking change is a new version of a type."""

from datetime import date, datetime
from typing import ClassVar, Literal

from msgspec import UNSET, UnsetType

from libs.common.contracts.records import Fact


# -- profile ------------------------------------------------------------------------------------------------------------
class CustomerLeft(Fact, frozen=True, kw_only=True):
    """On the key of the customer who leaves: their state is complete from here, and moves `into` another customer."""

    TYPE: ClassVar[str] = "customer.left.v1"
    into: str


class CustomerMerged(Fact, frozen=True, kw_only=True):
    """On the key of the customer who stays: absorb the state of `other`, once `other` has left."""

    TYPE: ClassVar[str] = "customer.merged.v1"
    other: str

    @property
    def effect(self) -> str:
        return self.other


# -- rewards ------------------------------------------------------------------------------------------------------------
class PointsCredited(Fact, frozen=True, kw_only=True):
    """An earning rule gave points. `balance` is the customer's available balance after it; what is left of them at
    `expires_at` is lost."""

    TYPE: ClassVar[str] = "points.credited.v1"
    points: int
    balance: int
    rule: str
    order_id: str | None = None
    expires_at: datetime | UnsetType = UNSET

    @property
    def effect(self) -> str:
        return self.rule


class PointsReversed(Fact, frozen=True, kw_only=True):
    """A refund took back its share of the points of an order."""

    TYPE: ClassVar[str] = "points.reversed.v1"
    points: int
    balance: int
    rule: str
    order_id: str

    @property
    def effect(self) -> str:
        return f"{self.rule}/{self.order_id}"


class PointsAdjusted(Fact, frozen=True, kw_only=True):
    """A person gave (positive) or took (negative) points, for a reason."""

    TYPE: ClassVar[str] = "points.adjusted.v1"
    points: int
    balance: int
    reason: str
    expires_at: datetime | UnsetType = UNSET


class PointsExpired(Fact, frozen=True, kw_only=True):
    """What was left of the points that were good until `until` is lost."""

    TYPE: ClassVar[str] = "points.expired.v1"
    points: int
    balance: int
    until: datetime


class BadgeEarned(Fact, frozen=True, kw_only=True):
    """`count` things of a kind were reached. `occurrence` counts a repeatable badge's awards from 1."""

    TYPE: ClassVar[str] = "badge.earned.v1"
    badge: str
    name: str
    count: int
    occurrence: int = 1

    @property
    def effect(self) -> str:
        return f"{self.badge}/{self.occurrence}"


class BadgeRevoked(Fact, frozen=True, kw_only=True):
    """What had earned the badge was refunded."""

    TYPE: ClassVar[str] = "badge.revoked.v1"
    badge: str
    name: str
    occurrence: int = 1

    @property
    def effect(self) -> str:
        return f"{self.badge}/{self.occurrence}"


class LevelReached(Fact, frozen=True, kw_only=True):
    """The customer's qualifying points now lie in another level (`up` says in which direction)."""

    TYPE: ClassVar[str] = "level.reached.v1"
    level: str
    name: str
    points: int
    up: bool = True


# -- triggers -----------------------------------------------------------------------------------------------------------
Channel = Literal["inbox", "webhook"]


class MessageQueued(Fact, frozen=True, kw_only=True):
    """A hook's condition held and nothing withheld the message: it is handed to delivery."""

    TYPE: ClassVar[str] = "message.queued.v1"
    message: str
    hook: str
    version: int
    channel: Channel

    @property
    def effect(self) -> str:
        return self.hook


class MessageWithheld(Fact, frozen=True, kw_only=True):
    """A hook's condition held, but a rule withheld the message."""

    TYPE: ClassVar[str] = "message.withheld.v1"
    hook: str
    version: int
    reason: str

    @property
    def effect(self) -> str:
        return self.hook


class MessageSent(Fact, frozen=True, kw_only=True):
    """The message reached its inbox or webhook."""

    TYPE: ClassVar[str] = "message.sent.v1"
    message: str
    hook: str
    version: int
    channel: Channel

    @property
    def effect(self) -> str:
        return self.message


class MessageFailed(Fact, frozen=True, kw_only=True):
    """Delivery gave up on the message."""

    TYPE: ClassVar[str] = "message.failed.v1"
    message: str
    hook: str
    version: int
    channel: Channel
    error: str

    @property
    def effect(self) -> str:
        return self.message


class MessageSeen(Fact, frozen=True, kw_only=True):
    """The customer opened the message in their inbox."""

    TYPE: ClassVar[str] = "message.seen.v1"
    message: str
    hook: str

    @property
    def effect(self) -> str:
        return self.message


class MessagesStopped(Fact, frozen=True, kw_only=True):
    """The customer opted out of messages."""

    TYPE: ClassVar[str] = "messages.stopped.v1"
    by: str


class MessagesResumed(Fact, frozen=True, kw_only=True):
    """The customer opted in again."""

    TYPE: ClassVar[str] = "messages.resumed.v1"
    by: str


# -- metrics ------------------------------------------------------------------------------------------------------------
class ScoreChanged(Fact, frozen=True, kw_only=True):
    """A fit moved the customer to another risk or value band. `cltv` is in major units of `currency`, 12 months."""

    TYPE: ClassVar[str] = "score.changed.v1"
    fit: str
    as_of: date
    risk: float
    risk_band: str
    cltv: float
    value_band: str
    currency: str

    @property
    def effect(self) -> str:
        return self.fit


#: Every fact type by the service that writes it.
WRITTEN_BY: dict[str, tuple[type[Fact], ...]] = {
    "profile": (CustomerLeft, CustomerMerged),
    "rewards": (
        PointsCredited,
        PointsReversed,
        PointsAdjusted,
        PointsExpired,
        BadgeEarned,
        BadgeRevoked,
        LevelReached,
    ),
    "triggers": (
        MessageQueued,
        MessageWithheld,
        MessageSent,
        MessageFailed,
        MessageSeen,
        MessagesStopped,
        MessagesResumed,
    ),
    "metrics": (ScoreChanged,),
}

BY_TYPE: dict[str, type[Fact]] = {fact.TYPE: fact for facts in WRITTEN_BY.values() for fact in facts}
