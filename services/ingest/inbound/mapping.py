"""A mapping: what the payload of a webhook becomes. Each member is a CEL expression, or the same value in every event.

    {"delivery": "payload.id",
     "events": [{"when": "payload.type == 'payment_intent.succeeded'",
                 "event": {"value": "Order Completed"}, "userId": "payload.data.object.customer",
                 "properties": {"revenue": "major(payload.data.object.amount, payload.data.object.currency)"}}]}

Expressions see `payload` (the body), `headers` (names in lower case) and, where an event has `each`, `item`. They may call
`major(amount, currency)` (minor units → major) and `sum(list)`. A member whose expression reads what is not there, or gives
null, is left out.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from libs.common.contracts import money
from libs.common.contracts.events import Kind
from libs.common.contracts.ids import derived
from libs.common.errors import Invalid
from libs.common.rules.cel.expression import Absent, Expression, Failed, Function, Language
from libs.common.rules.cel.tokens import MAX_LENGTH, ConditionError

EVENTS = 20  # of a mapping
ITEMS = 100  # of a list that become events
_HOLDERS = ("properties", "traits", "context")
_NO_ID = (None, "")


def _major(amount: float, currency: str) -> float:
    try:
        code = money.currency_code(currency)
    except ValueError:  # it names what the payload says, and a reason may be seen by others than its sender
        raise ValueError("the second argument of major is no currency: it takes an ISO 4217 code") from None
    return float(Decimal(str(amount)).scaleb(-money.exponent(code)))


def _sum(values: list[Any]) -> float:
    try:
        total = float(sum((Decimal(str(value)) for value in values), Decimal(0)))
    except ArithmeticError:
        total = math.nan
    if not math.isfinite(total):
        raise ValueError("sum takes numbers, or texts that are numbers")
    return total


LANGUAGE = Language(
    ("payload", "headers", "item"),
    {"major": Function(_major, [("whole", "text"), ("fraction", "text")]), "sum": Function(_sum, [("list",)])},
)


def _compiles(source: str) -> str:
    try:
        LANGUAGE.compile(source)
    except ConditionError as error:
        raise ValueError(error.detail) from None
    return source


Cel = Annotated[str, Field(max_length=MAX_LENGTH), AfterValidator(_compiles)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Fixed(_Strict):
    """The same value in every event."""

    value: Any


def _written_as(member: object) -> str:
    return "cel" if isinstance(member, str) else "value"


Member = Annotated[Annotated[Cel, Tag("cel")] | Annotated[Fixed, Tag("value")], Discriminator(_written_as)]
Members = Annotated[dict[Annotated[str, Field(max_length=256)], Member], Field(max_length=200)]


class EventOf(_Strict):
    """One event of a payload, or with `each` one for every item of a list. `when` says of which payloads (and items)."""

    when: Cel | None = None
    each: Annotated[Cel | None, Field(description="gives a list; `item` is one of it")] = None
    type: Kind = "track"
    event: Member | None = None
    name: Member | None = None
    category: Member | None = None
    userId: Member | None = None
    anonymousId: Member | None = None
    groupId: Member | None = None
    previousId: Member | None = None
    timestamp: Member | None = None
    messageId: Annotated[
        Member | None, Field(description="what makes it count once; without it, the delivery's id and its place do")
    ] = None
    properties: Members = {}
    traits: Members = {}
    context: Members = {}

    def members(self) -> Iterator[tuple[tuple[str, ...], Member]]:
        """Every member that is mapped, by its path in the event."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in _HOLDERS:
                yield from (((name, inner), member) for inner, member in value.items())
            elif name not in ("when", "each", "type", "messageId") and value is not None:
                yield (name,), value


class InboundMapping(_Strict):
    """What a payload becomes. `delivery` gives the id that the sender keeps when it tries again."""

    delivery: Cel | None = None
    events: Annotated[list[EventOf], Field(min_length=1, max_length=EVENTS)]


@dataclass(frozen=True)
class Mapped:
    """An event of a payload, or why there is none of this entry of the mapping (`skipped`). `left_out` says which members
    are not there."""

    entry: int
    event: dict[str, Any] | None
    skipped: str | None = None
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Delivery:
    """A webhook that has come. `id` is the one that the sender keeps when it tries again, as far as it is known from headers
    or body; a mapping may know better."""

    hook: str
    payload: Mapping[str, Any]
    headers: Mapping[str, str]
    id: str


