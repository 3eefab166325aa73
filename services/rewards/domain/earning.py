"""How many points a rule gives."""

from decimal import Decimal

from libs.common.contracts.money import exponent
from libs.common.rules.rule_event import Happened
from services.rewards.domain.causes import OrderCompleted
from services.rewards.domain.programme import Earn

#: More points than this for one order is a mistake in the order or in the rule.
MOST = 10**12


def points(earn: Earn, happened: Happened) -> int:
    """Fixed points, or so many per major unit of the order's amount, rounded down; 0 for an amount of zero or none.

    Raises ValueError for more than `MOST`.
    """
    if earn.per is None:
        return earn.points
    if not isinstance(happened, OrderCompleted) or happened.money is None:
        return 0
    minor, currency = happened.money
    earned = int(Decimal(earn.points * max(minor, 0)) // earn.per.scaleb(exponent(currency)))
    if earned > MOST:
        raise ValueError(f"an order of {happened.money.major} {currency} would give {earned} points: more than {MOST}")
    return earned
