"""What metrics holds of a customer, and what it keeps in its totals of those who were erased."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from uuid import UUID

from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.fold.personal import KEPT, Personal
from libs.common.log.partition import partition_of
from services.metrics import store
from services.metrics.domain.purchase_days import TotalsDelta, add, delta, rfm_cell
from services.metrics.models import daily_active


def personal(partitions: int) -> Personal:
    """The tables with a customer's rows. Orders, revenue and activity of erased customers still count in the totals."""

    async def keep(tx: Tx, customers: Sequence[UUID]) -> None:
        await _purchases(tx, customers, partitions)
        await _activity(tx, customers, partitions)

    return Personal(("sections", "purchase_days", "active_days", "score_commands", "scores"), keep)


async def _purchases(tx: Tx, customers: Sequence[UUID], partitions: int) -> None:
    totals: dict[int, TotalsDelta] = {KEPT: TotalsDelta({}, Counter())}
    for id, days in (await store.stored_purchase_days(tx, customers)).items():
        theirs = totals.setdefault(partition_of(str(id), partitions), TotalsDelta({}, Counter()))
        add(theirs.days, delta(days, {}))
        add(totals[KEPT].days, delta({}, days))
        theirs.move(rfm_cell(days), None)
        totals[KEPT].move(None, rfm_cell(days))
    await store.add_totals(tx, totals)


async def _activity(tx: Tx, customers: Sequence[UUID], partitions: int) -> None:
    changes: Counter[tuple[date, int]] = Counter()
    for id, day in await tx.fetch(
        "SELECT customer, day FROM metrics.active_days WHERE customer = ANY($1::uuid[])", customers
    ):
        changes[day, partition_of(str(id), partitions)] -= 1
        changes[day, KEPT] += 1
    if rows := [(*key, change) for key, change in sorted(changes.items()) if change]:
        await tx.execute(bulk.add(daily_active, ("customers",)), *bulk.transposed(rows))
