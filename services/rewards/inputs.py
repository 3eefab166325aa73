"""What rewards reads from the journal: orders, refunds, and anything else that has a name; and the adjustment."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from libs.common.contracts import orders
from libs.common.contracts.money import Money
from libs.common.contracts.orders import Back
from libs.common.contracts.records import Envelope
from libs.common.rules import rule_event
from libs.common.rules.rule_event import RuleEvent

#: The names of what is read under any programme.
ALWAYS_READ = (orders.COMPLETED, orders.REFUNDED, orders.CANCELLED)


@dataclass(frozen=True, slots=True)
class OrderCompleted(RuleEvent):
    """`money` is None when the order names no amount."""

    order: str = ""
    money: Money | None = None
    currency: str = ""


@dataclass(frozen=True, slots=True)
class OrderRefunded(RuleEvent):
    """A refund, or a cancellation, which is one of the whole order; `refund` is what it is counted by."""

    order: str = ""
    refund: str = ""
    back: Back = None


class Adjust(msgspec.Struct, frozen=True):
    """A person gives (positive) or takes (negative) points, for a reason."""

    points: int
    reason: str


class Expire(msgspec.Struct, frozen=True):
    """The time has come at which points are lost."""

    until: datetime


def read(envelope: Envelope) -> RuleEvent | None:
    """What a record means here; None for what concerns no rule. Raises DecodeError or ValueError on bad money."""
    event = rule_event.read(envelope)
    if event is None or event.kind != "track" or event.name not in orders.EVENTS:
        return event
    name, kind, data = event.name, event.kind, event.data
    match orders.read(data, envelope.id):
        case orders.OrderCompleted(id, money, currency):
            return OrderCompleted(name, kind, data, order=id, money=money, currency=currency)
        case orders.OrderRefunded(str(id), refund, back):
            return OrderRefunded(name, kind, data, order=id, refund=refund, back=back)
        case orders.OrderCancelled(str(id)):
            return OrderRefunded(name, kind, data, order=id, refund=envelope.id)
        case _:  # a refund of no order that could be found: an event like any other
            return event
