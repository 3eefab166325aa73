"""What each order changes adds up to what the purchases say, whatever is told in what order, and over merges."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.input import Input
from libs.common.contracts.money import Money
from libs.common.fold.decider import Merged
from services.metrics.domain.book import NOTHING, Book, Totals, book, difference
from services.metrics.domain.decide import cell_of, decide
from services.metrics.domain.evolve import evolve
from services.metrics.domain.histogram import cell
from services.metrics.domain.inputs import Cancelled, Ordered, Refunded
from services.metrics.domain.purchases import Purchases
from services.metrics.domain.purchases import absorb as absorb_purchases
from services.metrics.domain.state import DAY, ORDER, Customer, absorb
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


def told(purchases: Purchases, body: Any) -> None:
    match body:
        case Ordered(order, day, minor, currency):
            purchases.complete(order, day, minor, currency)
        case Refunded(order, refund, _, back):
            purchases.refund(order, refund, back)
        case Cancelled(order):
            purchases.cancel(order)


def lines(customer: Customer) -> Book:
    """All rows of a customer, from their orders."""
    found: Book = {}
    for purchase in customer.sections.every(ORDER).values():
        for key, by in difference({}, book(purchase)).items():
            found[key] = found.get(key, NOTHING).plus(by)
    return found


def tell(customer: Customer, body: Any, totals: Totals | None = None) -> None:
    input = Input("", "", "", NOON, NOON, 0, False, None, body)
    decision = decide(customer, input, None)
    evolve(customer, input, decision)
    if totals is not None and (change := decision.change) is not None:
        totals.move(change.was, change.now)
        for key, by in difference(change.before, change.after).items():
            totals.days[key] = totals.days.get(key, NOTHING).plus(by)


def check(customer: Customer, purchases: Purchases) -> None:
    assert lines(customer) == book(purchases)
    assert cell_of(customer.span) == cell(purchases)
    counted = Counter(bought.day for _, bought in purchases.counted())
    assert list(customer.sections.every(DAY).values()) == [counted[day] for day in sorted(counted)]


@given(st.lists(BODIES, max_size=20))
def test_changes_add_up(bodies: list[Any]) -> None:
    customer, purchases, totals = Customer(), Purchases(), Totals({}, Counter())
    for body in bodies:
        tell(customer, body, totals)
        told(purchases, body)
        check(customer, purchases)
    assert {key: line for key, line in totals.days.items() if line != NOTHING} == book(purchases)
    assert {where: n for where, n in totals.cells.items() if n} == ({} if (at := cell(purchases)) is None else {at: 1})


@given(st.lists(BODIES, max_size=10), st.lists(BODIES, max_size=10), st.lists(BODIES, max_size=5))
def test_a_merge_is_the_union(ours: list[Any], theirs: list[Any], later: list[Any]) -> None:
    (one, bought), (other, theirs_bought) = (Customer(), Purchases()), (Customer(), Purchases())
    for customer, purchases, bodies in ((one, bought, ours), (other, theirs_bought, theirs)):
        for body in bodies:
            tell(customer, body)
            told(purchases, body)
    absorb(one, other)
    absorb_purchases(bought, theirs_bought)
    tell(one, Merged(UUID(int=1)))
    check(one, bought)
    for body in later:
        tell(one, body)
        told(bought, body)
    check(one, bought)
