"""The rule book by example: badges and levels, facts that start rules, adjustments."""

import pytest

from libs.common.contracts.rewards import BadgeEarned, BadgeRevoked, LevelReached, PointsAdjusted, PointsCredited
from libs.common.errors import Conflict
from tests.unit.rewards.history import PER_UNIT, Customer, adjust, event, heard, of, order, programme, refund


# -- badges and levels -----------------------------------------------------------------------------------------------------
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
    assert customer.progress("fan").earned == 1


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
    assert customer.level is None


# -- facts that start rules ------------------------------------------------------------------------------------------------
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
    assert customer.wallet.balance == 20
    credited = heard("f0", {"points": 20, "balance": 20, "rule": "per-unit"}, type="points.credited.v1", own=True)
    assert customer.tell(credited) == []
    badge = {"badge": "first", "name": "First", "count": 1}
    facts = customer.tell(heard("f1", badge, type="badge.earned.v1", own=True))
    assert facts == [
        PointsCredited(points=50, balance=70, rule="bonus"),
        BadgeEarned(badge="collector", name="Collector", count=1),
    ]
    assert customer.wallet.balance == 70
    assert customer.progress("first").earned == 1


def test_an_app_cannot_speak_for_a_service() -> None:
    customer = Customer(programme(earning=[{"id": "bonus", "on": "Badge Earned", "earn": {"points": 50}}]))
    assert event("Badge Earned").body is None
    assert customer.tell(heard("f", {"badge": "x"}, type="badge.earned.v1")) != []


def test_unknown_types_are_left_alone() -> None:
    assert heard("x", {"a": 1}, type="weather.changed.v9").body is None


# -- adjustments -----------------------------------------------------------------------------------------------------------
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
    assert [(order, lot.remaining) for order, lot in customer.lots] == [("old", 0), ("new", 15)]


def test_points_that_are_lost_soonest_are_taken_first() -> None:
    month, for_ever = ({"earning": [PER_UNIT], "points": points} for points in ({"expire_after_days": 30}, {}))
    customer = Customer(programme(**for_ever))
    customer.tell(order("old", 10, day=1))
    customer.rules = programme(**month)
    for day in (5, 3, 4, 6):
        customer.tell(order(f"day {day}", 10, day=day))
    customer.tell(adjust(-45))
    assert {order: lot.remaining for order, lot in customer.lots} == {
        "old": 20, "day 3": 0, "day 4": 0, "day 5": 15, "day 6": 20
    }  # fmt: skip
    customer.tell(adjust(-50))
    assert {order: lot.remaining for order, lot in customer.lots if lot.remaining} == {"old": 5}
