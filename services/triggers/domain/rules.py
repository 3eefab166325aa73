"""Hooks as the fold uses them: compiled once for each rulebook, found by the name of what happened."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from libs.common.fold.decider import Cause
from libs.common.rules.cel.condition import Condition, Outcome, compile_condition
from libs.common.rules.liquid.template import Template, compile_template
from services.triggers.domain.causes import Happened, Text
from services.triggers.domain.hook import Hook, QuietHours, duration
from services.triggers.domain.quiet import Quiet
from services.triggers.domain.state import TIMES

ALWAYS = Outcome(True)


@dataclass(frozen=True, slots=True)
class CompiledHook:
    """One version of a hook with its condition and texts compiled."""

    id: str
    version: int
    hook: Hook
    condition: Condition | None
    title: Template | None
    text: Template
    freshness: timedelta
    cap: tuple[int, timedelta] | None

    @property
    def kept(self) -> int:
        """How many times of messages its cap needs."""
        return TIMES if self.cap is None else 4 * self.cap[0]

    def matches(self, happened: Happened, cause: Cause) -> Outcome:
        """Whether the condition holds; one that cannot be evaluated does not, and says why."""
        return ALWAYS if self.condition is None else self.condition.evaluate(happened.activation(cause))

    def render(self, happened: Happened, cause: Cause) -> Text:
        """The message for what happened, made once."""
        if self.id not in happened.texts:
            event, customer = happened.variables(cause)
            happened.texts[self.id] = self._rendered({"event": event, "customer": customer})
        return happened.texts[self.id]

    def _rendered(self, variables: dict[str, Any]) -> Text:
        title = None if self.title is None else self.title.render(variables)
        if title is not None and title.text is None:
            return Text(missing=title.missing, error=title.error)
        text = self.text.render(variables)
        return Text(None if title is None else title.text, text.text, text.missing, text.error)


class Live(msgspec.Struct):
    """A live hook in a rulebook, its content as JSON."""

    id: str
    version: int
    content: msgspec.Raw


class Rulebook(msgspec.Struct):
    """The content of a rulebook: the workspace's cap and quiet hours, and all live hooks in the order of their ids."""

    daily_cap: int | None
    hooks: list[Live]
    quiet_hours: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What is in force. Empty before the first hook is published."""

    zone: ZoneInfo
    daily_cap: int | None = None
    by_event: dict[str, list[CompiledHook]] = field(default_factory=dict)
    by_id: dict[str, CompiledHook] = field(default_factory=dict)
    quiet_hours: QuietHours | None = None

    def quiet(self, hook: CompiledHook, happened: Happened, cause: Cause) -> Quiet | None:
        """The quiet hours that a message of a hook is held to: the hook's own, else the workspace's, in the customer's
        zone."""
        hours = hook.hook.limits.quiet_hours or self.quiet_hours
        return None if hours is None or hours == "none" else hours.of(happened.zone(cause, self.zone).key)

    def day(self, happened: Happened, cause: Cause) -> date:
        """The customer's local day on which it happened."""
        return cause.time.astimezone(happened.zone(cause, self.zone)).date()


def compiled(id: str, version: int, hook: Hook) -> CompiledHook:
    """A hook, compiled. Raises ConditionError or TemplateError for what `refuse_faulty` would have refused."""
    cap = hook.limits.cap
    return CompiledHook(
        id,
        version,
        hook,
        None if hook.trigger.when is None else compile_condition(hook.trigger.when),
        None if hook.action.title is None else compile_template(hook.action.title),
        compile_template(hook.action.text),
        duration(hook.limits.freshness),
        None if cap is None else (cap.count, duration(cap.period)),
    )


def rules(book: Rulebook, zone: ZoneInfo) -> Rules:
    """A rulebook, compiled."""
    hours = None if book.quiet_hours is None else QuietHours.model_validate(book.quiet_hours)
    made = Rules(zone, book.daily_cap, quiet_hours=hours)
    for live in book.hooks:
        hook = compiled(live.id, live.version, Hook.model_validate_json(bytes(live.content)))
        made.by_id[hook.id] = hook
        made.by_event.setdefault(hook.hook.trigger.event, []).append(hook)
    return made
