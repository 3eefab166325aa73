"""The state of one customer. Their purchases are sections: one for each order, and a number of orders for each day."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import msgspec

from libs.common.fold.sections import One, Sectioned, SectionKinds, Wanted
from services.metrics.domain.inputs import Cancelled, Ordered, Refunded, Scored
from services.metrics.domain.purchases import Purchases

#: Kinds of sections: an order with its refunds, by its id; the number of orders that count on a day, ranked by the day.
ORDER, DAY = "order", "day"


class Span(msgspec.Struct, frozen=True, array_like=True):
    """The number of a customer's purchase days, the first and the last of them."""

    days: int
    first: date
    last: date


class Customer(Sectioned, omit_defaults=True):
    """The span of their purchase days (None before a purchase), and the score by the newest fit (None before one, or
    without a purchase)."""

    span: Span | None = None
    score: Scored | None = None


def named(body: Any, rules: None) -> Iterator[Wanted]:
    """The sections that an input reads."""
    match body:
        case Ordered(order, day):
            yield from (One(ORDER, order), One(DAY, day.isoformat()))
        case Refunded(order) | Cancelled(order):
            yield One(ORDER, order)


SECTIONS = SectionKinds({ORDER: Purchases, DAY: int}, named)
