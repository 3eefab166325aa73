"""What follows for one customer: news only when a fit moves them to another band."""

from libs.common.contracts.input import Input
from libs.common.contracts.metrics import ScoreChanged
from libs.common.fold.decider import Decision
from services.metrics.domain.inputs import Scored
from services.metrics.domain.state import Customer


def decide(customer: Customer, input: Input, rules: None) -> Decision:
    """Pure: no clock, no I/O, `customer` unchanged. Orders and refunds decide nothing: scores come from fits."""
    match input.body:
        case Scored() as new if holds(customer, new) and (customer.score is None or new.bands != customer.score.bands):
            changed = ScoreChanged(
                fit=new.fit,
                as_of=new.as_of,
                risk=new.risk,
                risk_band=new.risk_band,
                cltv=new.cltv,
                value_band=new.value_band,
                currency=new.currency,
            )
            return Decision(facts=[changed])
        case _:
            return Decision()


def holds(customer: Customer, new: Scored) -> bool:
    """Whether a score is to be taken: the customer has bought, and no newer fit has scored them."""
    if not any(customer.purchases.counted()):
        return False
    return customer.score is None or new.precedence >= customer.score.precedence
