"""What rewards reads from the journal: orders, refunds, and anything else that has a name; and the adjustment."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from libs.common.contracts import orders
from libs.common.contracts.money import Money
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
    """A refund, or a cancellation, of `minor` units; None is all of the order."""

    order: str = ""
    minor: int | None = None
    currency: str = ""


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
    if event is None or event.kind != "track":
        return event
    name, kind, data = event.name, event.kind, event.data
    if name == orders.COMPLETED:
        order = orders.decode_order(data)
        return OrderCompleted(name, kind, data, order=order.order, money=order.money, currency=_currency(order))
    if name in (orders.REFUNDED, orders.CANCELLED):
        refund = orders.decode_order(data)
        money = refund.money if name == orders.REFUNDED else None
        minor = None if money is None else money.minor
        return OrderRefunded(name, kind, data, order=refund.order, minor=minor, currency=_currency(refund))
    return event


def _currency(order: orders.OrderEvent) -> str:
    return (order.properties.currency or order.currency).upper()
