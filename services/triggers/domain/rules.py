"""Hooks as the fold uses them: compiled once for each rulebook, found by the name of their event."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from libs.common.rules.cel.condition import Condition, Outcome, compile_condition
from libs.common.rules.liquid.template import Template, compile_template
from libs.common.rules.rule_event import Scope
from services.triggers.domain.hook import Hook, QuietHours, duration
from services.triggers.domain.quiet import Quiet
from services.triggers.domain.state import TIMES

ALWAYS = Outcome(True)


@dataclass(frozen=True, slots=True)
class Text:
    """A rendered message; or, in `missing` or `error`, why it could not be rendered."""

    title: str | None = None
    text: str | None = None
    missing: str | None = None
    error: str | None = None


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
        """How many message times its cap needs."""
        return TIMES if self.cap is None else 4 * self.cap[0]

    def matches(self, scope: Scope) -> Outcome:
        """Whether the condition holds. One that cannot be evaluated does not hold; the outcome says why."""
        return ALWAYS if self.condition is None else self.condition.evaluate(scope.activation)

    def render(self, scope: Scope) -> Text:
        """Render the message for a record."""
        event, customer = scope.variables
        variables = {"event": event, "customer": customer}
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
    """The rules in force; empty before the first hook is published. `at` is the time at which a batch is decided. In a replay it
    is None: only what is recorded counts. `without_consent`: whether customers who said nothing of a purpose get its messages."""

    zone: ZoneInfo
    daily_cap: int | None = None
    by_event: dict[str, list[CompiledHook]] = field(default_factory=dict)
    by_id: dict[str, CompiledHook] = field(default_factory=dict)
    quiet_hours: QuietHours | None = None
    at: datetime | None = None
    without_consent: bool = False

    def quiet(self, hook: CompiledHook, scope: Scope) -> Quiet | None:
        """The quiet hours that apply to a message of a hook: the hook's own, else the workspace's, in the customer's zone."""
        hours = hook.hook.limits.quiet_hours or self.quiet_hours
        return None if hours is None or hours == "none" else hours.of(self.zone_of(scope).key)

    def day(self, scope: Scope) -> date:
        """The customer's local day of the event."""
        return scope.input.time.astimezone(self.zone_of(scope)).date()

    def zone_of(self, scope: Scope) -> ZoneInfo:
        """The customer's time zone: their trait `timezone`, else the device's, else the workspace's."""
        event, customer = scope.variables
        for name in (customer["traits"].get("timezone"), event["context"].get("timezone")):
            if isinstance(name, str) and name:
                try:
                    return ZoneInfo(name)
                except (ValueError, OSError, KeyError):  # unknown, or not the name of a zone at all
                    continue
        return self.zone


def compiled(id: str, version: int, hook: Hook) -> CompiledHook:
    """Compile a hook. Raises ConditionError or TemplateError for a hook that `refuse_faulty` refuses."""
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


def rules(book: Rulebook, zone: ZoneInfo, without_consent: bool = False) -> Rules:
    """Compile a rulebook."""
    hours = None if book.quiet_hours is None else QuietHours.model_validate(book.quiet_hours)
    made = Rules(zone, book.daily_cap, quiet_hours=hours, without_consent=without_consent)
    for live in book.hooks:
        hook = compiled(live.id, live.version, Hook.model_validate_json(bytes(live.content)))
        made.by_id[hook.id] = hook
        made.by_event.setdefault(hook.hook.trigger.event, []).append(hook)
    return made
