"""How a recipient changes for what was decided. Total: it never fails."""

from libs.common.contracts.records import Fact
from libs.common.contracts.triggers import OptedIn, OptedOut
from libs.common.fold.decider import Cause
from services.triggers.domain.decide import Decision
from services.triggers.domain.state import Recipient, note


def evolve(recipient: Recipient, cause: Cause, facts: list[Fact]) -> None:
    """Apply what `decide` said: messages count when they are queued, whatever becomes of them."""
    for fact in facts:
        match fact:
            case OptedOut():
                recipient.off_since = cause.time
            case OptedIn():
                recipient.off_since = None
    if isinstance(facts, Decision):
        for count in facts.counts:
            note(recipient, count.hook, cause.time, count.day, count.kept)
