"""How a customer's state changes."""

from libs.common.contracts.input import Input
from services.metrics.domain.decide import Decision, holds
from services.metrics.domain.inputs import Scored
from services.metrics.domain.state import ORDER, Customer, count, forget_score_without_purchase


def evolve(customer: Customer, input: Input, decision: Decision) -> None:
    """Change `customer` for the input. Total; told twice or in another order, purchases come out the same."""
    if (change := decision.change) is not None:
        customer.sections.set(ORDER, change.order, change.purchase)
        for day, orders in change.days.items():
            count(customer, day, orders)
        customer.span = change.span
        forget_score_without_purchase(customer)
    if isinstance(new := input.body, Scored) and holds(customer, new):
        customer.score = new
