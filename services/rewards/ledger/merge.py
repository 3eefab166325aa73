"""A merge: the wallet of a customer who turned out to be the same person is taken over. Total."""

from libs.common.contracts.orders import united
from services.rewards.course import Merging
from services.rewards.ledger.state import Lot, Order, Wallet


def merging(survivor: Wallet, other: Wallet) -> Merging:
    """What two wallets are to each other, before one takes over the other."""
    doubled = {
        id: order.void for id, order in other.orders.items() if survivor.has_counted(id) and other.has_counted(id)
    }
    return Merging(doubled, survivor.qualifying, other.qualifying)


def merge(survivor: Wallet, other: Wallet, merging: Merging) -> None:
    """Lots move with their dates; an order that both had counts once.

    What does not add up any more (doubles, refunds that have met their order) is decided right after, on the merged wallet.
    """
    for id, order in other.orders.items():
        survivor.orders[id] = _joined(survivor.orders.get(id), order)
    for lot in other.lots:
        lot.double = lot.double or lot.order in merging.doubled
    survivor.lots = sorted([*survivor.lots, *other.lots], key=lambda lot: lot.earned_at)
    survivor.balance += other.balance
    survivor.qualifying += other.qualifying
    survivor.debt = _repaid(survivor.lots, survivor.debt + other.debt)


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
