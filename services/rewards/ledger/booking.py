"""The ledger: every fact about points is a transaction of two postings that sum to zero.

    credited   issuance  -10   customer:available  +10
    reversed   customer:available  -4   reversed   +4
    adjusted   adjusted  -5   customer:available   +5
    expired    customer:available  -3   expired    +3

`customer:available` is the customer's; the others are the system's, and are kept for each customer too, so that no two
customers share a row. The sum over all accounts is zero; the customers' balances are minus the sum of the system's.
"""

from typing import NamedTuple

from libs.common.contracts.records import Fact
from libs.common.contracts.rewards import PointsAdjusted, PointsCredited, PointsExpired, PointsReversed

AVAILABLE = "customer:available"
ISSUANCE = "issuance"
REVERSED = "reversed"
ADJUSTED = "adjusted"
EXPIRED = "expired"


class Posting(NamedTuple):
    """So many points into an account (negative: out of it)."""

    account: str
    points: int


class Transaction(NamedTuple):
    """What is booked for one fact."""

    kind: str
    postings: tuple[Posting, Posting]
    rule: str | None = None
    reason: str | None = None
    order: str | None = None


def transaction(fact: Fact) -> Transaction | None:
    """How a fact is booked; None for facts that are not about points."""
    match fact:
        case PointsCredited():
            return Transaction("credited", _moved(ISSUANCE, fact.points), rule=fact.rule, order=fact.order_id)
        case PointsReversed():
            return Transaction("reversed", _moved(REVERSED, -fact.points), rule=fact.rule, order=fact.order_id)
        case PointsAdjusted():
            return Transaction("adjusted", _moved(ADJUSTED, fact.points), reason=fact.reason)
        case PointsExpired():
            return Transaction("expired", _moved(EXPIRED, -fact.points))
        case _:
            return None


def _moved(system: str, points: int) -> tuple[Posting, Posting]:
    return Posting(AVAILABLE, points), Posting(system, -points)
