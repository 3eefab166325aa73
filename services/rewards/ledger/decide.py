"""The ledger's decisions: reversals by refunds, adjustments, expiry. Pure; they do not change the wallet."""

from datetime import datetime

from msgspec import UNSET, UnsetType

from libs.common.contracts.rewards import PointsAdjusted, PointsExpired
from libs.common.errors import Conflict
from libs.common.fold.decider import Merged
from services.rewards.course import Course
from services.rewards.inputs import Adjust, Expire, OrderCompleted, OrderRefunded
from services.rewards.ledger.refunds import completed, due, refunded, share, taken_back
from services.rewards.ledger.state import Wallet, order_key, order_of


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
            _expire(wallet, course, until)
        case Merged():
            _settle(wallet, course)


def _complete(wallet: Wallet, course: Course, event: OrderCompleted) -> None:
    """Refunds that came before the order take back their share of what it earns."""
    order = completed(wallet.credit(order_key(event.order)).order, event)
    course.counts = not order.whole
    back = {rule: share(points, order) for rule, points in course.earned.items()}
    course.reverse(event.order, back)
    if wallet.debt:  # what the order earns repays it first, so that what is taken back is not there any more
        wallet.reach(sum(back.values()))


def _refund(wallet: Wallet, course: Course, refund: OrderRefunded) -> None:
    key = order_key(refund.order)
    credit = wallet.credit(key)
    if credit.order is None or not credit.order.counted:
        return  # it waits for its order
    order = refunded(credit.order, refund)
    back = due(credit, order)
    course.reverse(refund.order, back)
    wallet.reach(taken_back(credit, back)[1], besides=key)
    if order.whole and not order.void:
        course.voided.append(refund.order)


def _expire(wallet: Wallet, course: Course, until: datetime) -> None:
    lots = [lot for _, credit in wallet.expiring(until) for lot in credit.lots if lot.expires_by(until)]
    if lost := sum(lot.remaining for lot in lots):
        course.facts.append(PointsExpired(points=lost, balance=wallet.balance - lost, until=until))


def _settle(wallet: Wallet, course: Course) -> None:
    """After a merge: reverse orders that were counted twice, and refunds that have met their order."""
    for key, credit in wallet.credits().items():
        order, id = credit.order, order_of(key)
        if id is None or order is None or not order.counted:
            continue
        if order.refunds or any(lot.duplicate for lot in credit.lots):
            course.reverse(id, due(credit, order))
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
    wallet.reach(-adjust.points)
    expires = expires_at if adjust.points > 0 else UNSET
    return PointsAdjusted(points=adjust.points, balance=balance, reason=adjust.reason, expires_at=expires)
