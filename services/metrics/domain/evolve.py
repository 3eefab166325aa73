"""How a customer's state changes."""

from libs.common.contracts.input import Input
from libs.common.fold.decider import Decision
from services.metrics.domain.decide import holds
from services.metrics.domain.inputs import Cancelled, Ordered, Refunded, Scored
from services.metrics.domain.state import Customer, forget_score_without_purchase


def evolve(customer: Customer, input: Input, decision: Decision) -> None:
    """Change `customer` for the cause. Total; told twice or in another order, purchases come out the same."""
    match input.body:
        case Ordered(order, day, minor, currency):
            customer.purchases.complete(order, day, minor, currency)
        case Refunded(order, refund, _, back):
            customer.purchases.refund(order, refund, back)
        case Cancelled(order):
            customer.purchases.cancel(order)
            forget_score_without_purchase(customer)
        case Scored() as new if holds(customer, new):
            customer.score = new
