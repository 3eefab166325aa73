"""What refunds take back. All of it is a function of what is known of an order, so that the order of arrival is no matter."""

from collections.abc import Mapping

from msgspec.structs import replace

from libs.common.contracts.orders import united
from services.rewards.inputs import OrderCompleted, OrderRefunded
from services.rewards.ledger.state import Credit, Lot, Order


def completed(waiting: Order | None, event: OrderCompleted) -> Order:
    """The order as it is once it has happened, with the refunds that waited for it."""
    minor = None if event.money is None else event.money.minor
    return Order(minor, event.currency, True, refunds=dict(waiting.refunds) if waiting else {})


def refunded(order: Order, refund: OrderRefunded) -> Order:
    """The order with one more refund, or one that was known."""
    return replace(order, refunds=united(order.refunds, {refund.refund: refund.back}))


def voided(order: Order) -> Order:
    """The order; one that was wholly given back counts for nothing any more."""
    return replace(order, void=order.void or (order.counted and order.whole))


def share(points: int, order: Order) -> int:
    """How many of the `points` that an order gave its refunds take back, in total.

    In proportion to the amount given back, rounded down over all refunds together (in the customer's favour), and
    exactly all of them once the whole order is given back. Never more than were given.
    """
    if not order.refunds:
        return 0
    if order.whole:
        return points
    return points * order.refunded // (order.minor or 1)


def due(credit: Credit, order: Order) -> dict[str, int]:
    """By rule: the points of an order that are to be taken back and have not been yet, with the order as given here."""
    found: dict[str, int] = {}
    for lot in credit.lots:
        owed = (lot.points if lot.duplicate else share(lot.points, order)) - lot.reversed
        if owed > 0 and lot.rule is not None:
            found[lot.rule] = found.get(lot.rule, 0) + owed
    return found


def taken_back(credit: Credit, by_rule: Mapping[str, int]) -> tuple[Credit, int]:
    """The credit after points of its rules were taken back; and how many of them are no longer there, to be taken elsewhere."""
    lots: list[Lot] = []
    left, spent = dict(by_rule), 0
    for lot in credit.lots:
        back = min(left.get(lot.rule or "", 0), lot.points - lot.reversed)
        here = min(back, lot.remaining)
        lots.append(replace(lot, reversed=lot.reversed + back, remaining=lot.remaining - here) if back else lot)
        left[lot.rule or ""] = left.get(lot.rule or "", 0) - back
        spent += back - here
    return replace(credit, lots=tuple(lots)), spent
