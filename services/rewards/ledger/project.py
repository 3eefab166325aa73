"""The ledger's rows: entries, their totals, and the timers of expiring points, in a few statements for any number of
inputs."""

from collections import Counter
from collections.abc import Sequence, Set
from datetime import date, datetime, tzinfo
from typing import Any
from uuid import UUID

from libs.common.contracts.rewards import PointsAdjusted, PointsCredited
from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.fold import timers
from libs.common.fold.decider import Applied, Merged
from libs.common.fold.personal import KEPT
from libs.common.log.partition import partition_of
from services.rewards.inputs import Expire
from services.rewards.ledger.booking import transaction
from services.rewards.ledger.schema import entries, totals

#: The timer of a customer whose points are lost at a time.
EXPIRY = "points expire"
ENTRY = ("customer", "transaction", "account", "points", "kind", "rule", "reason", "order_id", "cause", "origin",
          "partition", "sequence", "effective_at")  # fmt: skip

# A merged customer's entries become the survivor's: deleted and inserted, as an update of the first column of the key
# is not possible where tables are distributed by it.
_MOVE = """
WITH moved AS (DELETE FROM rewards.entries WHERE customer = $1 RETURNING *)
INSERT INTO rewards.entries (customer, transaction, account, points, kind, rule, reason, order_id, cause, origin,
  partition, sequence, effective_at, inserted_at)
SELECT $2, transaction, account, points, kind, rule, reason, order_id, cause, origin, partition, sequence,
  effective_at, inserted_at FROM moved
"""

_KEEP = """
INSERT INTO rewards.totals (partition, day, account, points)
SELECT side.partition, day, account, sum(side.sign * points)::bigint
FROM (SELECT partition, (effective_at AT TIME ZONE $2)::date AS day, account, points FROM rewards.entries
      WHERE customer = ANY($1::uuid[])) AS booked
CROSS JOIN LATERAL (VALUES (booked.partition, -1), ($3::smallint, 1)) AS side(partition, sign)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (partition, day, account) DO UPDATE SET points = totals.points + excluded.points
"""


async def project(tx: Tx, applied: Sequence[Applied[Any]], partitions: int, zone: tzinfo) -> None:
    """Write entries and totals for all inputs of a batch, in their order, with days of `zone`. Set the timers of
    expiring points. Does not commit."""
    await _book(tx, applied, partitions, zone)
    for each in applied:
        if isinstance(each.input.body, Merged):
            await tx.execute(_MOVE, each.input.body.other, each.customer)
    anew = {each.customer for each in applied if isinstance(each.input.body, Expire | Merged)}
    wallets = {each.customer: each.state.ledger for each in applied if each.customer in anew}
    due = {id: when for id, wallet in wallets.items() if (when := wallet.next_expiry()) is not None}
    await timers.set_at(tx, "rewards", EXPIRY, due, partitions)
    await timers.set_by(tx, "rewards", EXPIRY, _earliest(applied, anew), partitions)


async def keep(tx: Tx, customers: Sequence[UUID], zone: tzinfo) -> None:
    """Move what these customers' entries add to the totals to the partition of what is kept. Does not commit."""
    await tx.execute(_KEEP, customers, str(zone), KEPT)


def _earliest(applied: Sequence[Applied[Any]], but: Set[UUID]) -> dict[UUID, datetime]:
    """The first expiry among the points that each customer was credited. Their timer must fire by then. If the
    points were spent before, it finds nothing to do and is set again."""
    due: dict[UUID, datetime] = {}
    for each in applied:
        for fact in (stamped.fact for stamped in each.facts):
            if isinstance(fact, PointsCredited | PointsAdjusted) and fact.expires_at and each.customer not in but:
                due[each.customer] = min(fact.expires_at, due.get(each.customer, fact.expires_at))
    return due


async def _book(tx: Tx, applied: Sequence[Applied[Any]], partitions: int, zone: tzinfo) -> None:
    """Write the postings of all facts, and the totals that they change."""
    rows: list[tuple[object, ...]] = []
    sums: Counter[tuple[int, date, str]] = Counter()
    for each in applied:
        if not each.facts:
            continue
        customer, input = each.customer, each.input
        partition = partition_of(str(customer), partitions)
        day = input.time.astimezone(zone).date()
        for stamped in each.facts:
            if (booked := transaction(stamped.fact)) is None:
                continue
            sequence = int(stamped.stamp.rpartition("/")[2])
            for account, points in booked.postings:
                sums[partition, day, account] += points
                rows.append((customer, stamped.id, account, points, booked.kind, booked.rule, booked.reason, booked.order,
                             input.id, customer, partition, sequence, input.time))  # fmt: skip
    if rows:
        await tx.execute(bulk.insert(entries, ENTRY), *bulk.transposed(rows))
        await tx.execute(bulk.add(totals, ("points",)), *bulk.transposed([(*key, sums[key]) for key in sorted(sums)]))
