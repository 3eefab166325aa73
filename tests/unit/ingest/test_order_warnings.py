"""What ingest says of orders and refunds that may not count as they were meant."""

from typing import Any

import pytest

from libs.common.contracts.events import ClientEvent
from services.ingest.domain.order_warnings import nearest_event, nearest_property, order_warnings


def warned(event: str, **properties: Any) -> str:
    return "; ".join(order_warnings(ClientEvent(type="track", messageId="m", event=event, properties=properties)))


@pytest.mark.parametrize(
    ("event", "properties"),
    [
        ("Order Completed", {"order_id": "1", "revenue": "29.33", "coupon": "X", "gift": True, "userId": 1}),
        ("Order Refunded", {"order_id": "1"}),
        ("Order Refunded", {"order_id": "1", "revenue": 5, "refund_id": "r"}),
        ("Order Refunded", {"order_id": "1", "total": 5, "return_id": 7}),
        ("Order Cancelled", {"order_id": "1", "currency": "ZZZ"}),
        ("Product Viewed", {"orderId": "x"}),
        ("Ticket Solved", {}),
        ("Orders Exported", {}),
        ("Review Written", {}),
    ],
)
def test_what_is_right_is_not_warned_of(event: str, properties: dict[str, Any]) -> None:
    assert warned(event, **properties) == ""


@pytest.mark.parametrize(
    ("event", "properties", "said"),
    [
        ("Order Refunded", {"order_id": "1", "revenue": -20, "refund_id": "r"}, "written without a minus"),
        ("Order Refunded", {"order_id": "1", "revenue": 20}, "no refund_id or return_id"),
        ("Order Refunded", {"revenue": 20, "refund_id": "r"}, "no order_id: this Order Refunded changes no order"),
        ("Order Cancelled", {}, "no order_id: this Order Cancelled changes no order"),
        ("Order Completed", {"revenue": 1, "orderId": "1"}, "'orderId' is not read: was 'order_id' meant?"),
        ("Order Completed", {"order_id": "1", "Revenue": 1}, "'Revenue' is not read: was 'revenue' meant?"),
        ("Order Refunded", {"order_id": "1", "refundId": "r"}, "was 'refund_id' meant?"),
        ("order completed", {}, "'order completed' is not known: was 'Order Completed' meant?"),
        ("order_cancelled", {}, "was 'Order Cancelled' meant?"),
        ("Order Canceled", {}, "was 'Order Cancelled' meant?"),
        ("Order Complete", {}, "was 'Order Completed' meant?"),
        ("productViewed", {}, "was 'Product Viewed' meant?"),
        ("Order Completed", {"order_id": "1", "revenue": "1,250.00"}, "was taken for 1250.00: write an amount as"),
        ("Order Completed", {"order_id": "1", "revenue": "1.250,00"}, "dead letters: write an amount as a number"),
        ("Order Completed", {"order_id": "1", "revenue": 1, "currency": "ZZZ"}, "'ZZZ' is no currency"),
    ],
)
def test_what_may_be_meant_otherwise_is_warned_of(event: str, properties: dict[str, Any], said: str) -> None:
    assert said in warned(event, **properties)


def test_names_are_looked_up_once() -> None:
    for nearest in (nearest_event, nearest_property):
        nearest.cache_clear()
        assert nearest("Something Else") is None
        assert nearest("Something Else") is None
        assert nearest.cache_info().misses == 1
