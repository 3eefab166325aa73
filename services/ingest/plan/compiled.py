"""A tracking plan in force: what is wrong with an event. Pure."""

from typing import NamedTuple

from jsonschema_rs import ValidationError, ValidationErrorKind

from libs.common.contracts.events import NAMES, ClientEvent
from services.ingest.plan.plan import Mode, TrackingPlan
from services.ingest.plan.schemas import MASK, Validator, compiled

UNPLANNED = "the event is not in the tracking plan"
_SHOWN = 80  # characters of a value
_LENGTH = 300
_OF_THE_OBJECT = frozenset(
    ["required", "additionalProperties", "unevaluatedProperties", "falseSchema", "propertyNames"]
)


class Violation(NamedTuple):
    """What is wrong with an event. `rule` says it without the event's own values, `example` with them."""

    event: str
    mode: Mode
    rule: str
    example: str
    message_id: str


class _Planned(NamedTuple):
    mode: Mode
    validator: Validator


class CompiledPlan:
    """The workspace's plan, under a source's own one: the source's word on an event takes the place of the workspace's."""

    def __init__(self, *plans: TrackingPlan) -> None:
        """`faulty` has the events whose schemas cannot be used, as after a change of the library; they are not checked."""
        self.faulty: dict[str, str] = {}
        self._unknown: Mode = "observe"
        self._events: dict[str, _Planned] = {}
        for plan in plans:
            self._unknown = plan.unknown or self._unknown
            for name, event in plan.events.items():
                try:
                    self._events[name] = _Planned(event.mode, compiled(event.json_schema))
                except ValueError as error:
                    self.faulty[name] = str(error)
                    self._events[name] = _Planned("observe", compiled({}))

    def violation(self, event: ClientEvent) -> Violation | None:
        """What is wrong with the event; None when nothing is, or when the plan does not name it and it is no track."""
        kind = event.type
        planned = self._events.get(event.event or NAMES.get(kind, kind))
        if planned is None:
            if kind != "track":
                return None
            return Violation(event.event or "", self._unknown, UNPLANNED, UNPLANNED, event.messageId)
        of_traits = kind == "identify" or kind == "group"
        if planned.validator.is_valid(event.traits if of_traits else event.properties):
            return None
        return _violation(event, planned, "traits" if of_traits else "properties")


def _violation(event: ClientEvent, planned: _Planned, member: str) -> Violation | None:
    """The first that is found. All of them would cost as much as the event is large."""
    try:
        planned.validator.validate(getattr(event, member))
    except ValidationError as error:
        rule = _rule(error, member)
        value = "" if error.kind.name in _OF_THE_OBJECT else f" ({_shown(error.instance)})"
        name = event.event or NAMES.get(event.type, event.type)
        return Violation(name, planned.mode, rule, rule + value, event.messageId)
    return None


def _rule(error: ValidationError, member: str) -> str:
    """The rule that is broken, in a sentence; reasons are joined by semicolons, so it has none."""
    path = member + "".join("[]" if isinstance(each, int) else f".{each}" for each in error.instance_path)
    message = error.message.replace('"', "`")
    match error.kind:
        case ValidationErrorKind.Required():
            rule = f"{path}.{error.kind.property} is required"
        case ValidationErrorKind.AdditionalProperties() | ValidationErrorKind.UnevaluatedProperties():
            rule = f"{path}.{error.kind.unexpected[0]} is not in the plan"
        case ValidationErrorKind.FalseSchema():
            rule = f"{path} has what is not in the plan"
        case _ if message.startswith(f"{MASK} "):
            rule = path + message.removeprefix(MASK)
        case _:
            rule = f"{path}: {message}"
    return rule[:_LENGTH].replace("; ", ", ")


def _shown(value: object) -> str:
    match value:
        case str():
            return 'it is "' + value[:_SHOWN] + '"'
        case True | False | None:
            return f"it is {str(value).lower().replace('none', 'null')}"
        case int() | float():
            return f"it is the number '{value}'"
        case list():
            return "it is an array"
        case _:
            return "it is an object"
