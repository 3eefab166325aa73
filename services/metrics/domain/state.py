"""What metrics remembers of one customer."""

import msgspec

from services.metrics.domain.inputs import Scored
from services.metrics.domain.purchases import Purchases
from services.metrics.domain.purchases import absorb as absorb_purchases


class Customer(msgspec.Struct, omit_defaults=True):
    """Their purchases, and the score that the newest fit gave them (None before one, or without a purchase)."""

    purchases: Purchases = msgspec.field(default_factory=Purchases)
    score: Scored | None = None


def absorb(survivor: Customer, other: Customer) -> None:
    """Two customers were one: their purchases are united, and the newer score stays until the next fit. Total."""
    absorb_purchases(survivor.purchases, other.purchases)
    if other.score and (survivor.score is None or other.score.precedence > survivor.score.precedence):
        survivor.score = other.score
    forget_score_without_purchase(survivor)


def forget_score_without_purchase(customer: Customer) -> None:
    """Who has bought nothing has no score: so when their last order was cancelled. Total."""
    if customer.score and not any(customer.purchases.counted()):
        customer.score = None
