"""Explains what a hook does with a record, for `why` and `test`."""

from dataclasses import dataclass, field
from typing import Any

from libs.common.contracts.input import Input
from libs.common.rules.cel.condition import Operand
from libs.common.rules.rule_event import RuleEvent, Scope
from services.triggers.domain.decide import unfit, withheld
from services.triggers.domain.rules import CompiledHook, Rules
from services.triggers.domain.state import Recipient

WOULD_SEND = "would_send"
WITHHELD = "withheld"
CONDITION_FALSE = "condition_false"
PROPERTY_ABSENT = "property_absent"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict: a word for machines, a sentence for people, and the details behind it."""

    verdict: str
    sentence: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """A record, real or a sample, under the rules in force."""

    event: RuleEvent
    input: Input
    rules: Rules


def explain(hook: CompiledHook, record: Record, recipient: Recipient) -> Explanation:
    """What `hook` does with a record for a customer in the state `recipient`. Pure: nothing is sent or changed."""
    input, scope = record.input, Scope(record.event, record.input)
    what = f"{record.event.name} of {input.time:%Y-%m-%d %H:%M:%S} UTC"
    details: dict[str, Any] = {
        "event": {"id": input.id, "name": record.event.name, "time": input.time.isoformat()},
        "condition": condition(hook, scope),
    }
    outcome = hook.matches(scope)
    if not outcome.matched:
        why = details["condition"]["explanation"]
        verdict = CONDITION_FALSE if outcome.absent is None else PROPERTY_ABSENT
        return Explanation(verdict, f"The {what} did not match: the condition was {why}.", details)
    text = hook.render(scope)
    details |= {"title": text.title, "text": text.text}
    why_not = withheld(hook, recipient, scope, record.rules) or unfit(text)
    if why_not is not None:
        details |= {"reason": why_not.reason, "rule": why_not.detail}
        return Explanation(WITHHELD, f"The {what} matched, but the message is withheld: {why_not.detail}.", details)
    quiet = record.rules.quiet(hook, scope)
    if quiet is not None and (end := quiet.until(input.received)) is not None:
        details |= {"quiet_hours": str(quiet), "not_before": end}
        waits = f"it would be sent at {end:%Y-%m-%d %H:%M:%S} UTC, when the quiet hours end ({quiet})"
        return Explanation(WOULD_SEND, f"The {what} matched, and nothing withholds the message: {waits}.", details)
    return Explanation(WOULD_SEND, f"The {what} matched, and nothing withholds the message.", details)


def condition(hook: CompiledHook, scope: Scope) -> dict[str, Any]:
    """The condition, whether it held and why, and each comparison with the values that it compared."""
    if hook.condition is None:
        return {"source": None, "matched": True, "explanation": "true: the hook has no condition", "operands": []}
    variables = scope.variables
    return {
        "source": hook.condition.source,
        "matched": hook.matches(scope).matched,
        "explanation": hook.condition.explain(*variables),
        "operands": [_shown(operand) for operand in hook.condition.operands(*variables)],
    }


def _shown(operand: Operand) -> dict[str, Any]:
    return {
        "comparison": operand.text,
        "held": operand.value,
        "values": dict(operand.values),
        "absent": list(operand.absent),
        "error": operand.error,
    }
