"""How a wallet changes for what happened and what was decided. Total: it never fails. Nothing else writes balances."""

from collections.abc import Sequence
from datetime import datetime

from libs.common.contracts.input import Input
from libs.common.contracts.records import Fact
from libs.common.contracts.rewards import PointsAdjusted, PointsCredited, PointsExpired, PointsReversed
from libs.common.fold.decider import Merged
from services.rewards.inputs import OrderCompleted, OrderRefunded
from services.rewards.ledger.refunds import completed, refunded
from services.rewards.ledger.state import Lot, Order, Wallet


def evolve(wallet: Wallet, input: Input, facts: Sequence[Fact]) -> None:
    """Apply one input and the facts decided on it."""
    match input.body:
        case OrderCompleted() as event if not wallet.has_counted(event.order):
            order = completed(wallet.orders.get(event.order), event)
            order.void = order.whole
            wallet.orders[event.order] = order
        case OrderRefunded() as refund:
            order = refunded(wallet.orders.get(refund.order) or Order(), refund)
            wallet.orders[refund.order] = order
            _void(order)
        case Merged():
            for order in wallet.orders.values():
                _void(order)
    for fact in facts:
        _apply(wallet, fact, input.time)


def _apply(wallet: Wallet, fact: Fact, time: datetime) -> None:
    match fact:
        case PointsCredited():
            credit(wallet, fact.points, time, fact.rule, fact.order_id, fact.expires_at or None)
            wallet.qualifying += fact.points
        case PointsReversed():
            reverse(wallet, fact.points, fact.rule, fact.order_id)
            wallet.qualifying -= fact.points
        case PointsAdjusted() if fact.points > 0:
            credit(wallet, fact.points, time, None, None, fact.expires_at or None)
        case PointsAdjusted():
            debit(wallet, -fact.points, wallet.lots)
            wallet.balance += fact.points
        case PointsExpired():
            for lot in wallet.expiring(fact.until):
                lot.reversed += lot.remaining
                wallet.balance -= lot.remaining
                lot.remaining = 0


def credit(
    wallet: Wallet, points: int, at: datetime, rule: str | None, order: str | None, expires_at: datetime | None = None
) -> None:
    """A new lot, of which a debt is repaid first."""
    repaid = min(wallet.debt, points)
    wallet.debt -= repaid
    wallet.lots.append(Lot(points, points - repaid, 0, at, rule, order, expires_at=expires_at))
    wallet.balance += points


def reverse(wallet: Wallet, points: int, rule: str, order: str) -> None:
    """Take points back out of the lots that they came from; what is no longer there, out of the oldest others."""
    wallet.balance -= points
    for lot in wallet.lots_of(order):
        if lot.rule == rule:
            part = min(points, lot.points - lot.reversed)
            lot.reversed += part
            debit(wallet, part, [lot])
            points -= part


def debit(wallet: Wallet, points: int, first: Sequence[Lot]) -> None:
    """Take points out of `first`, then out of any lot, the oldest before the newer ones; what is missing is owed."""
    for lots in (first, wallet.lots):
        for lot in sorted(lots, key=lambda lot: lot.earned_at) if points else ():
            part = min(points, lot.remaining)
            lot.remaining -= part
            points -= part
    wallet.debt += points


def _void(order: Order) -> None:
    """An order that was wholly given back no longer counts for anything."""
    order.void = order.void or (order.counted and order.whole)
