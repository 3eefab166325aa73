"""One customer's purchases: the rules one by one, then in any order, and merges."""

from datetime import date
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.money import Money
from services.metrics.domain.purchases import Purchases, absorb
from tests.unit.metrics.cdnow import CALIBRATION_END
from tests.unit.metrics.columns import Day, Recency, Spend, days, recency, spend
from tests.unit.metrics.histories import Event, histories, purchases_of

MONDAY, TUESDAY, NEXT_MONDAY, LATER = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 8), date(2024, 1, 15)


@pytest.fixture
def customer() -> Purchases:
    """Bought on three days, a week apart, twice on the second."""
    purchases = Purchases()
    purchases.complete("a", MONDAY, 1000, "USD")
    purchases.complete("b", NEXT_MONDAY, 2000, "USD")
    purchases.complete("c", NEXT_MONDAY, 500, "USD")
    purchases.complete("d", LATER, 3000, "USD")
    return purchases


def test_purchases_of_a_day_are_one(customer: Purchases) -> None:
    assert recency(customer, date(2024, 1, 22)) == Recency(2, 2.0, 3.0)
    assert days(customer)[NEXT_MONDAY] == Day(2, {"USD": 2500})
    assert spend(customer, LATER, "USD") == Spend(2, 27.5)


def test_what_comes_after_the_day_asked_is_unknown(customer: Purchases) -> None:
    assert recency(customer, date(2024, 1, 14)) == Recency(1, 1.0, 13 / 7)
    assert recency(customer, MONDAY) == Recency(0, 0.0, 0.0)
    assert recency(customer, date(2023, 12, 31)) is None
    assert spend(customer, date(2024, 1, 14), "USD") == Spend(1, 25.0)
    assert spend(customer, MONDAY, "USD") == Spend(0, 0.0)


def test_an_order_counts_once(customer: Purchases) -> None:
    before = msgspec.json.encode(customer)
    customer.complete("d", LATER, 3000, "USD")
    assert msgspec.json.encode(customer) == before
    customer.complete("d", TUESDAY, 100, "USD")
    assert list(days(customer)) == [MONDAY, TUESDAY, NEXT_MONDAY]


def test_refunds_go_to_the_day_of_their_order_and_never_below_zero(customer: Purchases) -> None:
    customer.refund("b", "r1", Money(1500, "USD"))
    assert days(customer)[NEXT_MONDAY].net == {"USD": 1000}
    customer.refund("b", "r1", Money(1500, "USD"))
    assert days(customer)[NEXT_MONDAY].net == {"USD": 1000}
    customer.refund("b", "r2", Money(1500, "USD"))
    assert days(customer)[NEXT_MONDAY].net == {"USD": 500}


def test_a_refund_that_comes_first_waits() -> None:
    purchases = Purchases()
    purchases.refund("a", "r", Money(400, "USD"))
    assert days(purchases) == {}
    purchases.complete("a", MONDAY, 1000, "USD")
    assert days(purchases) == {MONDAY: Day(1, {"USD": 600})}


def test_a_fully_refunded_order_is_still_a_purchase(customer: Purchases) -> None:
    customer.refund("d", "r", None)
    assert recency(customer, LATER) == Recency(2, 2.0, 2.0)
    assert spend(customer, LATER, "USD") == Spend(2, 12.5)


def test_a_cancelled_order_was_none(customer: Purchases) -> None:
    customer.cancel("d")
    assert recency(customer, LATER) == Recency(1, 1.0, 2.0)
    customer.cancel("z")
    customer.complete("z", LATER, 100, "USD")
    assert recency(customer, LATER) == Recency(1, 1.0, 2.0)


def test_currencies_are_never_added(customer: Purchases) -> None:
    customer.complete("e", LATER, 700, "JPY")
    customer.complete("f", date(2024, 1, 22), 900, "JPY")
    customer.refund("d", "r", Money(1000, "JPY"))
    assert days(customer)[LATER] == Day(2, {"USD": 3000, "JPY": 700})
    assert spend(customer, date(2024, 1, 22), "USD") == Spend(2, 27.5)
    assert spend(customer, date(2024, 1, 22), "JPY") == Spend(2, 800.0)
    assert recency(customer, date(2024, 1, 22)) == Recency(3, 3.0, 3.0)


def test_cdnow_has_946_who_came_back_and_eight_free_orders(customers: dict[str, Purchases]) -> None:
    seen = [recency(one, CALIBRATION_END) for one in customers.values()]
    assert sum(at is not None and at.x > 0 for at in seen) == 946
    assert sum(order.minor == 0 for one in customers.values() for _, order in one.counted()) == 8
    assert sum(len(one.orders) for one in customers.values()) == 6919


@given(histories, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(history: list[Event], random: Random) -> None:
    shuffled = [*history, *random.sample(history, k=len(history) // 2)]
    random.shuffle(shuffled)
    assert purchases_of(shuffled) == purchases_of(history)
    assert days(purchases_of(shuffled)) == days(purchases_of(history))


@given(histories, histories, histories)
def test_a_merge_is_the_union(one: list[Event], both: list[Event], other: list[Event]) -> None:
    survivor, absorbed = purchases_of(one + both), purchases_of(both + other)
    unchanged = msgspec.json.encode(absorbed)
    absorb(survivor, absorbed)
    assert survivor == purchases_of(one + both + other)
    assert msgspec.json.encode(absorbed) == unchanged


@given(histories)
def test_json_and_back(history: list[Event]) -> None:
    purchases = purchases_of(history)
    assert msgspec.json.decode(msgspec.json.encode(purchases), type=Purchases) == purchases


def test_json_is_small(customer: Purchases) -> None:
    assert msgspec.json.encode(Purchases()) == b"{}"
    assert len(msgspec.json.encode(customer)) < 40 * len(customer.orders)


@given(histories)
def test_what_is_left_is_never_below_zero_nor_above_the_order(history: list[Event]) -> None:
    purchases = purchases_of(history)
    for order, bought in purchases.counted():
        assert 0 <= purchases.net(order) <= bought.minor
