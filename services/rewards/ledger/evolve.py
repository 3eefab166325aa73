"""How a wallet changes. It never fails, and nothing else writes balances."""

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from libs.common.contracts.input import Input
from libs.common.contracts.records import Fact
from libs.common.contracts.rewards import PointsAdjusted, PointsCredited, PointsExpired, PointsReversed
from libs.common.fold.decider import Merged
from services.rewards.inputs import OrderCompleted, OrderRefunded
from services.rewards.ledger.refunds import completed, refunded, taken_back, voided
from services.rewards.ledger.state import CREDIT, Lot, Order, Wallet, input_key, order_key


def evolve(wallet: Wallet, input: Input, facts: Sequence[Fact]) -> None:
    """Apply an input and its facts."""
    match input.body:
        case OrderCompleted() as event:
            known = wallet.credit(key := order_key(event.order))
            if known.order is None or not known.order.counted:
                wallet.put(key, replace(known, order=voided(completed(known.order, event))))
        case OrderRefunded() as refund:
            known = wallet.credit(key := order_key(refund.order))
            wallet.put(key, replace(known, order=voided(refunded(known.order or Order(), refund))))
        case Merged():
            for key, known in wallet.credits().items():
                if known.order is not None and voided(known.order) != known.order:
                    wallet.put(key, replace(known, order=voided(known.order)))
    for fact in facts:
        _apply(wallet, fact, input)


def _apply(wallet: Wallet, fact: Fact, input: Input) -> None:
    match fact:
        case PointsCredited():
            key = _new(wallet, input) if fact.order_id is None else order_key(fact.order_id)
            credit(wallet, key, fact.points, input.time, fact.rule, fact.expires_at or None)
            wallet.qualifying += fact.points
        case PointsReversed():
            reverse(wallet, fact.points, fact.rule, fact.order_id)
            wallet.qualifying -= fact.points
        case PointsAdjusted() if fact.points > 0:
            credit(wallet, _new(wallet, input), fact.points, input.time, None, fact.expires_at or None)
        case PointsAdjusted():
            wallet.balance += fact.points
            debit(wallet, -fact.points)
        case PointsExpired():
            expire(wallet, fact.until)


def _new(wallet: Wallet, input: Input) -> str:
    """The key of the credit for an input that is no order. An input is applied once, so the credit is new."""
    key = input_key(input.id)
    wallet.sections.new(CREDIT, key)
    return key


def credit(wallet: Wallet, key: str, points: int, at: datetime, rule: str | None, expires: datetime | None) -> None:
    """Add a lot. It repays a debt first."""
    repaid = min(wallet.debt, points)
    wallet.debt -= repaid
    wallet.balance += points
    wallet.has_earned = True
    known = wallet.credit(key)
    lot = Lot(points, points - repaid, 0, at, rule, expires_at=expires)
    wallet.put(key, replace(known, lots=(*known.lots, lot)))


def reverse(wallet: Wallet, points: int, rule: str, order: str) -> None:
    """Take points back from the lots of their order. What was spent there is taken from other lots."""
    wallet.balance -= points
    left, spent = taken_back(wallet.credit(key := order_key(order)), {rule: points})
    wallet.put(key, left)
    debit(wallet, spent)


def debit(wallet: Wallet, points: int) -> None:
    """Take points from open credits, in the order in which they are spent. What is missing becomes debt."""
    for key, known in wallet.open() if points else ():
        lots = []
        for lot in known.lots:
            part = min(points, lot.remaining)
            points -= part
            lots.append(replace(lot, remaining=lot.remaining - part) if part else lot)
        wallet.put(key, replace(known, lots=tuple(lots)))
        if not points:
            return
    wallet.debt += points


def expire(wallet: Wallet, until: datetime) -> None:
    """Remove what remains of points that expire by `until`."""
    for key, known in wallet.expiring(until):
        lots = []
        for lot in known.lots:
            lost = lot.remaining if lot.expires_by(until) else 0
            wallet.balance -= lost
            lots.append(replace(lot, remaining=lot.remaining - lost, reversed=lot.reversed + lost) if lost else lot)
        wallet.put(key, replace(known, lots=tuple(lots)))
