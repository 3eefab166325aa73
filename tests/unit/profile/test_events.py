"""Reading: what is poison, what is passed over, and what reaches the journal untouched."""

from typing import Any

import msgspec
import pytest

from libs.common.contracts.orders import OrderCompleted
from libs.common.contracts.records import encode
from services.profile.domain.events import read
from tests.unit.profile.world import NOON, World, said

ORDER: dict[str, Any] = {"userId": "u", "event": "Order Completed"}


@pytest.mark.parametrize("revenue", ["abc", [], {}, True, 1e300, "NaN"])
def test_an_amount_that_is_no_money_is_poison(revenue: object) -> None:
    with pytest.raises((msgspec.DecodeError, ValueError)):
        read(said("m", **ORDER, properties={"order_id": 1, "revenue": revenue}))


def test_an_unknown_type_is_passed_over() -> None:
    world = World()
    world.tell(encode(id="x", source="/apps/test", type="wink.v1", time=NOON, recordedtime=NOON, data={"a": 1}))
    assert (world.journal, world.counts) == ([], {"skipped": 1})


def test_a_record_whose_data_is_not_last_is_refused() -> None:
    value = said("m", userId="u")
    moved = value.replace(b'{"specversion":"1.0",', b"{", 1)[:-1] + b',"specversion":"1.0"}'
    with pytest.raises(ValueError, match="last member"):
        read(moved)


def test_an_order_without_amount_counts_without_revenue() -> None:
    event = read(said("m", **ORDER))
    assert event is not None
    assert event.purchase == OrderCompleted("message:m", None, "USD")
    state = World().tell_all([said("m", **ORDER)]).of("user:u")
    assert (state.completed, state.revenue) == (1, {})


def test_a_refund_of_no_order_is_passed_over() -> None:
    world = World().tell_all([said("m", userId="u", event="Order Refunded", properties={"revenue": 5})])
    assert not any(world.stored.values())


def test_a_refund_takes_back_at_most_the_order_even_if_it_comes_first() -> None:
    refund: dict[str, Any] = {"userId": "u", "event": "Order Refunded", "properties": {"order_id": "o", "revenue": 12}}
    order: dict[str, Any] = {**ORDER, "properties": {"order_id": "o", "revenue": 10}}
    world = World().tell_all([said("m1", **refund)])
    assert (world.of("user:u").completed, world.of("user:u").revenue) == (0, {})
    world.tell(said("m2", **order))
    assert (world.of("user:u").completed, world.of("user:u").revenue) == (1, {"USD": 0})


def test_a_cancelled_order_does_not_count_even_if_its_cancellation_comes_first() -> None:
    cancelled: dict[str, Any] = {"userId": "u", "event": "Order Cancelled", "properties": {"order_id": "o"}}
    order: dict[str, Any] = {**ORDER, "properties": {"order_id": "o", "revenue": 10}}
    for first, second in ((order, cancelled), (cancelled, order)):
        state = World().tell_all([said("m1", **first), said("m2", **second)]).of("user:u")
        assert (state.completed, state.revenue) == (0, {})


def test_an_order_of_less_than_nothing_counts_as_nothing() -> None:
    state = World().tell_all([said("m", **{**ORDER, "properties": {"revenue": -5}})]).of("user:u")
    assert (state.completed, state.revenue) == (1, {"USD": 0})


def test_what_is_no_currency_is_no_amount() -> None:
    with pytest.raises(ValueError, match="'dollars' is no currency"):
        read(said("m", **{**ORDER, "properties": {"currency": "dollars"}}))


def test_the_journal_is_the_event_as_it_came_with_the_customer_added() -> None:
    value = said("m", userId="u", properties={"big": 12345678901234567890, "exact": 1.10})
    world = World()
    world.tell(value)
    (_, record) = world.journal[0]
    customer = record["data"].pop("customer")
    assert record == msgspec.json.decode(value)
    assert customer["id"]
