"""What happened, as rules see it: any event or fact of the journal under the name that marketers know."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from libs.common.contracts import events, registry
from libs.common.contracts.input import Input
from libs.common.contracts.records import Envelope, Snapshot, display_name
from libs.common.rules.cel.condition import Activation, bind

_KINDS = {type: kind for kind, type in events.TYPES.items()}
#: The names of facts, with the properties of each. An app cannot speak for a service: its events under these names
#: start nothing.
FACT_NAMES = {display_name(type): fact.__struct_fields__ for type, fact in registry.BY_TYPE.items()}


@dataclass(frozen=True, slots=True)
class RuleEvent:
    """An event (`kind` is Segment's: track, page …) or a fact (`kind` is its type), under the name that marketers know. `data` is
    decoded only when a rule asks for it."""

    name: str
    kind: str
    data: msgspec.Raw

    @property
    def of_app(self) -> bool:
        """Whether an app said it, not a service."""
        return self.kind in events.TYPES


class Scope:
    """What rules see of one input while it is decided: `event` and `customer`, decoded once, when the first rule asks."""

    __slots__ = ("_activation", "_variables", "event", "input")

    def __init__(self, event: RuleEvent, input: Input) -> None:
        self.event = event
        self.input = input
        self._variables: tuple[dict[str, Any], dict[str, Any]] | None = None
        self._activation: Activation | None = None

    @property
    def variables(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """`event` and `customer`, as conditions and templates see them."""
        if self._variables is None:
            self._variables = _variables(self.event, self.input)
        return self._variables

    @property
    def activation(self) -> Activation:
        """The same, made ready for conditions."""
        if self._activation is None:
            self._activation = bind(*self.variables)
        return self._activation


class _Named(msgspec.Struct):
    event: str | None = None


class _Data(msgspec.Struct):
    customer: Snapshot
    properties: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    context: dict[str, Any] = {}


_named = msgspec.json.Decoder(_Named)
_data = msgspec.json.Decoder(_Data)
_fact = msgspec.json.Decoder(dict[str, Any])


def read(envelope: Envelope) -> RuleEvent | None:
    """What a record means to rules; None for types that are not known (yet), and for apps that speak as a service."""
    kind = _KINDS.get(envelope.type)
    if kind is None:
        known = envelope.type in registry.BY_TYPE
        return RuleEvent(display_name(envelope.type), envelope.type, envelope.data) if known else None
    name = events.event_name(kind, _named.decode(envelope.data).event)
    return None if name in FACT_NAMES else RuleEvent(name, kind, envelope.data)


def _variables(event: RuleEvent, input: Input) -> tuple[dict[str, Any], dict[str, Any]]:
    if event.of_app:
        data = _data.decode(event.data)
        customer = data.customer
        said = {"properties": data.properties, "traits": data.traits, "context": data.context}
    else:
        properties = _fact.decode(event.data)
        customer = msgspec.convert(properties.pop("customer"), Snapshot)
        said = {"properties": properties, "traits": {}, "context": {}}
    return event_variables(event.name, event.kind, input, said), customer_variables(customer)


def event_variables(name: str, kind: str, input: Input, said: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`event`: id, name, type, source, time, received, properties, traits, context."""
    return {
        "id": input.id,
        "name": name,
        "type": kind,
        "source": input.source,
        "time": input.time.isoformat(),
        "received": input.received.isoformat(),
        **said,
    }


def customer_variables(customer: Snapshot) -> dict[str, Any]:
    """`customer`: id, traits, orders, revenue by currency, first_seen, last_seen, consent, segments, points, level, bands,
    channel, stage, deselected; as they were at the event."""
    return {
        "id": customer.id,
        "traits": customer.traits,
        "orders": customer.orders,
        "revenue": customer.revenue,
        "first_seen": _iso(customer.first_seen),
        "last_seen": _iso(customer.last_seen),
        "segments": customer.segments,
        "points": customer.points,
        "level": customer.level,
        "risk_band": customer.risk_band,
        "value_band": customer.value_band,
        "consent": customer.consent,
        "channel": customer.channel,
        "stage": customer.stage,
        "deselected": customer.deselected,
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
