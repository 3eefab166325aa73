"""Merging two wallets. Never fails."""

from msgspec.structs import replace

from libs.common.contracts.orders import united
from services.rewards.course import Merging
from services.rewards.ledger.evolve import debit
from services.rewards.ledger.state import Credit, Order, Wallet, order_of


def merging(survivor: Wallet, other: Wallet) -> Merging:
    """How two wallets relate before one absorbs the other."""
    duplicated = {
        order: credit.order.void
        for key, credit in other.credits().items()
        if credit.order is not None
        and credit.order.counted
        and (order := order_of(key)) is not None
        and survivor.has_counted(order)
    }
    return Merging(duplicated, survivor.qualifying, other.qualifying)


def merge(survivor: Wallet, other: Wallet, merging: Merging) -> None:
    """Move the lots, with their dates. An order that both have counts once.

    What no longer adds up (duplicates, refunds that have met their order) is decided right after, on the merged wallet.
    """
    for key, theirs in other.credits().items():
        survivor.put(key, _joined(survivor.credit(key), theirs, order_of(key) in merging.duplicated))
    debt = survivor.debt + other.debt
    survivor.balance += other.balance
    survivor.qualifying += other.qualifying
    survivor.has_earned |= other.has_earned
    survivor.debt = 0
    debit(survivor, debt)  # which repays it out of what remains


def _joined(ours: Credit, theirs: Credit, duplicated: bool) -> Credit:
    """Unite two credits. The other's lots come first; for an order that both have counted they are duplicates."""
    lots = (replace(lot, duplicate=True) for lot in theirs.lots) if duplicated else theirs.lots
    return Credit(_same(ours.order, theirs.order), (*lots, *ours.lots))


def _same(ours: Order | None, theirs: Order | None) -> Order | None:
    """Unite two versions of an order, with the refunds of both. The survivor's counts, unless only the other was
    counted."""
    if ours is None or theirs is None:
        return ours or theirs
    kept, waiting = (ours, theirs) if ours.counted or not theirs.counted else (theirs, ours)
    return replace(kept, refunds=united(kept.refunds, waiting.refunds))
