"""The rule book by example."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from libs.common.errors import Conflict
from libs.common.facts import BadgeEarned, BadgeRevoked, LevelReached, PointsAdjusted, PointsCredited, PointsReversed
from libs.common.fold.decider import Merged
from libs.common.records import Fact, Snapshot
from tests.unit.rewards.history import DAY, PER_UNIT, Customer, adjust, cause, event, heard, order, programme, refund


def of(facts: list[Fact], *kinds: type[Fact]) -> list[Fact]:
    return [fact for fact in facts if isinstance(fact, kinds)]


# -- earning ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("earn", "properties", "points"),
    [
        ({"points": 10}, {}, 10),
        ({"per": 1, "points": 2, "of": "revenue"}, {"revenue": 29.99}, 59),
        ({"per": 1, "points": 2, "of": "revenue"}, {"revenue": "0.49"}, 0),
        ({"per": 10, "points": 1, "of": "revenue"}, {"revenue": 99.99}, 9),
        ({"per": 0.5, "points": 1, "of": "revenue"}, {"revenue": 10.49}, 20),
        ({"per": 1, "points": 1, "of": "revenue"}, {"revenue": 1990, "currency": "JPY"}, 1990),
        ({"per": 1, "points": 1, "of": "revenue"}, {"revenue": 1.999, "currency": "KWD"}, 1),
        ({"per": 1, "points": 1, "of": "revenue"}, {"total": 12.5}, 12),
        ({"per": 1, "points": 1, "of": "revenue"}, {"products": [{"price": 2.5, "quantity": 3}]}, 7),
        ({"per": 1, "points": 1, "of": "revenue"}, {}, 0),
        ({"per": 1, "points": 1, "of": "revenue"}, {"revenue": -5}, 0),
        ({"per": 0.1, "points": 3, "of": "revenue"}, {"revenue": 0.3}, 9),
    ],
)
def test_what_an_order_earns(earn: dict[str, Any], properties: dict[str, Any], points: int) -> None:
    customer = Customer(programme(earning=[{"id": "rule", "earn": earn}]))
    customer.tell(event("Order Completed", order_id="1", **properties))
    assert customer.account.balance == points
    assert customer.account.has_counted("1")


def test_an_absurd_order_is_refused_rather_than_booked() -> None:
    customer = Customer(programme(earning=[{"id": "rule", "earn": {"per": 0.01, "points": 1000, "of": "revenue"}}]))
    with pytest.raises(ValueError, match="more than 1000000000000"):
        customer.tell(order("1", 900_000_000_000))
    assert not customer.account.has_counted("1")


def test_windows_go_by_when_it_happened() -> None:
    rule = {
        "id": "march",
        "earn": {"points": 1},
        "effective_from": DAY.isoformat(),
        "effective_to": (DAY + timedelta(days=2)).isoformat(),
    }
    customer = Customer(programme(earning=[rule]))
    for day in (-1, 0, 1, 2):
        customer.tell(order(f"day {day}", 5, day=day))
    assert [lot.order for lot in customer.account.lots] == ["day 0", "day 1"]


def test_conditions_see_the_event_and_the_customer_as_they_were() -> None:
    when = "event.properties.revenue > 20 && customer.traits.plan == 'gold' && customer.orders < 2"
    customer = Customer(programme(earning=[{"id": "vip", "when": when, "earn": {"points": 5}}]))
    gold, free = Snapshot(id="c", traits={"plan": "gold"}, orders=1), Snapshot(id="c", traits={"plan": "free"})
    customer.tell(event("Order Completed", "1", customer=gold, order_id="1", revenue=30))
    customer.tell(event("Order Completed", "2", customer=free, order_id="2", revenue=30))
    customer.tell(event("Order Completed", "3", customer=gold, order_id="3", revenue=3))
    customer.tell(event("Order Completed", "4", order_id="4", revenue=30))  # no plan: a condition that fails holds not
    assert [lot.order for lot in customer.account.lots] == ["1"]


def test_other_events_and_kinds_earn_too() -> None:
    rules = programme(
        earning=[
            {"id": "survey", "on": "Survey Answered", "when": "event.properties.stars >= 4", "earn": {"points": 3}},
            {"id": "hello", "on": "Identified", "when": "has(event.traits.email)", "earn": {"points": 1}},
        ]
    )
    customer = Customer(rules)
    customer.tell(event("Survey Answered", "1", stars=5))
    customer.tell(event("Survey Answered", "2", stars=3))
    hello = {"type": "identify", "messageId": "3", "userId": "ann", "traits": {"email": "ann@example.org"}}
    customer.tell(heard("3", hello, type="identify.v1"))
    assert [(lot.points, lot.rule, lot.order) for lot in customer.account.lots] == [
        (3, "survey", None),
        (1, "hello", None),
    ]


def test_an_order_counts_once_by_its_id_else_by_its_message() -> None:
    customer = Customer()
    customer.tell(order("1", 10))
    assert customer.tell(order("1", 10, record="from the server")) == []
    customer.tell(event("Order Completed", "m1", revenue=10))
    customer.tell(event("Order Completed", "m2", revenue=10))
    assert set(customer.account.orders) == {"1", "message:m1", "message:m2"}


# -- refunds ------------------------------------------------------------------------------------------------------------
def test_partial_refunds_round_in_the_customers_favour_and_reach_exactly_all() -> None:
    customer = Customer(programme(earning=[PER_UNIT]))
    customer.tell(order("1", "10.00"))
    for number in range(3):
        customer.tell(refund("1", "3.33", record=str(number)))
    assert customer.points() == [("PointsCredited", 20), *[("PointsReversed", points) for points in (6, 7, 6)]]
    customer.tell(refund("1", "0.01", record="rest"))
    assert customer.account.balance == 0
    assert customer.tell(refund("1", "5.00", record="too much")) == []


def test_a_refund_that_comes_first_waits_for_its_order() -> None:
    customer = Customer(programme(earning=[PER_UNIT]))
    assert customer.tell(refund("1", "2.50")) == []
    customer.tell(order("1", "10.00"))
    assert customer.points() == [("PointsCredited", 20), ("PointsReversed", 5)]


def test_a_cancelled_order_gives_everything_back() -> None:
    customer = Customer()
    customer.tell(order("1", 10))
    customer.tell(event("Order Cancelled", "c", order_id="1", revenue=3))
    assert customer.account.balance == 0
    assert customer.account.progress("first").earned == 0


def test_currencies_are_never_mixed() -> None:
    customer = Customer(programme(earning=[PER_UNIT]))
    customer.tell(order("1", "10.00"))
    assert customer.tell(refund("1", "10.00", currency="EUR")) == []
    assert customer.account.balance == 20


def test_what_was_spent_and_is_taken_back_is_owed_and_repaid() -> None:
    customer = Customer(programme(earning=[PER_UNIT]))
    customer.tell(order("1", 50))
    customer.tell(adjust(-80, "spent"))
    customer.tell(refund("1"))
    assert (customer.account.balance, customer.account.debt) == (-80, 80)
    with pytest.raises(Conflict, match="has -80 points, so none can be taken"):
        customer.tell(adjust(-1, "more"))
    customer.tell(order("2", 60))
    assert (customer.account.balance, customer.account.debt, customer.account.lots[-1].remaining) == (40, 0, 40)


# -- badges and levels ----------------------------------------------------------------------------------------------------
def test_badges_once_and_again() -> None:
    customer = Customer()
    for number in range(4):
        customer.tell(order(str(number), 1))
    earned = of(customer.facts, BadgeEarned)
    assert [(fact.badge, fact.count, fact.occurrence) for fact in earned if isinstance(fact, BadgeEarned)] == [
        ("first", 1, 1),
        ("pairs", 2, 1),
        ("third", 3, 1),
        ("pairs", 4, 2),
    ]


def test_a_whole_refund_revokes_what_the_order_had_earned() -> None:
    customer = Customer()
    for number in range(4):
        customer.tell(order(str(number), 1))
    customer.tell(refund("0", "0.40"))
    assert not of(customer.facts, BadgeRevoked)
    facts = customer.tell(refund("0", "0.60", record="rest"))
    assert of(facts, BadgeRevoked) == [BadgeRevoked(badge="pairs", name="Pairs", occurrence=2)]
    facts = customer.tell(refund("1"))
    assert of(facts, BadgeRevoked) == [BadgeRevoked(badge="third", name="Third", occurrence=1)]
    facts = customer.tell(order("5", 1))
    assert of(facts, BadgeEarned) == [BadgeEarned(badge="third", name="Third", count=3, occurrence=1)]


def test_a_stricter_programme_takes_no_badge_away() -> None:
    customer = Customer(programme(badges=[{"id": "fan", "name": "Fan", "count": 1}]))
    customer.tell(order("1", 1))
    customer.rules = programme(badges=[{"id": "fan", "name": "Fan", "count": 5}])
    assert customer.tell(order("2", 1)) == []
    customer.rules = programme()
    assert customer.tell(refund("2")) == []
    assert customer.account.progress("fan").earned == 1


def test_levels_go_up_and_down_with_qualifying_points_alone() -> None:
    customer = Customer()
    customer.tell(order("1", 5))
    customer.tell(adjust(1000))
    customer.tell(order("2", 200))
    customer.tell(refund("2", 199))
    assert of(customer.facts, LevelReached) == [
        LevelReached(level="start", name="Start", points=17, up=True),
        LevelReached(level="gold", name="Gold", points=424, up=True),
        LevelReached(level="start", name="Start", points=20, up=False),
    ]


def test_below_the_lowest_level_there_is_none() -> None:
    customer = Customer(programme(earning=[PER_UNIT], levels=[{"id": "a", "name": "A", "points": 10}]))
    customer.tell(order("1", 5))
    assert customer.tell(refund("1"))[-1] == LevelReached(level="", name="", points=0, up=False)
    assert customer.account.level is None


# -- facts that start rules -------------------------------------------------------------------------------------------------
def test_own_facts_start_rules_and_change_nothing_else() -> None:
    rules = programme(
        earning=[
            PER_UNIT,
            {"id": "bonus", "on": "Badge Earned", "when": "event.properties.badge == 'first'", "earn": {"points": 50}},
        ],
        badges=[
            {"id": "first", "name": "First"},
            {"id": "collector", "name": "Collector", "on": "Badge Earned", "count": 1},
        ],
    )
    customer = Customer(rules)
    customer.tell(order("1", 10))
    assert customer.account.balance == 20
    credited = heard("f0", {"points": 20, "balance": 20, "rule": "per-unit"}, type="points.credited.v1", own=True)
    assert customer.tell(credited) == []
    badge = {"badge": "first", "name": "First", "count": 1}
    facts = customer.tell(heard("f1", badge, type="badge.earned.v1", own=True))
    assert facts == [
        PointsCredited(points=50, balance=70, rule="bonus"),
        BadgeEarned(badge="collector", name="Collector", count=1),
    ]
    assert customer.account.balance == 70
    assert customer.account.progress("first").earned == 1


def test_an_app_cannot_speak_for_a_service() -> None:
    customer = Customer(programme(earning=[{"id": "bonus", "on": "Badge Earned", "earn": {"points": 50}}]))
    assert event("Badge Earned").body is None
    assert customer.tell(heard("f", {"badge": "x"}, type="badge.earned.v1")) != []


def test_unknown_types_are_left_alone() -> None:
    assert heard("x", {"a": 1}, type="weather.changed.v9").body is None


# -- adjustments ------------------------------------------------------------------------------------------------------------
def test_an_adjustment_gives_and_takes_but_not_more_than_there_is() -> None:
    customer = Customer()
    assert customer.tell(adjust(30, "a", "sorry")) == [PointsAdjusted(points=30, balance=30, reason="sorry")]
    customer.tell(adjust(-10, "b"))
    with pytest.raises(Conflict, match="has 20 points, so 21 cannot be taken: take 20 at most"):
        customer.tell(adjust(-21, "c"))
    customer.tell(adjust(-20, "d"))
    with pytest.raises(Conflict, match="has 0 points, so none can be taken"):
        customer.tell(adjust(-1, "e"))


def test_the_oldest_points_are_taken_first() -> None:
    customer = Customer(programme(earning=[PER_UNIT]))
    customer.tell(order("new", 10, day=5))
    customer.tell(order("old", 10, day=1))
    customer.tell(adjust(-25))
    assert [(lot.order, lot.remaining) for lot in customer.account.lots] == [("new", 15), ("old", 0)]


# -- merges -----------------------------------------------------------------------------------------------------------------
def test_a_merge_moves_lots_with_their_dates_and_derives_the_level() -> None:
    ann, anonymous = Customer(), Customer()
    ann.tell(order("1", 40, day=3))
    anonymous.tell(order("2", 40, day=1))
    facts = ann.absorb(anonymous)
    assert [(lot.order, lot.earned_at) for lot in ann.account.lots][::2] == [
        ("2", DAY + timedelta(days=1)),
        ("1", DAY + timedelta(days=3)),
    ]
    assert facts == [
        BadgeEarned(badge="pairs", name="Pairs", count=2, occurrence=1),
        LevelReached(level="silver", name="Silver", points=174),
    ]


def test_an_order_told_to_both_is_counted_once() -> None:
    ann, anonymous = Customer(), Customer()
    ann.tell(order("1", 40))
    anonymous.tell(order("1", 40, record="other"))
    facts = ann.absorb(anonymous)
    assert of(facts, PointsReversed) == facts
    assert (ann.account.balance, ann.account.progress("first").earned, ann.account.progress("pairs").count) == (
        87,
        1,
        1,
    )


def test_a_refund_meets_its_order_in_a_merge() -> None:
    ann, anonymous = Customer(), Customer()
    ann.tell(refund("1"))
    anonymous.tell(order("1", 40))
    ann.absorb(anonymous)
    assert (ann.account.balance, ann.account.progress("first").earned) == (0, 0)


def test_a_merge_of_the_unknown_says_nothing() -> None:
    assert Customer().tell(cause("m", Merged(UUID(int=2)), type="customer.merged.v1")) == []
