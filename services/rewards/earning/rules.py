"""The earning rules of a programme: who does what, and when what holds, earns how many points."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from pydantic import Field, StrictInt, model_validator

from libs.common.contracts.iso_types import Moment
from libs.common.contracts.money import exponent
from libs.common.contracts.orders import CANCELLED, COMPLETED, REFUNDED
from libs.common.contracts.records import display_name
from libs.common.contracts.rewards import PointsCredited, PointsWithheld
from libs.common.rules.cel.condition import Condition
from libs.common.rules.rule_event import RuleEvent, Scope
from services.rewards.earning.budget import Budget, CompiledBudget
from services.rewards.inputs import OrderCompleted
from services.rewards.rules import EventName, Identified, Section, When, holds
from services.rewards.validation import Fault, wrong_condition

AMOUNTS = ("revenue",)
#: More points than this for one order is a mistake in the order or in the rule.
MOST = 10**12


class Earn(Section):
    """`{"points": 10}` each time, or `{"per": 1, "points": 2, "of": "revenue"}`: for each major unit of an amount.

    The whole amount of the order counts (its `revenue`, else `total`, else the sum of its products), and the points are
    rounded down, once an order.
    """

    points: StrictInt = Field(gt=0, le=1_000_000)
    per: Decimal | None = Field(default=None, ge=Decimal("0.01"), le=1_000_000, decimal_places=4)
    of: str | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.per is None) != (self.of is None):
            raise ValueError("per and of go together: {per: 1, points: 2, of: revenue} is 2 points per major unit")
        if self.of is not None and self.of not in AMOUNTS:
            raise ValueError(f"{self.of} is no amount that is known; there is {', '.join(AMOUNTS)}")
        return self


class EarningRule(Identified):
    """Who does `on` (and `when` holds) between the two times, by when it happened, earns points."""

    on: EventName = COMPLETED
    when: When = None
    earn: Earn
    budget: Budget | None = Field(
        default=None, description="what all customers together may earn by it; null: no limit"
    )
    effective_from: Moment | None = Field(default=None, description="the first moment at which it holds")
    effective_to: Moment | None = Field(default=None, description="the first moment at which it no longer holds")


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """An earning rule with its condition and its budget compiled."""

    rule: EarningRule
    condition: Condition | None
    budget: CompiledBudget | None

    def matches(self, scope: Scope) -> bool:
        return self._effective(scope.input.time) and holds(self.condition, scope)

    def _effective(self, time: datetime) -> bool:
        begins, ends = self.rule.effective_from, self.rule.effective_to
        return (begins is None or begins <= time) and (ends is None or time < ends)


def points(earn: Earn, event: RuleEvent) -> int:
    """Fixed points, or so many per major unit of the order's amount, rounded down; 0 for an amount of zero or none.

    Raises ValueError for more than `MOST`.
    """
    if earn.per is None:
        return earn.points
    if not isinstance(event, OrderCompleted) or event.money is None:
        return 0
    minor, currency = event.money
    earned = int(Decimal(earn.points * max(minor, 0)) // earn.per.scaleb(exponent(currency)))
    if earned > MOST:
        raise ValueError(f"an order of {event.money.major} {currency} would give {earned} points: more than {MOST}")
    return earned


def faults_of(at: str, rule: EarningRule) -> Iterator[Fault]:
    where: dict[str, Any] = {"id": rule.id}
    yield from wrong_condition(at, rule.id, rule.when)
    if rule.effective_from and rule.effective_to and rule.effective_from >= rule.effective_to:
        yield Fault(
            f"{at}.effective_to", f"{rule.id} would end ({rule.effective_to.isoformat()}) before it begins", where
        )
    if rule.earn.of and rule.on != COMPLETED:
        message = f"only {COMPLETED} has a {rule.earn.of}; {rule.id} is on {rule.on}: give it fixed points"
        yield Fault(f"{at}.earn.of", message, where)
    if rule.on == display_name(PointsCredited.TYPE):
        yield Fault(f"{at}.on", f"{rule.id} would start itself with the points that it gives", where)
    if rule.budget is not None and rule.on == display_name(PointsWithheld.TYPE):
        yield Fault(f"{at}.budget", f"{rule.id} would start itself with what its budget withholds", where)
    if rule.on in (REFUNDED, CANCELLED):
        yield Fault(f"{at}.on", f"{rule.on} takes points back by itself, and gives none", where)
