"""A merge: the account of a customer who turned out to be the same person is taken over. Total."""

from libs.common.contracts.orders import united
from services.rewards.domain.state import Account, Lot, Order, Progress


def absorb(survivor: Account, other: Account) -> None:
    """Lots move with their dates; an order that both had counts once; a badge that is earned only once is had once.

    What does not add up any more (doubles, refunds that have met their order, levels) is decided right after, on the
    merged account.
    """
    if other.qualifying > survivor.qualifying:
        survivor.level = other.level
    doubled = {id for id in other.orders if survivor.has_counted(id) and other.has_counted(id)}
    _absorb_badges(survivor, other, doubled)
    for id, order in other.orders.items():
        survivor.orders[id] = _joined(survivor.orders.get(id), order)
    for lot in other.lots:
        lot.double = lot.double or lot.order in doubled
    survivor.lots = sorted([*survivor.lots, *other.lots], key=lambda lot: lot.earned_at)
    survivor.balance += other.balance
    survivor.qualifying += other.qualifying
    survivor.debt = _repaid(survivor.lots, survivor.debt + other.debt)


def _absorb_badges(survivor: Account, other: Account, doubled: set[str]) -> None:
    for id, theirs in other.badges.items():
        ours = survivor.badges.get(id)
        if ours is None:
            ours = survivor.badges[id] = Progress()
        if not ours.earned:
            ours.every, ours.repeatable = theirs.every, theirs.repeatable
        ours.count += theirs.count
        ours.earned = ours.earned + theirs.earned if ours.repeatable else max(ours.earned, theirs.earned)
        dates = [date for date in (ours.earned_at, theirs.earned_at) if date is not None]
        ours.earned_at = max(dates, default=None) if ours.repeatable else min(dates, default=None)
    for id in doubled:
        if not other.orders[id].void:
            for badge in other.orders[id].badges:
                survivor.badges[badge].count -= 1


def _joined(ours: Order | None, theirs: Order) -> Order:
    """One order out of two; the survivor's, unless only the other has counted it. Refunds of both."""
    if ours is None:
        return theirs
    kept, waiting = (ours, theirs) if ours.counted or not theirs.counted else (theirs, ours)
    kept.refunds = united(kept.refunds, waiting.refunds)
    return kept


def _repaid(lots: list[Lot], debt: int) -> int:
    """Repay a debt out of what remains in the lots, the oldest first; what is still owed."""
    for lot in lots:
        part = min(debt, lot.remaining)
        lot.remaining -= part
        debt -= part
    return debt
