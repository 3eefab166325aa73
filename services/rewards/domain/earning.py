"""How many points a rule gives."""

from decimal import Decimal

from libs.common.contracts.money import exponent
from libs.common.rules.rule_event import RuleEvent
from services.rewards.domain.inputs import OrderCompleted
from services.rewards.domain.programme import Earn

#: More points than this for one order is a mistake in the order or in the rule.
MOST = 10**12


def points(earn: Earn, event: RuleEvent) -> int:
    """Fixed points, or so many per major unit of the order's amount, rounded down; 0 for an amount of zero or none.

    Raises ValueError for more than `MOST`.
    """
    if earn.per is None:
        return earn.points
    if not isinstance(event, OrderCompleted) or event.money is None:
        return 0
    minor, currency = event.money
    earned = int(Decimal(earn.points * max(minor, 0)) // earn.per.scaleb(exponent(currency)))
    if earned > MOST:
        raise ValueError(f"an order of {event.money.major} {currency} would give {earned} points: more than {MOST}")
    return earned
