"""Metrics as a decider of the fold: reads inputs from records, and calls the pure functions of `domain/`."""

from datetime import date

import msgspec

from libs.common.contracts import orders
from libs.common.contracts.events import TYPES
from libs.common.contracts.input import Input
from libs.common.contracts.records import Envelope
from libs.common.db.pool import Tx
from libs.common.fold.decider import Applied
from services.metrics import store
from services.metrics.domain.decide import Decision, decide
from services.metrics.domain.evolve import absorb, evolve
from services.metrics.domain.inputs import Active, Cancelled, Ordered, Refunded
from services.metrics.domain.state import SECTIONS, Customer
from services.metrics.settings import Settings

_CLIENT_TYPES = frozenset(TYPES.values())


class _EventName(msgspec.Struct):
    event: str | None = None


_event_name = msgspec.json.Decoder(_EventName)


class MetricsDecider:
    """What the fold calls. Purchases and activity come from the journal; scores come from fits, as commands."""

    source = "/metrics"
    state = Customer
    decision = Decision
    sections = SECTIONS
    shared = None

    def __init__(self, settings: Settings) -> None:
        self._zone = settings.zone
        self._partitions = settings.partitions

    def read(self, envelope: Envelope, rules: None) -> Ordered | Refunded | Cancelled | Active | None:
        """The input of a client event; None for facts. Raises ValueError or DecodeError if an order's amount or currency is
        not valid."""
        if envelope.type not in _CLIENT_TYPES:
            return None
        day = envelope.time.astimezone(self._zone).date()
        event = _event_name.decode(envelope.data).event if envelope.type == "track.v1" else None
        return _read(envelope, day) if event in orders.EVENTS else Active(day)

    def stateless(self, body: object, rules: None) -> bool:
        """Activity is a row of its own and does not read the customer's state."""
        return isinstance(body, Active)

    def decide(self, state: Customer, input: Input, rules: None) -> Decision:
        return decide(state, input, rules)

    def evolve(self, state: Customer, input: Input, decision: Decision) -> None:
        evolve(state, input, decision)

    def absorb(self, survivor: Customer, other: Customer) -> None:
        absorb(survivor, other)

    async def rules(self, tx: Tx, rulebook: int) -> None:
        """Metrics has no rules: what counts as a purchase is not configurable."""

    async def project(self, tx: Tx, applied: list[Applied[Customer]]) -> None:
        """Write purchases, activity and scores of the batch's customers, and add their changes to the totals."""
        if applied:
            await store.project(tx, applied, self._partitions)


def _read(envelope: Envelope, day: date) -> Ordered | Refunded | Cancelled | Active:
    match orders.read(envelope.data, envelope.id):
        case orders.OrderCompleted(id, money, currency):
            return Ordered(id, day, money.minor if money else 0, currency)
        case orders.OrderRefunded(str(id), refund, back):
            return Refunded(id, refund, day, back)
        case orders.OrderCancelled(str(id)):
            return Cancelled(id, day)
        case _:  # a refund that names no order
            return Active(day)
