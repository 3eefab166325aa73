"""The one reading of orders and refunds."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from libs.common.contracts.money import Money
from libs.common.contracts.orders import (
    Back,
    OrderCancelled,
    OrderCompleted,
    OrderEvent,
    OrderRefunded,
    in_currency,
    larger,
    read,
    united,
)


def meaning(event: str, default: str = "USD", **properties: Any) -> OrderEvent:
    data = {"type": "track", "event": event, "messageId": "m", "properties": properties, "currency": default}
    return read(json.dumps(data).encode(), "record")


def back(**properties: Any) -> Back:
    refund = meaning("Order Refunded", order_id="o", **properties)
    assert isinstance(refund, OrderRefunded)
    return refund.back


@pytest.mark.parametrize(
    ("properties", "minor"),
    [
        ({"revenue": 29.33}, 2933),
        ({"revenue": "29.33", "total": 5}, 2933),
        ({"total": 0.005}, 0),
        ({"total": 0.015}, 2),
        ({"products": [{"price": 1.1, "quantity": 3}, {"price": "1,000.50"}]}, 100380),
        ({"revenue": "1,250.00"}, 125000),
        ({"revenue": " -12,345,678.90 "}, 0),
        ({"revenue": -5}, 0),
    ],
)
def test_the_amount_of_an_order(properties: dict[str, Any], minor: int) -> None:
    assert meaning("Order Completed", order_id=7, **properties) == OrderCompleted("7", Money(minor, "USD"), "USD")


@pytest.mark.parametrize("revenue", ["1,250", "1.250,00", "12,50.00", "abc", "", True, [], "NaN", 1e300])
def test_what_could_be_two_amounts_or_none_is_refused(revenue: object) -> None:
    for event in ("Order Completed", "Order Refunded"):
        with pytest.raises(ValueError, match=r"."):
            meaning(event, order_id="o", revenue=revenue)


def test_an_order_without_id_or_amount() -> None:
    assert meaning("Order Completed", "eur") == OrderCompleted("message:m", None, "EUR")


@pytest.mark.parametrize("code", ["ZZZ", "XYZ", "XXX", "XTS", "dollars"])
def test_an_unknown_currency_is_refused_by_name(code: str) -> None:
    with pytest.raises(ValueError, match=f"'{code}' is no currency"):
        meaning("Order Completed", currency=code)
    with pytest.raises(ValueError, match=f"'{code}' is no currency"):
        back(revenue=1, currency=code)


def test_a_refund_is_counted_by_its_own_id() -> None:
    for properties, id in (
        ({"refund_id": "r", "return_id": "x"}, "r"),
        ({"return_id": 9}, "9"),
        ({"refund_id": ""}, "record"),
        ({}, "record"),
    ):
        assert meaning("Order Refunded", order_id="o", **properties) == OrderRefunded("o", id, None)


def test_a_refund_or_cancellation_may_name_no_order() -> None:
    assert meaning("Order Refunded", revenue=5) == OrderRefunded(None, "record", Decimal(5))
    assert meaning("Order Cancelled", order_id="") == OrderCancelled(None)


def test_a_minus_says_nothing_of_a_refund() -> None:
    assert back(revenue=-20, currency="USD") == back(revenue=20, currency="USD") == Money(2000, "USD")
    assert back(revenue=-20) == Decimal(20)


def test_a_refund_without_currency_is_in_its_orders() -> None:
    bare = back(revenue=33.335)
    assert [in_currency(bare, currency) for currency in ("USD", "JPY", "KWD")] == [3334, 33, 33335]
    assert [in_currency(back(revenue=20, currency="USD"), currency) for currency in ("USD", "EUR")] == [2000, 0]
    assert in_currency(back(), "USD") is None
    largest = back(revenue=10**11)
    assert in_currency(largest, "CLF") == 10**15
    with pytest.raises(ValueError, match="not an amount of money"):
        back(revenue=10**11 + 1)


def test_of_two_amounts_of_one_refund_the_larger_counts_whichever_came_first() -> None:
    amounts: list[Back] = [Decimal(19), Money(2000, "EUR"), Money(2000, "USD"), Decimal(2001), None]
    for index, one in enumerate(amounts):
        for other in amounts[index:]:
            assert larger(one, other) == larger(other, one) == other
    assert united({"r": Decimal(1), "s": None}, {"r": Decimal(2), "t": None}) == {"r": Decimal(2), "s": None, "t": None}


def test_what_was_given_back_survives_its_storage() -> None:
    backs: dict[str, Back] = {"a": Money(5, "USD"), "b": Decimal("33.335"), "c": None}
    assert msgspec.json.decode(msgspec.json.encode(backs), type=dict[str, Back]) == backs
