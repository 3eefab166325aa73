"""Metrics as a decider: what it reads of a record, and the pure functions of `domain/`."""

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
from services.metrics.domain.evolve import evolve
from services.metrics.domain.inputs import Active, Cancelled, Ordered, Refunded
from services.metrics.domain.state import SECTIONS, Customer, absorb
from services.metrics.settings import Settings

_CLIENT = frozenset(TYPES.values())


class _Named(msgspec.Struct):
    event: str | None = None


_named = msgspec.json.Decoder(_Named)


class Metrics:
    """Orders, refunds, cancellations and marks of activity from the journal; scores from fits, as commands."""

    source = "/metrics"
    state = Customer
    decision = Decision
    sections = SECTIONS
    shared = None

    def __init__(self, settings: Settings) -> None:
        self._zone = settings.zone
        self._partitions = settings.partitions

    def read(self, envelope: Envelope, rules: None) -> Ordered | Refunded | Cancelled | Active | None:
        """None for facts. Raises ValueError or DecodeError for an order whose amount or currency is none."""
        if envelope.type not in _CLIENT:
            return None
        day = envelope.time.astimezone(self._zone).date()
        event = _named.decode(envelope.data).event if envelope.type == "track.v1" else None
        return _read(envelope, day) if event in orders.EVENTS else Active(day)

    def stateless(self, body: object, rules: None) -> bool:
        """That a customer was active is a row of its own."""
        return isinstance(body, Active)

    def decide(self, state: Customer, input: Input, rules: None) -> Decision:
        return decide(state, input, rules)

    def evolve(self, state: Customer, input: Input, decision: Decision) -> None:
        evolve(state, input, decision)

    def absorb(self, survivor: Customer, other: Customer) -> None:
        absorb(survivor, other)

    async def rules(self, tx: Tx, rulebook: int) -> None:
        """None: what counts as a purchase is not configurable."""

    async def project(self, tx: Tx, applied: list[Applied[Customer]]) -> None:
        """Write purchases, activity and scores of the batch's customers, and what they change in the shared totals."""
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
        case _:  # a refund of no order that could be found
            return Active(day)
