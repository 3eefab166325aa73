"""What triggers reads from the journal: anything that has a name; and the commands and delivery outcomes."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from libs.common import events, facts
from libs.common.cel import Activation, bind
from libs.common.fold.decider import Cause
from libs.common.records import Envelope, Snapshot, display_name

_KINDS = {type: kind for kind, type in events.TYPES.items()}
#: The names of facts, with the properties of each. An app cannot speak for a service: its events under these names
#: start nothing.
FACT_NAMES = {display_name(type): fact.__struct_fields__ for type, fact in facts.BY_TYPE.items()}


@dataclass(frozen=True, slots=True)
class Text:
    """A rendered message; or, in `missing` or `error`, why it could not be."""

    title: str | None = None
    text: str | None = None
    missing: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What a hook made of a record, beside the fact: where it goes, its text; or why it is withheld."""

    endpoint: str
    title: str | None = None
    text: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class Happened:
    """An event or a fact under the name that marketers know. `data` is decoded once, when it is asked for.

    `texts` and `made` keep by hook what was rendered and decided, so that the rows that are written show just that.
    """

    name: str
    kind: str
    data: msgspec.Raw
    texts: dict[str, Text] = field(default_factory=dict, repr=False, compare=False)
    made: dict[str, Made] = field(default_factory=dict, repr=False, compare=False)
    _variables: "tuple[dict[str, Any], dict[str, Any]] | None" = field(default=None, repr=False, compare=False)
    _activation: Activation | None = field(default=None, repr=False, compare=False)

    @property
    def of_app(self) -> bool:
        """Whether an app said it, not a service."""
        return self.kind in events.TYPES

    def variables(self, cause: Cause) -> tuple[dict[str, Any], dict[str, Any]]:
        """`event` and `customer`, as conditions and templates see them."""
        if self._variables is None:
            self._variables = _variables(self, cause)
        return self._variables

    def activation(self, cause: Cause) -> Activation:
        """The same, made ready for conditions."""
        if self._activation is None:
            self._activation = bind(*self.variables(cause))
        return self._activation

    def zone(self, cause: Cause, workspace: ZoneInfo) -> ZoneInfo:
        """The customer's time zone: their trait `timezone`, else the device's, else the workspace's."""
        event, customer = self.variables(cause)
        for name in (customer["traits"].get("timezone"), event["context"].get("timezone")):
            if isinstance(name, str) and name:
                try:
                    return ZoneInfo(name)
                except (ValueError, OSError, KeyError):  # none of the known zones, or a path that is none
                    continue
        return workspace


class Stop(msgspec.Struct, frozen=True):
    """The customer wants no messages any more."""

    by: str


class Resume(msgspec.Struct, frozen=True):
    """The customer wants messages again."""

    by: str


class See(msgspec.Struct, frozen=True):
    """The customer opened a message in their inbox."""

    message: str
    hook: str


class Settled(msgspec.Struct, frozen=True):
    """What became of a queued message. `reason` says why it was withheld or failed."""

    message: str
    hook: str
    version: int
    channel: facts.Channel
    state: Literal["sent", "failed", "withheld"]
    reason: str = ""


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
    """What a record means here; None for types that are not known (yet)."""
    kind = _KINDS.get(envelope.type)
    if kind is None:
        known = envelope.type in facts.BY_TYPE
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
