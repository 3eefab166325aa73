"""The rule book: which messages follow from what happened, and which are withheld. Pure: no clock, no I/O."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from libs.common.contracts.ids import derived
from libs.common.contracts.records import Fact
from libs.common.contracts.triggers import (
    MessageFailed,
    MessageQueued,
    MessageSeen,
    MessageSent,
    MessageWithheld,
    OptedIn,
    OptedOut,
)
from libs.common.fold.decider import Cause
from services.triggers.domain.causes import Happened, Made, Resume, See, Settled, Stop
from services.triggers.domain.hook import in_words
from services.triggers.domain.rules import CompiledHook, Rules
from services.triggers.domain.state import Recipient, milliseconds, reached

OPTED_OUT = "opted_out"
HISTORY = "history"
CAP = "cap"
WORKSPACE_CAP = "workspace_cap"
MISSING_VARIABLE = "missing_variable"
TEMPLATE_ERROR = "template_error"
PAUSED = "paused"


class Withheld(NamedTuple):
    """Why a message is withheld: a word for machines, a sentence fragment for people."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Count:
    """A message that counts for the caps: of which hook, on which local day, and how many of its times to keep."""

    hook: str
    day: date
    kept: int


class Decision(list[Fact]):
    """The facts that follow, and what they count for."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[Count] = []


def decide(recipient: Recipient, cause: Cause, rules: Rules) -> list[Fact]:
    """What follows for one customer; the recipient stays as they are."""
    decision = Decision()
    match cause.body:
        case Happened() as happened:
            for hook in rules.by_event.get(happened.name, ()):
                if hook.matches(happened, cause).matched:
                    _message(decision, hook, recipient, happened, cause, rules)
        case Settled() as settled:
            decision.append(_news(settled))
        case See(message, hook_id):
            decision.append(MessageSeen(message=message, hook=hook_id))
        case Stop(by) if recipient.off_since is None:
            decision.append(OptedOut(by=by))
        case Resume(by) if recipient.off_since is not None:
            decision.append(OptedIn(by=by))
    return decision


def message_id(cause: str, hook: str) -> str:
    """The id of the message (or of its being withheld) that a hook makes of a record: the same on every replay."""
    return str(derived(cause, hook, "message"))


def withheld(
    hook: CompiledHook, recipient: Recipient, happened: Happened, cause: Cause, rules: Rules, today: int = 0
) -> Withheld | None:
    """The rule that withholds a message whose condition holds, if one does. `today` more were just decided."""
    return next(_reasons(hook, recipient, happened, cause, rules, today), None)


def _message(
    decision: Decision, hook: CompiledHook, recipient: Recipient, happened: Happened, cause: Cause, rules: Rules
) -> None:
    why_not = withheld(hook, recipient, happened, cause, rules, len(decision.counts))
    endpoint = hook.hook.action.endpoint
    if why_not is not None:
        happened.made[hook.id] = Made(endpoint, detail=why_not.detail)
        decision.append(MessageWithheld(hook=hook.id, version=hook.version, reason=why_not.reason))
        return
    text = hook.render(happened, cause)
    quiet = rules.quiet(hook, happened, cause)
    not_before = None if quiet is None else quiet.until(cause.received)
    happened.made[hook.id] = Made(endpoint, text.title, text.text, None, quiet, not_before)
    id, channel = message_id(cause.id, hook.id), hook.hook.action.channel
    decision.append(MessageQueued(message=id, hook=hook.id, version=hook.version, channel=channel))
    decision.counts.append(Count(hook.id, rules.day(happened, cause), hook.kept))


def _reasons(
    hook: CompiledHook, recipient: Recipient, happened: Happened, cause: Cause, rules: Rules, today: int
) -> Iterator[Withheld]:
    if recipient.off_since is not None:
        yield Withheld(OPTED_OUT, f"the customer opted out of messages at {recipient.off_since:%Y-%m-%d %H:%M} UTC")
    late = cause.received - cause.time
    if late > hook.freshness and not hook.hook.limits.history:
        freshness = hook.hook.limits.freshness
        yield Withheld(
            HISTORY, f"the event reached us {in_words(late)} after it happened, and the hook takes {freshness} at most"
        )
    if hook.cap is not None:
        count, period = hook.cap
        if reached(recipient.sent.get(hook.id, ()), milliseconds(cause.time), count, period):
            said = hook.hook.limits.cap
            length = said.period if said else period
            yield Withheld(CAP, f"the hook's cap of {count} in {length} was reached")
    if rules.daily_cap is not None:
        day = rules.day(happened, cause)
        if recipient.days.get(day.isoformat(), 0) + today >= rules.daily_cap:
            yield Withheld(WORKSPACE_CAP, f"the workspace's cap of {rules.daily_cap} a day was reached on {day}")
    text = hook.render(happened, cause)
    if text.missing is not None:
        yield Withheld(MISSING_VARIABLE, f"the text needs {text.missing}, which is absent and has no default")
    elif text.text is None:
        yield Withheld(TEMPLATE_ERROR, f"the text could not be made: {text.error}")


def _news(settled: Settled) -> Fact:
    message, hook, version, channel = settled.message, settled.hook, settled.version, settled.channel
    match settled.state:
        case "sent":
            return MessageSent(message=message, hook=hook, version=version, channel=channel)
        case "failed":
            return MessageFailed(message=message, hook=hook, version=version, channel=channel, error=settled.reason)
        case "withheld":
            return MessageWithheld(hook=hook, version=version, reason=settled.reason)
