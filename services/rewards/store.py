"""What rewards writes beside the customers' states: ledger entries, standings, and their sums. In the caller's
transaction, in a few statements for any number of causes."""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from libs.common import bulk
from libs.common.db import Tx
from libs.common.fold.decider import Applied, Merged
from libs.common.log.partition import partition_of
from services.rewards.domain.ledger import transaction
from services.rewards.domain.state import Account
from services.rewards.models import entries, standings, tallies, totals

_ENTRY = ("customer", "transaction", "account", "points", "kind", "rule", "reason", "order_id", "cause", "origin",
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


async def project(tx: Tx, applied: Sequence[Applied[Account]], partitions: int) -> None:
    """Write what is queried, for all causes of a batch, in their order. Does not commit."""
    await _book(tx, applied, partitions)
    for each in applied:
        if isinstance(each.cause.body, Merged):
            await tx.execute(_MOVE, each.cause.body.other, each.customer)
    await _stand(tx, applied, partitions)


async def _book(tx: Tx, applied: Sequence[Applied[Account]], partitions: int) -> None:
    """The postings of all facts, and the totals that they change."""
    rows: list[tuple[object, ...]] = []
    sums: Counter[tuple[int, str]] = Counter()
    for each in applied:
        if not each.facts:
            continue
        customer, cause = each.customer, each.cause
        partition = partition_of(str(customer), partitions)
        for stamped in each.facts:
            if (booked := transaction(stamped.fact)) is None:
                continue
            sequence = int(stamped.stamp.rpartition("/")[2])
            for account, points in booked.postings:
                sums[partition, account] += points
                rows.append((customer, stamped.id, account, points, booked.kind, booked.rule, booked.reason, booked.order,
                             cause.id, customer, partition, sequence, cause.time))  # fmt: skip
    if rows:
        await tx.execute(bulk.insert(entries, _ENTRY), *bulk.transposed(rows))
        add = "ON CONFLICT (partition, account) DO UPDATE SET points = totals.points + excluded.points"
        columns = bulk.transposed([(*key, sums[key]) for key in sorted(sums)])
        await tx.execute(bulk.insert(totals, ("partition", "account", "points"), add), *columns)


async def _stand(tx: Tx, applied: Sequence[Applied[Account]], partitions: int) -> None:
    """Badges and levels of the customers to whom something happened to them, and the tallies that this changes."""
    now: dict[UUID, Account] = {}
    where: dict[UUID, int] = {}
    for each in applied:
        merged = isinstance(each.cause.body, Merged)
        if merged or any(transaction(stamped.fact) is None for stamped in each.facts):
            now[each.customer] = each.state
            where[each.customer] = partition_of(str(each.customer), partitions)
        if isinstance(each.cause.body, Merged):
            now[each.cause.body.other] = Account()
            where[each.cause.body.other] = where[each.customer]
    if not now:
        return
    rows = await tx.fetch("SELECT * FROM rewards.standings WHERE customer = ANY($1::uuid[])", list(now))
    old = {(row["customer"], row["kind"], row["item"]): row["count"] for row in rows}
    new = {(customer, *item): count for customer, state in now.items() for item, count in _standing(state).items()}
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key, 0) != new.get(key, 0)]
    if not changed:
        return
    sums: Counter[tuple[int, str, str]] = Counter()
    for customer, kind, item in changed:
        key = (customer, kind, item)
        sums[where[customer], kind, item] += new.get(key, 0) - old.get(key, 0)
    if gone := [key for key in changed if key not in new]:
        matching = bulk.unnest(standings, ("customer", "kind", "item"))
        await tx.execute(
            f"DELETE FROM rewards.standings WHERE (customer, kind, item) IN (SELECT * FROM {matching})",
            *bulk.transposed(gone),
        )
    if kept := [(*key, new[key]) for key in changed if key in new]:
        replace = "ON CONFLICT (customer, kind, item) DO UPDATE SET count = excluded.count"
        columns = ("customer", "kind", "item", "count")
        await tx.execute(bulk.insert(standings, columns, replace), *bulk.transposed(kept))
    add = "ON CONFLICT (partition, kind, item) DO UPDATE SET count = tallies.count + excluded.count"
    columns = ("partition", "kind", "item", "count")
    await tx.execute(bulk.insert(tallies, columns, add), *bulk.transposed([(*key, sums[key]) for key in sorted(sums)]))


def _standing(account: Account) -> dict[tuple[str, str], int]:
    standing = {("badge", badge): progress.earned for badge, progress in account.badges.items() if progress.earned}
    if account.level is not None:
        standing["level", account.level] = 1
    return standing
