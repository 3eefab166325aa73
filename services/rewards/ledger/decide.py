"""What the ledger decides: what refunds take back, adjustments, and points that are lost. Pure; the wallet stays as it is."""

from datetime import datetime

from msgspec import UNSET, UnsetType

from libs.common.contracts.rewards import PointsAdjusted, PointsExpired
from libs.common.errors import Conflict
from libs.common.fold.decider import Merged
from services.rewards.course import Course
from services.rewards.inputs import Adjust, Expire, OrderCompleted, OrderRefunded
from services.rewards.ledger.refunds import completed, due, refunded, share
from services.rewards.ledger.state import Wallet


def decide(wallet: Wallet, course: Course) -> None:
    """Raises Conflict for an adjustment that would make the balance negative."""
    match course.input.body:
        case OrderCompleted() as event:
            _complete(wallet, course, event)
        case OrderRefunded() as refund:
            _refund(wallet, course, refund)
        case Adjust() as adjust:
            course.facts.append(_adjusted(wallet, adjust, course.expires_at))
        case Expire(until):
            if lost := sum(lot.remaining for lot in wallet.expiring(until)):
                course.facts.append(PointsExpired(points=lost, balance=wallet.balance - lost, until=until))
        case Merged():
            _settle(wallet, course)


def _complete(wallet: Wallet, course: Course, event: OrderCompleted) -> None:
    """Of what the order has just earned, refunds that came before it take back their share."""
    order = completed(wallet.orders.get(event.order), event)
    course.counts = not order.whole
    course.reverse(event.order, {rule: share(points, order) for rule, points in course.earned.items()})


def _refund(wallet: Wallet, course: Course, refund: OrderRefunded) -> None:
    if not wallet.has_counted(refund.order):
        return  # it waits for its order
    order = refunded(wallet.orders[refund.order], refund)
    course.reverse(refund.order, due(wallet, refund.order, order))
    if order.whole and not order.void:
        course.voided.append(refund.order)


def _settle(wallet: Wallet, course: Course) -> None:
    """After a merge: orders counted twice, and refunds that have met their order."""
    doubled = {lot.order for lot in wallet.lots if lot.double}
    for id, order in wallet.orders.items():
        if not order.counted or not (order.refunds or id in doubled):
            continue
        course.reverse(id, due(wallet, id, order))
        if order.whole and not order.void:
            course.voided.append(id)


def _adjusted(wallet: Wallet, adjust: Adjust, expires_at: datetime | UnsetType) -> PointsAdjusted:
    balance = wallet.balance + adjust.points
    if adjust.points < 0 and balance < 0:
        raise Conflict(
            f"the customer has {wallet.balance} points, so {-adjust.points} cannot be taken: take {wallet.balance} at most"
            if wallet.balance > 0
            else f"the customer has {wallet.balance} points, so none can be taken"
        )
    expires = expires_at if adjust.points > 0 else UNSET
    return PointsAdjusted(points=adjust.points, balance=balance, reason=adjust.reason, expires_at=expires)
