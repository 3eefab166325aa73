"""How a decision changes a recipient. Total: it never fails."""

from libs.common.contracts.input import Input
from libs.common.contracts.triggers import OptedIn, OptedOut
from services.triggers.domain.decide import Decision
from services.triggers.domain.state import Recipient, note


def evolve(recipient: Recipient, input: Input, decision: Decision) -> None:
    """Apply a decision. Messages count for the caps when they are decided, whatever becomes of them."""
    for fact in decision.facts:
        match fact:
            case OptedOut():
                recipient.off_since = input.time
            case OptedIn():
                recipient.off_since = None
    for count in decision.counts:
        note(recipient, count.hook, input.time, count.day, count.kept)
