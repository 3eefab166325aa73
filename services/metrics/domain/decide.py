"""What follows for one customer: news only when a fit moves them to another band."""

from libs.common.contracts.metrics import ScoreChanged
from libs.common.contracts.records import Fact
from libs.common.fold.decider import Cause
from services.metrics.domain.causes import Scored
from services.metrics.domain.state import Customer


def decide(customer: Customer, cause: Cause, rules: None) -> list[Fact]:
    """Pure: no clock, no I/O, `customer` unchanged. Orders and refunds decide nothing: scores come from fits."""
    match cause.body:
        case Scored() as new if holds(customer, new) and (customer.score is None or new.bands != customer.score.bands):
            return [
                ScoreChanged(
                    fit=new.fit,
                    as_of=new.as_of,
                    risk=new.risk,
                    risk_band=new.risk_band,
                    cltv=new.cltv,
                    value_band=new.value_band,
                    currency=new.currency,
                )
            ]
        case _:
            return []


def holds(customer: Customer, new: Scored) -> bool:
    """Whether a score is to be taken: the customer has bought, and no newer fit has scored them."""
    if not any(customer.purchases.counted()):
        return False
    return customer.score is None or new.precedence >= customer.score.precedence
