"""What rewards declares: its facts on points, badges and levels, and who may read and write them."""

from datetime import datetime
from typing import ClassVar, Literal

from msgspec import UNSET, UnsetType

from libs.common.contracts.contract import Contract, Topic
from libs.common.contracts.records import Fact

REWARDS = "rewards.facts"
Scope = Literal["rewards:read", "rewards:write"]
OwnScope = Literal["own:points"]


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


class PointsWithheld(Fact, frozen=True, kw_only=True):
    """The budget of an earning rule kept back `points` that it would have given. `budget` is what the rule may give in the
    `period`, of which so much was `left`."""

    TYPE: ClassVar[str] = "points.withheld.v1"
    points: int
    rule: str
    order_id: str | None = None
    budget: int
    period: str
    left: int

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


CONTRACT = Contract(
    Topic(REWARDS, "rewards", "customer id", "points, badges and levels that rewards decided", ("profile",)),
    (
        PointsCredited,
        PointsWithheld,
        PointsReversed,
        PointsAdjusted,
        PointsExpired,
        BadgeEarned,
        BadgeRevoked,
        LevelReached,
    ),
    {"rewards:read": ("marketer", "analyst", "operator"), "rewards:write": ("marketer",)},
    ("own:points",),
)
