"""What metrics remembers of one customer. Their purchases lie in sections: an order each, and a count for each day."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import msgspec

from libs.common.fold.sections import One, Section, Sectioned, SectionKinds, Wanted
from services.metrics.domain.book import book
from services.metrics.domain.inputs import Cancelled, Ordered, Refunded, Scored
from services.metrics.domain.purchases import Purchases
from services.metrics.domain.purchases import absorb as absorb_purchases

#: Kinds of sections: an order with its refunds (by its id); how many orders count on a day (by the day, ranked by it).
ORDER, DAY = "order", "day"


class Span(msgspec.Struct, frozen=True, array_like=True):
    """On how many days a customer bought, the first and the last of them."""

    days: int
    first: date
    last: date


class Customer(Sectioned, omit_defaults=True):
    """The days of their purchases (None before one), and the score that the newest fit gave them (None before one, or without
    a purchase)."""

    span: Span | None = None
    score: Scored | None = None


def named(body: Any, rules: None) -> Iterator[Wanted]:
    """The sections that a body is about."""
    match body:
        case Ordered(order, day):
            yield from (One(ORDER, order), One(DAY, day.isoformat()))
        case Refunded(order) | Cancelled(order):
            yield One(ORDER, order)


SECTIONS = SectionKinds({ORDER: Purchases, DAY: int}, named)


def absorb(survivor: Customer, other: Customer) -> None:
    """Two customers were one: their purchases are united, and the newer score stays until the next fit. Total."""
    survivor.sections.absorb(other.sections, _joined)
    counts = dict.fromkeys(map(date.fromisoformat, survivor.sections.every(DAY)), 0)
    for purchase in survivor.sections.every(ORDER).values():
        for key in book(purchase):
            counts[key.day] = counts.get(key.day, 0) + 1
    for day, orders in counts.items():
        count(survivor, day, orders)
    bought = [day for day, orders in counts.items() if orders]
    survivor.span = Span(len(bought), min(bought), max(bought)) if bought else None
    if other.score and (survivor.score is None or other.score.precedence > survivor.score.precedence):
        survivor.score = other.score
    forget_score_without_purchase(survivor)


def count(customer: Customer, day: date, orders: int) -> None:
    """So many orders count on a day."""
    if orders:
        customer.sections.set(DAY, day.isoformat(), orders, day.toordinal())
    else:
        customer.sections.delete(DAY, day.isoformat())


def forget_score_without_purchase(customer: Customer) -> None:
    """Who has bought nothing has no score: so when their last order was cancelled. Total."""
    if customer.span is None:
        customer.score = None


def _joined(kind: str, ours: Any, theirs: Any) -> Section:
    if kind == DAY:  # counted anew, from the orders
        return Section(ours)
    both: Purchases = ours.copied()
    absorb_purchases(both, theirs)
    return Section(both)
