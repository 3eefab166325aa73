"""What orders and other events earn."""

from datetime import timedelta
from typing import Any

import pytest

from libs.common.contracts.records import Snapshot
from services.rewards.ledger.state import order_of
from tests.unit.rewards.history import DAY, Customer, event, heard, order, programme


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
    assert customer.wallet.balance == points
    assert "order:1" in customer.credits


def test_an_absurd_order_is_refused_rather_than_booked() -> None:
    customer = Customer(programme(earning=[{"id": "rule", "earn": {"per": 0.01, "points": 1000, "of": "revenue"}}]))
    with pytest.raises(ValueError, match="more than 1000000000000"):
        customer.tell(order("1", 900_000_000_000))
    assert "order:1" not in customer.credits


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
    assert [order for order, _ in customer.lots] == ["day 0", "day 1"]


def test_conditions_see_the_event_and_the_customer_as_they_were() -> None:
    when = "event.properties.revenue > 20 && customer.traits.plan == 'gold' && customer.orders < 2"
    customer = Customer(programme(earning=[{"id": "vip", "when": when, "earn": {"points": 5}}]))
    gold, free = Snapshot(id="c", traits={"plan": "gold"}, orders=1), Snapshot(id="c", traits={"plan": "free"})
    customer.tell(event("Order Completed", "1", customer=gold, order_id="1", revenue=30))
    customer.tell(event("Order Completed", "2", customer=free, order_id="2", revenue=30))
    customer.tell(event("Order Completed", "3", customer=gold, order_id="3", revenue=3))
    customer.tell(event("Order Completed", "4", order_id="4", revenue=30))  # no plan: a condition that fails holds not
    assert [order for order, _ in customer.lots] == ["1"]


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
    assert [(lot.points, lot.rule, order) for order, lot in customer.lots] == [
        (3, "survey", None),
        (1, "hello", None),
    ]


def test_an_order_counts_once_by_its_id_else_by_its_message() -> None:
    customer = Customer()
    customer.tell(order("1", 10))
    assert customer.tell(order("1", 10, record="from the server")) == []
    customer.tell(event("Order Completed", "m1", revenue=10))
    customer.tell(event("Order Completed", "m2", revenue=10))
    assert {order_of(key) for key in customer.credits} == {"1", "message:m1", "message:m2"}
