"""Which messages follow from a record, and which rules withhold them. Pure: no clock, no I/O."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from msgspec import field

from libs.common.contracts.consent import SERVICE, allows
from libs.common.contracts.ids import derived
from libs.common.contracts.input import Input
from libs.common.contracts.profile import ConsentChanged, CustomerDeselected, CustomerReselected
from libs.common.contracts.records import Fact
from libs.common.contracts.triggers import (
    Channel,
    MessageFailed,
    MessageQueued,
    MessageSeen,
    MessageSent,
    MessageWithheld,
    OptedIn,
    OptedOut,
)
from libs.common.fold import decider as fold
from libs.common.rules.rule_event import RuleEvent, Scope
from services.triggers.domain.hook import in_words
from services.triggers.domain.inputs import MarkSeen, OptIn, OptOut, Settled
from services.triggers.domain.quiet import Quiet
from services.triggers.domain.rules import CompiledHook, Rules, Text
from services.triggers.domain.state import Recipient, milliseconds, reached

OPTED_OUT = "opted_out"
NO_CONSENT = "no_consent"
DESELECTED = "deselected"
HISTORY = "history"
IMPORTED = "imported"
CAP = "cap"
WORKSPACE_CAP = "workspace_cap"
MISSING_VARIABLE = "missing_variable"
TEMPLATE_ERROR = "template_error"
PAUSED = "paused"


_SELECTION = (CustomerDeselected.TYPE, CustomerReselected.TYPE)
#: Facts that change a customer whether or not a hook names them.
CHANGING = frozenset({ConsentChanged.TYPE, *_SELECTION})


class Withheld(NamedTuple):
    """Why a message is withheld: a word for machines, a sentence fragment for people."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Count:
    """What a message adds to the caps: its hook, the customer's local day, and how many of the hook's times to keep."""

    hook: str
    day: date
    kept: int


@dataclass(frozen=True, slots=True)
class Made:
    """The message that a hook makes of a record, beside its fact: its channel, endpoint and text, the quiet hours that apply to
    it, and their end if it was decided in them; or why it is withheld."""

    channel: Channel
    endpoint: str
    title: str | None = None
    text: str | None = None
    detail: str | None = None
    quiet: Quiet | None = None
    not_before: datetime | None = None


class Decision(fold.Decision, kw_only=True):
    """The facts that follow, what they add to the caps, and the message of each hook, by the hook's id. The projection writes
    its rows from this alone. `consent` is the customer's new one, if it changed; `deselected` says whether the business has
    stopped marketing to them, if that changed."""

    counts: list[Count] = field(default_factory=list)
    made: dict[str, Made] = field(default_factory=dict)
    consent: dict[str, bool] | None = None
    deselected: bool | None = None


def decide(recipient: Recipient, input: Input, rules: Rules) -> Decision:
    """What follows from an input for one customer. Changes nothing."""
    decision = Decision()
    match input.body:
        case RuleEvent() as event:
            scope = Scope(event, input)
            if event.kind == ConsentChanged.TYPE:
                decision.consent = scope.variables[1]["consent"]
            elif event.kind in _SELECTION:
                decision.deselected = event.kind == CustomerDeselected.TYPE
            for hook in rules.by_event.get(event.name, ()):
                if hook.matches(scope).matched:
                    _message(decision, hook, recipient, scope, rules)
        case Settled() as settled:
            decision.facts.append(_outcome(settled))
        case MarkSeen(message, hook_id):
            decision.facts.append(MessageSeen(message=message, hook=hook_id))
        case OptOut(by) if recipient.off_since is None:
            decision.facts.append(OptedOut(by=by))
        case OptIn(by) if recipient.off_since is not None:
            decision.facts.append(OptedIn(by=by))
    return decision


def message_id(input: str, hook: str) -> str:
    """The id of the message that a hook makes of a record, sent or withheld. It is the same on every replay."""
    return str(derived(input, hook, "message"))


def withheld(hook: CompiledHook, recipient: Recipient, scope: Scope, rules: Rules, today: int = 0) -> Withheld | None:
    """The first rule that withholds a message whose condition holds, whatever its text; None if no rule does. `today` counts
    the messages that the same record has led to so far."""
    return next(_reasons(hook, recipient, scope, rules, today), None)


def unfit(text: Text) -> Withheld | None:
    """Why a message cannot be sent because of its text; None if it can."""
    if text.missing is not None:
        return Withheld(MISSING_VARIABLE, f"the text needs {text.missing}, which is absent and has no default")
    return Withheld(TEMPLATE_ERROR, f"the text could not be rendered: {text.error}") if text.text is None else None


