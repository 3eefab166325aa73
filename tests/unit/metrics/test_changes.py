"""The changes by single orders add up to the purchases, in any order of events, and over merges."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.input import Input
from libs.common.contracts.money import Money
from libs.common.fold.decider import Merged
from services.metrics.domain.decide import cell_of_span, decide
from services.metrics.domain.evolve import absorb, evolve
from services.metrics.domain.inputs import Cancelled, Ordered, Refunded
from services.metrics.domain.purchase_days import (
    NO_SALES,
    PurchaseDays,
    TotalsDelta,
    add,
    delta,
    purchase_days_of,
    rfm_cell,
)
from services.metrics.domain.purchases import Purchases
from services.metrics.domain.purchases import absorb as absorb_purchases
from services.metrics.domain.state import DAY, ORDER, Customer
from tests.unit.metrics.histories import START, days

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDERS = st.sampled_from(["o1", "o2", "o3", "o4", "o5"])
MINOR, CURRENCY = st.integers(0, 300), st.sampled_from(["USD", "EUR"])
BACK = st.none() | st.builds(Money, MINOR, CURRENCY) | st.decimals(0, 3, places=2)
BODIES = st.one_of(
    st.builds(Ordered, ORDERS, days, MINOR, CURRENCY),
    st.builds(Refunded, ORDERS, st.sampled_from(["r1", "r2"]), st.just(START), BACK),
    st.builds(Cancelled, ORDERS, st.just(START)),
)


def apply(purchases: Purchases, body: Any) -> None:
    match body:
        case Ordered(order, day, minor, currency):
            purchases.complete(order, day, minor, currency)
        case Refunded(order, refund, _, back):
            purchases.refund(order, refund, back)
        case Cancelled(order):
            purchases.cancel(order)


def all_days(customer: Customer) -> PurchaseDays:
    """The purchase days of a customer, from their orders."""
    found: PurchaseDays = {}
    for purchase in customer.sections.every(ORDER).values():
        add(found, purchase_days_of(purchase))
    return found


def fold(customer: Customer, body: Any, totals: TotalsDelta | None = None) -> None:
    input = Input("", "", "", NOON, NOON, 0, False, None, body)
    decision = decide(customer, input, None)
    evolve(customer, input, decision)
    if totals is not None and (change := decision.change) is not None:
        totals.move(change.cell_before, change.cell_after)
        add(totals.days, delta(change.days_before, change.days_after))


def check(customer: Customer, purchases: Purchases) -> None:
    assert all_days(customer) == purchase_days_of(purchases)
    assert cell_of_span(customer.span) == rfm_cell(purchase_days_of(purchases))
    counted = Counter(bought.day for _, bought in purchases.counted())
    assert list(customer.sections.every(DAY).values()) == [counted[day] for day in sorted(counted)]


@given(st.lists(BODIES, max_size=20))
def test_changes_add_up(bodies: list[Any]) -> None:
    customer, purchases, totals = Customer(), Purchases(), TotalsDelta({}, Counter())
    for body in bodies:
        fold(customer, body, totals)
        apply(purchases, body)
        check(customer, purchases)
    days = purchase_days_of(purchases)
    assert {key: sums for key, sums in totals.days.items() if sums != NO_SALES} == days
    assert {cell: n for cell, n in totals.cells.items() if n} == ({} if (at := rfm_cell(days)) is None else {at: 1})


@given(st.lists(BODIES, max_size=10), st.lists(BODIES, max_size=10), st.lists(BODIES, max_size=5))
def test_a_merge_is_the_union(ours: list[Any], theirs: list[Any], later: list[Any]) -> None:
    (one, bought), (other, theirs_bought) = (Customer(), Purchases()), (Customer(), Purchases())
    for customer, purchases, bodies in ((one, bought, ours), (other, theirs_bought, theirs)):
        for body in bodies:
            fold(customer, body)
            apply(purchases, body)
    absorb(one, other)
    absorb_purchases(bought, theirs_bought)
    fold(one, Merged(UUID(int=1)))
    check(one, bought)
    for body in later:
        fold(one, body)
        apply(bought, body)
    check(one, bought)
