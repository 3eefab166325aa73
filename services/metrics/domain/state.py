"""The state of one customer. Their purchases are sections: one for each order, and a number of orders for each day."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import msgspec

from libs.common.fold.sections import One, Section, Sectioned, SectionKinds, Wanted
from services.metrics.domain.inputs import Cancelled, Ordered, Refunded, Scored
from services.metrics.domain.purchase_days import purchase_days_of
from services.metrics.domain.purchases import Purchases
from services.metrics.domain.purchases import absorb as absorb_purchases

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


def absorb(survivor: Customer, other: Customer) -> None:
    """Merge `other` into `survivor`: unite their purchases, keep the newer score until the next fit. Never fails."""
    survivor.sections.absorb(other.sections, _united)
    counts = dict.fromkeys(map(date.fromisoformat, survivor.sections.every(DAY)), 0)
    for purchase in survivor.sections.every(ORDER).values():
        for key in purchase_days_of(purchase):
            counts[key.day] = counts.get(key.day, 0) + 1
    for day, orders in counts.items():
        set_order_count(survivor, day, orders)
    bought = [day for day, orders in counts.items() if orders]
    survivor.span = Span(len(bought), min(bought), max(bought)) if bought else None
    if other.score and (survivor.score is None or other.score.precedence > survivor.score.precedence):
        survivor.score = other.score
    drop_score_without_purchases(survivor)


def set_order_count(customer: Customer, day: date, orders: int) -> None:
    """Set the number of orders that count on a day."""
    if orders:
        customer.sections.set(DAY, day.isoformat(), orders, day.toordinal())
    else:
        customer.sections.delete(DAY, day.isoformat())


def drop_score_without_purchases(customer: Customer) -> None:
    """A customer without purchases has no score, for example after their only order was cancelled."""
    if customer.span is None:
        customer.score = None


def _united(kind: str, ours: Any, theirs: Any) -> Section:
    if kind == DAY:  # `absorb` counts again, from the orders
        return Section(ours)
    both: Purchases = ours.copied()
    absorb_purchases(both, theirs)
    return Section(both)