def _message(decision: Decision, hook: CompiledHook, recipient: Recipient, scope: Scope, rules: Rules) -> None:
    input, channel, endpoint = scope.input, hook.hook.action.channel, hook.hook.action.endpoint
    if (why_not := withheld(hook, recipient, scope, rules, len(decision.counts))) is None:
        text = hook.render(scope)
        why_not = unfit(text)
    if why_not is not None:
        decision.made[hook.id] = Made(channel, endpoint, detail=why_not.detail)
        decision.facts.append(MessageWithheld(hook=hook.id, version=hook.version, reason=why_not.reason))
        return
    quiet = rules.quiet(hook, scope)
    not_before = None if quiet is None else quiet.until(input.received)
    made = Made(channel, endpoint, text.title, text.text, None, quiet, not_before)
    decision.made[hook.id] = made
    at_once = channel == "inbox" and not _waits(hook, made, input, rules.at)
    fact = MessageSent if at_once else MessageQueued
    decision.facts.append(
        fact(message=message_id(input.id, hook.id), hook=hook.id, version=hook.version, channel=channel)
    )
    decision.counts.append(Count(hook.id, rules.day(scope), hook.kept))


def _waits(hook: CompiledHook, made: Made, input: Input, at: datetime | None) -> bool:
    """Whether an inbox message is queued for delivery, which judges it by the clock, instead of being sent with its decision.

    It waits for the end of the quiet hours in which the record was received. It also waits when the fold lags so far that, by
    the clock (`at`), the event has grown too old or quiet hours have begun. Caps count both ways alike, and a replay, which has
    no clock, takes both for one decision (`replay.same_decision`).
    """
    if made.not_before is not None or at is None:
        return made.not_before is not None
    too_late = at - input.time > hook.freshness and not hook.hook.limits.history
    return too_late or (made.quiet is not None and made.quiet.holds(at))


def _reasons(hook: CompiledHook, recipient: Recipient, scope: Scope, rules: Rules, today: int) -> Iterator[Withheld]:
    input = scope.input
    if recipient.off_since is not None:
        yield Withheld(OPTED_OUT, f"the customer opted out of messages at {recipient.off_since:%Y-%m-%d %H:%M} UTC")
    if input.imported:
        yield Withheld(
            IMPORTED, "the event was imported as history, or follows from one that was, and that sends nothing"
        )
    if hook.hook.action.purpose != SERVICE and (recipient.deselected or scope.variables[1]["deselected"]):
        yield Withheld(DESELECTED, "the business has de-selected the customer, who gets service messages only")
    if (missing := _no_consent(hook, scope, rules)) is not None:
        yield Withheld(NO_CONSENT, missing)
    late = input.received - input.time
    if late > hook.freshness and not hook.hook.limits.history:
        freshness = hook.hook.limits.freshness
        yield Withheld(
            HISTORY, f"the event arrived {in_words(late)} after it happened, and the hook accepts {freshness} at most"
        )
    if hook.cap is not None:
        count, period = hook.cap
        if reached(recipient.sent.get(hook.id, ()), milliseconds(input.time), count, period):
            cap = hook.hook.limits.cap
            length = cap.period if cap else period
            yield Withheld(CAP, f"the hook's cap of {count} in {length} was reached")
    if rules.daily_cap is not None:
        day = rules.day(scope)
        if recipient.days.get(day.isoformat(), 0) + today >= rules.daily_cap:
            yield Withheld(WORKSPACE_CAP, f"the workspace's cap of {rules.daily_cap} a day was reached on {day}")


def _no_consent(hook: CompiledHook, scope: Scope, rules: Rules) -> str | None:
    """Why the customer's consent does not allow the message; None if it does, or if the message needs none."""
    action = hook.hook.action
    if action.purpose == SERVICE:
        return None
    allowed = allows(scope.variables[1]["consent"], action.purpose, action.channel)
    if allowed is None and not rules.without_consent:
        return f"the customer has not consented to {action.purpose}"
    return f"the customer has denied {action.purpose} for the channel {action.channel}" if allowed is False else None


def _outcome(settled: Settled) -> Fact:
    message, hook, version, channel = settled.message, settled.hook, settled.version, settled.channel
    match settled.state:
        case "sent":
            return MessageSent(message=message, hook=hook, version=version, channel=channel)
        case "failed":
            return MessageFailed(message=message, hook=hook, version=version, channel=channel, error=settled.reason)
        case "withheld":
            return MessageWithheld(hook=hook, version=version, reason=settled.reason)
