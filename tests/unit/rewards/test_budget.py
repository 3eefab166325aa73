"""A budget on an earning rule: trimmed or refused, by the period in which it happened, and told in a fact."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.input import Input, Resource
from libs.common.contracts.rewards import PointsCredited, PointsWithheld
from libs.common.errors import Invalid
from services.rewards.decider import decide, recorded, shared
from services.rewards.earning.budget import Budget, CompiledBudget
from services.rewards.programme import Programme, Rules, compiled, refuse_faulty
from services.rewards.rules import Workspace
from services.rewards.state import Account
from tests.unit.rewards.history import DAY, Customer, of, order, programme, refund

MONTH = Resource("budget", "per-unit", "2026-03")


def club(points: int = 100, **budget: Any) -> Rules:
    budgeted = {"points": points, "per": "month", **budget}
    return programme(earning=[{"id": "per-unit", "earn": {"per": 1, "points": 2, "of": "revenue"}, "budget": budgeted}])


def drawing(input: Input, taken: int, resource: Resource = MONTH) -> Input:
    return msgspec.structs.replace(input, shared={resource: taken})


def told(taken: int, rules: Rules, points: int) -> tuple[list[int], list[tuple[int, int]], dict[Resource, int]]:
    """What an order that is worth so many points gives: credited; withheld, of what was left; what is taken."""
    decision = decide(Account(), drawing(order("a", points / 2), taken), rules)
    credited = [fact.points for fact in decision.facts if isinstance(fact, PointsCredited)]
    withheld = [(fact.points, fact.left) for fact in decision.facts if isinstance(fact, PointsWithheld)]
    return credited, withheld, decision.takes


def test_within_the_budget_nothing_is_said_of_it() -> None:
    assert told(0, club(), 40) == ([40], [], {MONTH: 40})
    assert told(60, club(), 40) == ([40], [], {MONTH: 40})


def test_what_is_over_it_is_trimmed_or_refused() -> None:
    assert told(70, club(), 40) == ([30], [(10, 30)], {MONTH: 30})
    assert told(100, club(), 40) == ([], [(40, 0)], {})
    assert told(70, club(when_spent="refuse"), 40) == ([], [(40, 30)], {})
    assert told(60, club(when_spent="refuse"), 40) == ([40], [], {MONTH: 40})
    assert told(500, club(), 40) == ([], [(40, 0)], {})  # a version with a smaller budget was published


def test_a_refund_takes_back_its_share_of_what_was_given() -> None:
    customer = Customer(rules=club())
    customer.tell(drawing(order("a", 20), 70))
    assert customer.wallet.balance == 30
    customer.tell(refund("a", 10))
    assert customer.wallet.balance == 15
    customer.tell(refund("a"))
    assert customer.wallet.balance == 0
    waiting = Customer(rules=club())
    waiting.tell(refund("b", 10))
    waiting.tell(drawing(order("b", 20), 70))
    assert waiting.wallet.balance == 15


@pytest.mark.parametrize(
    ("per", "period"), [("day", "2025-12-29"), ("week", "2026-W01"), ("month", "2025-12"), ("year", "2025"), (None, "")]
)
def test_the_periods(per: Any, period: str) -> None:
    assert Budget(points=1, per=per).period(date(2025, 12, 29)) == period


def test_a_period_is_of_the_workspaces_zone_and_of_when_it_happened() -> None:
    written = {"id": "a", "earn": {"points": 1}, "budget": {"points": 5, "per": "day"}}
    rules = compiled(
        Programme.model_validate({"name": "Club", "earning": [written]}), Workspace(ZoneInfo("Asia/Tokyo"))
    )
    late = msgspec.structs.replace(order("a", 1), time=datetime(2026, 3, 1, 15, tzinfo=UTC))
    assert list(shared(late.body, late.time, 0, rules)) == [Resource("budget", "a", "2026-03-02")]
    assert list(shared(refund("a", 1).body, late.time, 0, rules)) == []


def test_a_rule_that_its_own_budget_would_start_is_refused() -> None:
    rule = {"id": "a", "on": "Points Withheld", "earn": {"points": 1}, "budget": {"points": 5}}
    with pytest.raises(Invalid, match="start itself"):
        refuse_faulty(Programme.model_validate({"name": "Club", "earning": [rule]}))


@given(st.lists(st.integers(0, 60), max_size=12), st.integers(1, 150), st.sampled_from(["trim", "refuse"]))
def test_it_is_never_over_and_a_replay_says_the_same(worth: list[int], points: int, when_spent: str) -> None:
    """The view that is made from the recorded facts gives these facts again."""
    rules, taken = club(points, when_spent=when_spent), 0
    given = 0
    for number, each in enumerate(worth):
        input = order(f"o{number}", each / 2)
        decision = decide(Account(), drawing(input, taken), rules)
        given += sum(fact.points for fact in of(decision.facts, PointsCredited) if isinstance(fact, PointsCredited))
        taken += sum(decision.takes.values())
        assert taken == given <= points
        view = recorded(input, rules, decision.facts)
        again = decide(Account(), msgspec.structs.replace(input, shared=view), rules)
        assert again.facts == decision.facts
    if when_spent == "trim":
        assert given == min(points, sum(worth))


def test_another_month_is_another_budget() -> None:
    rules = club()
    april = msgspec.structs.replace(order("a", 1), time=order("a", 1).time + timedelta(days=31))
    assert list(shared(april.body, april.time, 0, rules)) == [Resource("budget", "per-unit", "2026-04")]


@given(st.integers(1, 1000), st.integers(1, 12))
def test_the_parts_of_a_split_budget_give_it_together(points: int, partitions: int) -> None:
    split = CompiledBudget("a", Budget(points=points, split=True), Workspace(UTC, partitions))
    shares = [split.points(part) for part in range(partitions)]
    assert sum(shares) == points
    assert max(shares) - min(shares) <= 1
    assert {split.resource(DAY, partition).part for partition in range(partitions)} == set(range(partitions))
    whole = CompiledBudget("a", Budget(points=points), Workspace(UTC, partitions))
    assert {whole.resource(DAY, partition) for partition in range(partitions)} == {Resource("budget", "a")}
    assert whole.points(0) == points
