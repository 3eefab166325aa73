"""How a customer's state changes."""

from libs.common.contracts.input import Input
from services.metrics.domain.decide import Decision, replaces_score
from services.metrics.domain.inputs import Scored
from services.metrics.domain.state import ORDER, Customer, drop_score_without_purchases, set_order_count


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
