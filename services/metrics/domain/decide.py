"""What follows for one customer: news only when a fit moves them to another band; and how their purchases change."""

from datetime import date

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.metrics import ScoreChanged
from libs.common.fold import decider
from services.metrics.domain.book import Book, book
from services.metrics.domain.histogram import Cell
from services.metrics.domain.inputs import Cancelled, Ordered, Refunded, Scored
from services.metrics.domain.purchases import Purchases
from services.metrics.domain.state import DAY, ORDER, Customer, Span


class Change(msgspec.Struct, frozen=True):
    """One order as it is now, with what it adds to rows and totals: lines, and the customer's cell, before and after."""

    order: str
    purchase: Purchases
    before: Book
    after: Book
    days: dict[date, int]
    """Counted orders of the days on which another number of them counts now."""
    span: Span | None
    was: Cell | None
    now: Cell | None


class Decision(decider.Decision):
    """The facts, and what a purchase changes."""

    change: Change | None = None


def decide(customer: Customer, input: Input, rules: None) -> Decision:
    """Pure: no clock, no I/O, `customer` unchanged. Orders and refunds lead to no facts: scores come from fits."""
    match input.body:
        case Ordered() | Refunded() | Cancelled() as body:
            return Decision(change=_change(customer, body))
        case Scored() as new if holds(customer, new) and (customer.score is None or new.bands != customer.score.bands):
            changed = ScoreChanged(
                fit=new.fit,
                as_of=new.as_of,
                risk=new.risk,
                risk_band=new.risk_band,
                cltv=new.cltv,
                value_band=new.value_band,
                currency=new.currency,
            )
            return Decision(facts=[changed])
        case _:
            return Decision()


def holds(customer: Customer, new: Scored) -> bool:
    """Whether a score is to be taken: the customer has bought, and no newer fit has scored them."""
    if customer.span is None:
        return False
    return customer.score is None or new.precedence >= customer.score.precedence


def _change(customer: Customer, body: Ordered | Refunded | Cancelled) -> Change:
    known: Purchases | None = customer.sections.get(ORDER, body.order)
    purchase = _told(known or Purchases(), body)
    before, after = book(known or Purchases()), book(purchase)
    days: dict[date, int] = {}
    for lines, by in ((before, -1), (after, +1)):
        for key in lines:
            days[key.day] = days.get(key.day, 0) + by
    counts = {day: (customer.sections.get(DAY, day.isoformat()) or 0) + by for day, by in days.items() if by}
    span = _span(customer, counts)
    return Change(body.order, purchase, before, after, counts, span, cell_of(customer.span), cell_of(span))


def _told(purchase: Purchases, body: Ordered | Refunded | Cancelled) -> Purchases:
    """The purchase as it is once this was told; the one given stays as it is."""
    told = purchase.copied()
    match body:
        case Ordered(order, day, minor, currency):
            told.complete(order, day, minor, currency)
        case Refunded(order, refund, _, back):
            told.refund(order, refund, back)
        case Cancelled(order):
            told.cancel(order)
    return told


def _span(customer: Customer, counts: dict[date, int]) -> Span | None:
    """The customer's purchase days, when these days have other counts."""
    span = customer.span
    gone = {day for day, count in counts.items() if not count}
    new = {day for day, count in counts.items() if count and customer.sections.get(DAY, day.isoformat()) is None}
    days = (span.days if span else 0) + len(new) - len(gone)
    if not days:
        return None
    ends = set(new)
    if span is not None:
        ends |= {span.first, span.last} - gone
        if span.first in gone and days > len(new):
            ends.add(next(day for day in _kept(customer) if day not in gone))
        if span.last in gone and days > len(new):
            ends.add(max(day for day in map(date.fromisoformat, customer.sections.every(DAY)) if day not in gone))
    return Span(days, min(ends), max(ends))


def _kept(customer: Customer) -> "map[date]":
    """The days on which orders count, from the first."""
    return map(date.fromisoformat, (day for day, _ in customer.sections.open(DAY)))


def cell_of(span: Span | None) -> Cell | None:
    """Where a customer stands in the histogram."""
    return None if span is None else Cell(span.days - 1, (span.last - span.first).days, span.first)
