"""How an account changes for what event and what was decided. Total: it never fails."""

from collections.abc import Sequence
from datetime import datetime

from libs.common.contracts.input import Input
from libs.common.contracts.records import Fact
from libs.common.contracts.rewards import (
    BadgeEarned,
    BadgeRevoked,
    LevelReached,
    PointsAdjusted,
    PointsCredited,
    PointsExpired,
    PointsReversed,
)
from libs.common.fold.decider import Merged
from services.rewards.domain.decide import Decision, completed, refunded
from services.rewards.domain.inputs import OrderCompleted, OrderRefunded
from services.rewards.domain.state import Account, Lot, Order, Progress


def evolve(account: Account, input: Input, decision: Decision) -> None:
    """Apply one cause and what `decide` said about it."""
    badges = [badge.id for badge in decision.counted]
    match input.body:
        case OrderCompleted() as event if not account.has_counted(event.order):
            order = completed(account.orders.get(event.order), event)
            order.void = order.whole
            order.badges = badges
            account.orders[event.order] = order
        case OrderRefunded() as refund:
            order = refunded(account.orders.get(refund.order) or Order(), refund)
            account.orders[refund.order] = order
            _void(account, order)
        case Merged():
            for order in account.orders.values():
                _void(account, order)
    for badge in decision.counted:
        account.badges.setdefault(badge.id, Progress()).count += 1
    for badge in decision.awarded.values():
        progress = account.badges.setdefault(badge.id, Progress())
        progress.every, progress.repeatable = badge.count, badge.repeatable
    for fact in decision.facts:
        _apply(account, fact, input.time)


def _apply(account: Account, fact: Fact, time: datetime) -> None:
    match fact:
        case PointsCredited():
            credit(account, fact.points, time, fact.rule, fact.order_id, fact.expires_at or None)
            account.qualifying += fact.points
        case PointsReversed():
            reverse(account, fact.points, fact.rule, fact.order_id)
            account.qualifying -= fact.points
        case PointsAdjusted() if fact.points > 0:
            credit(account, fact.points, time, None, None, fact.expires_at or None)
        case PointsAdjusted():
            take(account, -fact.points, account.lots)
            account.balance += fact.points
        case PointsExpired():
            for lot in account.expiring(fact.until):
                lot.reversed += lot.remaining
                account.balance -= lot.remaining
                lot.remaining = 0
        case BadgeEarned():
            progress = account.badges.setdefault(fact.badge, Progress())
            progress.earned, progress.earned_at = fact.occurrence, time
        case BadgeRevoked():
            progress = account.badges.setdefault(fact.badge, Progress())
            progress.earned = fact.occurrence - 1
        case LevelReached():
            account.level = fact.level or None


def credit(
    account: Account, points: int, at: datetime, rule: str | None, order: str | None, expires_at: datetime | None = None
) -> None:
    """A new lot, of which a debt is repaid first."""
    repaid = min(account.debt, points)
    account.debt -= repaid
    account.lots.append(Lot(points, points - repaid, 0, at, rule, order, expires_at=expires_at))
    account.balance += points


def reverse(account: Account, points: int, rule: str, order: str) -> None:
    """Take points back out of the lots that they came from; what is no longer there, out of the oldest others."""
    account.balance -= points
    for lot in account.lots_of(order):
        if lot.rule == rule:
            part = min(points, lot.points - lot.reversed)
            lot.reversed += part
            take(account, part, [lot])
            points -= part


def take(account: Account, points: int, first: Sequence[Lot]) -> None:
    """Take points out of `first`, then out of any lot, the oldest before the newer ones; what is missing is owed."""
    for lots in (first, account.lots):
        for lot in sorted(lots, key=lambda lot: lot.earned_at) if points else ():
            part = min(points, lot.remaining)
            lot.remaining -= part
            points -= part
    account.debt += points


def _void(account: Account, order: Order) -> None:
    """An order that was wholly given back no longer counts for badges."""
    if order.counted and not order.void and order.whole:
        order.void = True
        for badge in order.badges:
            account.badges[badge].count -= 1
