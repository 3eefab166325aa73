"""How a customer's state changes."""

from datetime import date
from typing import Any

from libs.common.contracts.input import Input
from libs.common.fold.sections import Section
from services.metrics.domain.decide import Decision, replaces_score
from services.metrics.domain.inputs import Scored
from services.metrics.domain.purchase_days import purchase_days_of
from services.metrics.domain.purchases import Purchases
from services.metrics.domain.purchases import absorb as absorb_purchases
from services.metrics.domain.state import DAY, ORDER, Customer, Span


def evolve(customer: Customer, input: Input, decision: Decision) -> None:
    """Change `customer` for the input. Never fails. Purchases come out the same in any order, and when repeated."""
    if (change := decision.change) is not None:
        customer.sections.set(ORDER, change.order, change.purchase)
        for day, orders in change.order_counts.items():
            set_order_count(customer, day, orders)
        customer.span = change.span
        drop_score_without_purchases(customer)
    if isinstance(new := input.body, Scored) and replaces_score(customer, new):
        customer.score = new


def absorb(survivor: Customer, other: Customer) -> None:
    """Merge `other` into `survivor`: unite their purchases, keep the newer score until the next fit. Never fails."""
    survivor.sections.absorb(other.sections, _united)
    counts = dict.fromkeys(map(date.fromisoformat, survivor.sections.every(DAY)), 0)
    for purchase in survivor.sections.every(ORDER).values():
        for key in purchase_days_of(purchase):
            counts[key.day] = counts.get(key.day, 0) + 1
    for day, orders in counts.items():
        set_order_count(survivor, day, orders)
    bought = [day for day, orders in counts.items() if orders]
    survivor.span = Span(len(bought), min(bought), max(bought)) if bought else None
    if other.score and (survivor.score is None or other.score.precedence > survivor.score.precedence):
        survivor.score = other.score
    drop_score_without_purchases(survivor)


def set_order_count(customer: Customer, day: date, orders: int) -> None:
    """Set the number of orders that count on a day."""
    if orders:
        customer.sections.set(DAY, day.isoformat(), orders, day.toordinal())
    else:
        customer.sections.delete(DAY, day.isoformat())


def drop_score_without_purchases(customer: Customer) -> None:
    """A customer without purchases has no score, for example after their only order was cancelled."""
    if customer.span is None:
        customer.score = None


def _united(kind: str, ours: Any, theirs: Any) -> Section:
    if kind == DAY:  # `absorb` counts again, from the orders
        return Section(ours)
    both: Purchases = ours.copied()
    absorb_purchases(both, theirs)
    return Section(both)
