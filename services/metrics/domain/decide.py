"""The rules of metrics for one customer: how an order changes their purchases, and when a new score is a fact."""

from collections.abc import Iterator
from datetime import date

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.metrics import ScoreChanged
from libs.common.fold import decider
from services.metrics.domain.inputs import Cancelled, Ordered, Refunded, Scored
from services.metrics.domain.purchase_days import PurchaseDays, purchase_days_of
from services.metrics.domain.purchases import Purchases
from services.metrics.domain.rfm import RfmCell
from services.metrics.domain.state import DAY, ORDER, Customer, Span


class Change(msgspec.Struct, frozen=True):
    """One order as it is now, with its purchase days and the customer's RFM cell before and after."""

    order: str
    purchase: Purchases
    days_before: PurchaseDays
    days_after: PurchaseDays
    order_counts: dict[date, int]
    """The orders that now count on each day whose number of orders has changed."""
    span: Span | None
    cell_before: RfmCell | None
    cell_after: RfmCell | None


class Decision(decider.Decision):
    """The facts, and how purchases change."""

    change: Change | None = None


def decide(customer: Customer, input: Input, rules: None) -> Decision:
    """Pure: no clock, no I/O, `customer` unchanged. Orders and refunds give no facts: only fits change scores."""
    match input.body:
        case Ordered() | Refunded() | Cancelled() as body:
            return Decision(change=_change(customer, body))
        case Scored() as new if replaces_score(customer, new) and (
            customer.score is None or new.bands != customer.score.bands
        ):
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


def replaces_score(customer: Customer, new: Scored) -> bool:
    """Whether the customer takes a score: they have bought, and no newer fit has scored them."""
    if customer.span is None:
        return False
    return customer.score is None or new.precedence >= customer.score.precedence


def _change(customer: Customer, body: Ordered | Refunded | Cancelled) -> Change:
    known: Purchases | None = customer.sections.get(ORDER, body.order)
    purchase = _applied(known or Purchases(), body)
    before, after = purchase_days_of(known or Purchases()), purchase_days_of(purchase)
    changes: dict[date, int] = {}
    for days, orders in ((before, -1), (after, +1)):
        for key in days:
            changes[key.day] = changes.get(key.day, 0) + orders
    counts = {day: (customer.sections.get(DAY, day.isoformat()) or 0) + by for day, by in changes.items() if by}
    span = _span(customer, counts)
    return Change(body.order, purchase, before, after, counts, span, cell_of_span(customer.span), cell_of_span(span))


def _applied(purchase: Purchases, body: Ordered | Refunded | Cancelled) -> Purchases:
    """A changed copy of `purchase`."""
    changed = purchase.copied()
    match body:
        case Ordered(order, day, minor, currency):
            changed.complete(order, day, minor, currency)
        case Refunded(order, refund, _, back):
            changed.refund(order, refund, back)
        case Cancelled(order):
            changed.cancel(order)
    return changed


def _span(customer: Customer, counts: dict[date, int]) -> Span | None:
    """The customer's span with these numbers of orders. Reads further days only if the first or the last one is gone."""
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
            ends.add(next(day for day in _days_ascending(customer) if day not in gone))
        if span.last in gone and days > len(new):
            ends.add(max(day for day in map(date.fromisoformat, customer.sections.every(DAY)) if day not in gone))
    return Span(days, min(ends), max(ends))


def _days_ascending(customer: Customer) -> Iterator[date]:
    """The customer's purchase days, the first one first."""
    return map(date.fromisoformat, (day for day, _ in customer.sections.open(DAY)))


def cell_of_span(span: Span | None) -> RfmCell | None:
    """The customer's RFM cell; None before a purchase."""
    return None if span is None else RfmCell(span.days - 1, (span.last - span.first).days, span.first)
