"""A decision in the making: the features of rewards add to it, one after the other."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import UNSET, UnsetType, field

from libs.common.contracts.input import Input, Resource
from libs.common.contracts.records import Fact
from libs.common.contracts.rewards import PointsCredited, PointsReversed
from libs.common.fold import decider
from libs.common.rules.rule_event import RuleEvent, Scope


class Decision(decider.Decision, kw_only=True):
    """The facts that follow, what each feature's `evolve` and projection need besides (`notes`), and after a merge
    what the survivor holds of each feature (`standing`)."""

    notes: dict[str, Any] = field(default_factory=dict)
    standing: dict[str, dict[str, int]] = field(default_factory=dict)


class Merging(NamedTuple):
    """How two accounts relate before one absorbs the other: the orders that both have counted (`duplicated`; True if
    the other's was refunded whole), and their qualifying points."""

    duplicated: Mapping[str, bool]
    qualifying: int
    others_qualifying: int


class Course:
    """The points after the facts decided so far.

    `has_points`: some points were ever earned. `expires_at`: until when points that are earned now are valid. `counts`
    is False for an order that was refunded whole before it came. `voided` lists the orders that this input refunds
    whole.
    """

    def __init__(
        self,
        input: Input,
        balance: int,
        qualifying: int,
        has_points: bool,
        expires_at: datetime | UnsetType = UNSET,
    ) -> None:
        self.input = input
        self.scope = Scope(input.body, input) if isinstance(input.body, RuleEvent) else None
        self.facts: list[Fact] = []
        self.takes: dict[Resource, int] = {}
        self.balance = balance
        self.has_points = has_points
        self.qualifying = qualifying
        self.expires_at = expires_at
        self.moved = False
        self.counts = True
        self.voided: list[str] = []
        self.earned: dict[str, int] = {}

    def credit(self, rule: str, points: int, order: str | None) -> None:
        """Give points for a rule. Zero points give no fact."""
        self.earned[rule] = points
        if not points:
            return
        self.moved = True
        self.balance += points
        self.qualifying += points
        self.facts.append(
            PointsCredited(points=points, balance=self.balance, rule=rule, order_id=order, expires_at=self.expires_at)
        )

    def reverse(self, order: str, by_rule: Mapping[str, int]) -> None:
        """Take back points of an order, by rule."""
        for rule, points in by_rule.items():
            if points:
                self.moved = True
                self.balance -= points
                self.qualifying -= points
                self.facts.append(PointsReversed(points=points, balance=self.balance, rule=rule, order_id=order))