class CompiledMapping:
    """A mapping, ready to be applied to any number of deliveries."""

    def __init__(self, mapping: InboundMapping) -> None:
        self._delivery = None if mapping.delivery is None else LANGUAGE.compile(mapping.delivery)
        self._entries = [_Entry(number, entry) for number, entry in enumerate(mapping.events)]

    def delivery_id(self, delivery: Delivery) -> str:
        """The id that the sender keeps when it tries again. Raises Invalid."""
        if self._delivery is None:
            return delivery.id
        variables = {"payload": delivery.payload, "headers": delivery.headers, "item": None}
        try:
            id = self._delivery.evaluate(LANGUAGE.bind(variables))
        except Absent:
            return delivery.id
        except Failed as error:
            raise Invalid(f"delivery: {error}") from None
        return delivery.id if id in _NO_ID else str(id)

    def apply(self, delivery: Delivery) -> list[Mapped]:
        """What becomes of a delivery: the same for each of its tries. Raises Invalid, which names the member that failed."""
        id = self.delivery_id(delivery)
        return [mapped for entry in self._entries for mapped in entry.apply(delivery, id)]


class _Entry:
    def __init__(self, number: int, entry: EventOf) -> None:
        self._number = number
        self._kind = entry.type
        self._when = None if entry.when is None else LANGUAGE.compile(entry.when)
        self._each = None if entry.each is None else LANGUAGE.compile(entry.each)
        self._message = None if entry.messageId is None else _compiled(entry.messageId)
        self._members = [(place, _compiled(member)) for place, member in entry.members()]

    def apply(self, delivery: Delivery, id: str) -> Iterator[Mapped]:
        items = [None] if self._each is None else self._items(delivery)
        if not items:
            yield Mapped(self._number, None, "each gives no item")
        for place, item in enumerate(items):
            yield self._one(delivery, id, place, item)

    def _items(self, delivery: Delivery) -> list[Any]:
        bound = LANGUAGE.bind({"payload": delivery.payload, "headers": delivery.headers, "item": None})
        try:
            items = self._evaluated("each", self._each, bound)
        except Absent:
            return []
        if not isinstance(items, list):
            raise self._failed("each", Failed("it gives no list"))
        if len(items) > ITEMS:
            raise self._failed("each", Failed(f"it gives {len(items):,} items, at most {ITEMS} become events"))
        return items

    def _one(self, delivery: Delivery, id: str, place: int, item: Any) -> Mapped:
        bound = LANGUAGE.bind({"payload": delivery.payload, "headers": delivery.headers, "item": item})
        if self._when is not None:
            try:
                holds = self._evaluated("when", self._when, bound)
            except Absent as absent:
                return Mapped(self._number, None, f"when: {absent}")
            if holds is not True:
                return Mapped(self._number, None, f"when is {'false' if holds is False else 'neither true nor false'}")
        event: dict[str, Any] = {"type": self._kind}
        left_out = []
        for path, member in self._members:
            try:
                value = self._evaluated(".".join(path), member, bound)
            except Absent as absent:
                left_out.append(f"{'.'.join(path)}: {absent}")
                continue
            if value is None:
                left_out.append(f"{'.'.join(path)} is null")
                continue
            holder = event if len(path) == 1 else event.setdefault(path[0], {})
            holder[path[-1]] = value
        event["messageId"] = self._message_id(delivery.hook, id, place, bound)
        return Mapped(self._number, event, None, left_out)

    def _message_id(self, hook: str, id: str, place: int, bound: object) -> str:
        if self._message is not None:
            try:
                message = self._evaluated("messageId", self._message, bound)
            except Absent as absent:
                raise self._failed("messageId", absent) from None
            if message in _NO_ID:
                raise self._failed("messageId", Failed("it is null or empty, so all such events would count as one"))
            return str(derived("inbound", hook, "message", str(message)))
        return str(derived("inbound", hook, "delivery", id, str(self._number), str(place)))

    def _evaluated(self, name: str, member: Expression | Fixed | None, bound: object) -> Any:
        if not isinstance(member, Expression):
            return None if member is None else member.value
        try:
            return member.evaluate(bound)
        except Absent:
            raise
        except Failed as error:
            raise self._failed(name, error) from None

    def _failed(self, name: str, error: Failed) -> Invalid:
        return Invalid(f"The payload does not fit the mapping: events[{self._number}].{name}: {error}.")


def _compiled(member: Member) -> Expression | Fixed:
    return member if isinstance(member, Fixed) else LANGUAGE.compile(member)
