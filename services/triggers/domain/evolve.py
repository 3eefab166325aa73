"""How a decision, and a merge, change a recipient. Total: it never fails."""

from datetime import date, datetime

from libs.common.contracts.input import Input
from libs.common.contracts.triggers import OptedIn, OptedOut
from services.triggers.domain.decide import Decision
from services.triggers.domain.state import DAYS, TIMES, Recipient, milliseconds


def evolve(recipient: Recipient, input: Input, decision: Decision) -> None:
    """Apply a decision. Messages count for the caps when they are decided, whatever becomes of them."""
    for fact in decision.facts:
        match fact:
            case OptedOut():
                recipient.off_since = input.time
            case OptedIn():
                recipient.off_since = None
    if decision.consent is not None:
        recipient.consent = decision.consent
    if decision.deselected is not None:
        recipient.deselected = decision.deselected
    for count in decision.counts:
        note(recipient, count.hook, input.time, count.day, count.kept)


def note(recipient: Recipient, hook: str, time: datetime, day: date, kept: int) -> None:
    """Count a message of `hook` for an event at `time`, which is on the customer's `day`."""
    times = sorted([*recipient.sent.get(hook, ()), milliseconds(time)])
    recipient.sent[hook] = times[-max(kept, TIMES) :]
    recipient.days[day.isoformat()] = recipient.days.get(day.isoformat(), 0) + 1
    recipient.days = _newest(recipient.days)


def absorb(survivor: Recipient, other: Recipient) -> None:
    """Merge two customers: their messages add up, and an opt-out or de-selection of either stays. Total: it never fails.

    The survivor's consent stays. Where the other's counts, profile's `consent.changed` follows and says so.
    """
    for hook, times in other.sent.items():
        survivor.sent[hook] = sorted([*survivor.sent.get(hook, ()), *times])
    for day, count in other.days.items():
        survivor.days[day] = survivor.days.get(day, 0) + count
    survivor.days = _newest(survivor.days)
    stops = [since for since in (survivor.off_since, other.off_since) if since is not None]
    survivor.off_since = min(stops, default=None)
    survivor.deselected |= other.deselected


def _newest(days: dict[str, int]) -> dict[str, int]:
    return days if len(days) <= DAYS else {day: days[day] for day in sorted(days)[-DAYS:]}
