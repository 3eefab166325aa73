"""A decision in the making: what the features of rewards decide on one input, one after the other."""

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
    """The facts that follow, by feature what else its `evolve` and projection need (`notes`), and at a merge what the survivor
    holds of each feature just after it (`standing`)."""

    notes: dict[str, Any] = field(default_factory=dict)
    standing: dict[str, dict[str, int]] = field(default_factory=dict)


class Merging(NamedTuple):
    """What two accounts are to each other before one takes over the other: the orders that both have counted (`duplicated`; True
    when the other's was given back already), and their qualifying points."""

    duplicated: Mapping[str, bool]
    qualifying: int
    others_qualifying: int


class Course:
    """The points as they would be after the facts decided so far.

    `has_points` says whether any were ever earned, `expires_at` until when points that are earned now are good. `counts` is
    False for an order that was given back wholly before it came. `voided` are the orders that this input gives back wholly.
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
        """Give points for a rule; nothing for none."""
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
        """Take back points that an order gave."""
        for rule, points in by_rule.items():
            if points:
                self.moved = True
                self.balance -= points
                self.qualifying -= points
                self.facts.append(PointsReversed(points=points, balance=self.balance, rule=rule, order_id=order))
