"""What happened, as rules see it: any event or fact of the journal under the name that marketers know."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from libs.common.contracts import events, registry
from libs.common.contracts.records import Envelope, Snapshot, display_name
from libs.common.fold.decider import Cause
from libs.common.rules.cel.condition import Activation, bind

_KINDS = {type: kind for kind, type in events.TYPES.items()}
#: The names of facts, with the properties of each. An app cannot speak for a service: its events under these names
#: start nothing.
FACT_NAMES = {display_name(type): fact.__struct_fields__ for type, fact in registry.BY_TYPE.items()}


@dataclass(slots=True)
class Happened:
    """An event (`kind` is Segment's: track, page …) or a fact (`kind` is its type). `data` is decoded only when asked for."""

    name: str
    kind: str
    data: msgspec.Raw
    _variables: "tuple[dict[str, Any], dict[str, Any]] | None" = field(
        default=None, repr=False, compare=False, kw_only=True
    )
    _activation: Activation | None = field(default=None, repr=False, compare=False, kw_only=True)

    @property
    def of_app(self) -> bool:
        """Whether an app said it, not a service."""
        return self.kind in events.TYPES

    def variables(self, cause: Cause) -> tuple[dict[str, Any], dict[str, Any]]:
        """`event` and `customer`, as conditions and templates see them; made once."""
        if self._variables is None:
            self._variables = _variables(self, cause)
        return self._variables

    def activation(self, cause: Cause) -> Activation:
        """The same, made ready for conditions; made once."""
        if self._activation is None:
            self._activation = bind(*self.variables(cause))
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


def read(envelope: Envelope) -> Happened | None:
    """What a record means to rules; None for types that are not known (yet), and for apps that speak as a service."""
    kind = _KINDS.get(envelope.type)
    if kind is None:
        known = envelope.type in registry.BY_TYPE
        return Happened(display_name(envelope.type), envelope.type, envelope.data) if known else None
    name = events.event_name(kind, _named.decode(envelope.data).event)
    return None if name in FACT_NAMES else Happened(name, kind, envelope.data)


def _variables(happened: Happened, cause: Cause) -> tuple[dict[str, Any], dict[str, Any]]:
    if happened.of_app:
        data = _data.decode(happened.data)
        customer = data.customer
        said = {"properties": data.properties, "traits": data.traits, "context": data.context}
    else:
        properties = _fact.decode(happened.data)
        customer = msgspec.convert(properties.pop("customer"), Snapshot)
        said = {"properties": properties, "traits": {}, "context": {}}
    return event_variables(happened.name, happened.kind, cause, said), customer_variables(customer)


def event_variables(name: str, kind: str, cause: Cause, said: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`event`: id, name, type, source, time, received, properties, traits, context."""
    return {
        "id": cause.id,
        "name": name,
        "type": kind,
        "source": cause.source,
        "time": cause.time.isoformat(),
        "received": cause.received.isoformat(),
        **said,
    }


def customer_variables(customer: Snapshot) -> dict[str, Any]:
    """`customer`: id, traits, orders, revenue by currency, first_seen, last_seen; as they were at the event."""
    return {
        "id": customer.id,
        "traits": customer.traits,
        "orders": customer.orders,
        "revenue": customer.revenue,
        "first_seen": _iso(customer.first_seen),
        "last_seen": _iso(customer.last_seen),
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
