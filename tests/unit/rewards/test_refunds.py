"""What refunds and cancellations take back."""

import pytest

from libs.common.errors import Conflict
from tests.unit.rewards.history import PER_UNIT, Customer, adjust, event, order, programme, refund


def test_partial_refunds_round_in_the_customers_favour_and_reach_exactly_all() -> None:
    customer = Customer(programme(earning=[PER_UNIT]))
    customer.tell(order("1", "10.00"))
    for number in range(3):
        customer.tell(refund("1", "3.33", record=str(number)))
    assert customer.points() == [("PointsCredited", 20), *[("PointsReversed", points) for points in (6, 7, 6)]]
    customer.tell(refund("1", "0.01", record="rest"))
    assert customer.wallet.balance == 0
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
    assert customer.wallet.balance == 0
    assert customer.progress("first").earned == 0


def test_currencies_are_never_mixed() -> None:
    customer = Customer(programme(earning=[PER_UNIT]))
    customer.tell(order("1", "10.00"))
    assert customer.tell(refund("1", "10.00", currency="EUR")) == []
    assert customer.wallet.balance == 20


def test_what_was_spent_and_is_taken_back_is_owed_and_repaid() -> None:
    customer = Customer(programme(earning=[PER_UNIT]))
    customer.tell(order("1", 50))
    customer.tell(adjust(-80, "spent"))
    customer.tell(refund("1"))
    assert (customer.wallet.balance, customer.wallet.debt) == (-80, 80)
    with pytest.raises(Conflict, match="has -80 points, so none can be taken"):
        customer.tell(adjust(-1, "more"))
    customer.tell(order("2", 60))
    assert (customer.wallet.balance, customer.wallet.debt, customer.lots[-1][1].remaining) == (40, 0, 40)
