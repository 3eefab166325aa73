"""Reversals by refunds. They follow from what is known of an order, so the order of arrival does not matter."""

from collections.abc import Mapping

from msgspec.structs import replace

from libs.common.contracts.orders import united
from services.rewards.inputs import OrderCompleted, OrderRefunded
from services.rewards.ledger.state import Credit, Lot, Order


def completed(waiting: Order | None, event: OrderCompleted) -> Order:
    """The completed order, with the refunds that waited for it."""
    minor = None if event.money is None else event.money.minor
    return Order(minor, event.currency, True, refunds=dict(waiting.refunds) if waiting else {})


def refunded(order: Order, refund: OrderRefunded) -> Order:
    """The order with another refund; a known refund counts once."""
    return replace(order, refunds=united(order.refunds, {refund.refund: refund.back}))


def voided(order: Order) -> Order:
    """The order, marked void if it was refunded whole: then it counts for nothing."""
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
    """The points of an order to take back now, by rule, given the order's refunds."""
    found: dict[str, int] = {}
    for lot in credit.lots:
        owed = (lot.points if lot.duplicate else share(lot.points, order)) - lot.reversed
        if owed > 0 and lot.rule is not None:
            found[lot.rule] = found.get(lot.rule, 0) + owed
    return found


def taken_back(credit: Credit, by_rule: Mapping[str, int]) -> tuple[Credit, int]:
    """Take back points from a credit, by rule. Returns the credit, and the number of points that were already spent
    and must come from elsewhere."""
    lots: list[Lot] = []
    left, spent = dict(by_rule), 0
    for lot in credit.lots:
        back = min(left.get(lot.rule or "", 0), lot.points - lot.reversed)
        here = min(back, lot.remaining)
        lots.append(replace(lot, reversed=lot.reversed + back, remaining=lot.remaining - here) if back else lot)
        left[lot.rule or ""] = left.get(lot.rule or "", 0) - back
        spent += back - here
    return replace(credit, lots=tuple(lots)), spent
