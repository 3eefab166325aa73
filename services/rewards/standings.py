"""Standings: the badges and levels that customers hold, and the daily changes of their totals."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, tzinfo
from typing import Any
from uuid import UUID

from libs.common.contracts.records import Fact
from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.fold.decider import Applied, Merged
from libs.common.fold.personal import KEPT
from libs.common.log.partition import partition_of
from services.rewards.features import FEATURES
from services.rewards.state import Account, standing
from services.rewards.tables import daily_totals, standing_days, standings

_KEY = ("customer", "kind", "item")
#: The facts that change what a customer holds.
_MOVING = tuple(fact for feature in FEATURES for fact in feature.moved_by)
#: A feature and what is held of it.
Item = tuple[str, str]


async def project(tx: Tx, applied: Sequence[Applied[Any]], partitions: int, zone: tzinfo) -> None:
    """Write the standings that changed, and the daily totals. Does not commit."""
    now = dict(_concerned(applied))
    if not now:
        return
    rows = await tx.fetch("SELECT * FROM rewards.standings WHERE customer = ANY($1::uuid[])", list(now))
    old: dict[UUID, Counter[Item]] = {customer: Counter() for customer in now}
    for row in rows:
        old[row["customer"]][row["kind"], row["item"]] = row["count"]
    new = {customer: _items(standing(account)) for customer, account in now.items()}
    await _write(tx, old, new)
    changes: Counter[tuple[int, date, str, str]] = Counter()
    shares: Counter[tuple[UUID, date, str, str]] = Counter()
    for customer, day, item, change in _changes(applied, old, zone):
        changes[partition_of(str(customer), partitions), day, *item] += change
        shares[customer, day, *item] += change
    if rows_changed := [(*key, changes[key]) for key in sorted(changes) if changes[key]]:
        await tx.execute(bulk.add(daily_totals, ("count",)), *bulk.transposed(rows_changed))
    if shares_changed := [(*key, shares[key]) for key in sorted(shares) if shares[key]]:
        await tx.execute(bulk.add(standing_days, ("count",)), *bulk.transposed(shares_changed))


async def keep(tx: Tx, customers: Sequence[UUID], partitions: int) -> None:
    """Move what these customers add to the daily totals to the partition of what is kept of erased customers. Does not
    commit."""
    changes: Counter[tuple[int, date, str, str]] = Counter()
    rows = await tx.fetch(
        "SELECT customer, day, kind, item, count FROM rewards.standing_days WHERE customer = ANY($1::uuid[])", customers
    )
    for customer, day, kind, item, count in rows:
        changes[partition_of(str(customer), partitions), day, kind, item] -= count
        changes[KEPT, day, kind, item] += count
    if moved := [(*key, changes[key]) for key in sorted(changes) if changes[key]]:
        await tx.execute(bulk.add(daily_totals, ("count",)), *bulk.transposed(moved))


def _concerned(applied: Sequence[Applied[Any]]) -> Iterator[tuple[UUID, Account]]:
    """The customers whose standing may have changed, with their state after the batch; an empty one for a merged
    customer."""
    for each in applied:
        if isinstance(each.input.body, Merged):
            yield each.input.body.other, Account()
            yield each.customer, each.state
        elif any(isinstance(stamped.fact, _MOVING) for stamped in each.facts):
            yield each.customer, each.state


def _changes(
    applied: Sequence[Applied[Any]], old: dict[UUID, Counter[Item]], zone: tzinfo
) -> Iterator[tuple[UUID, date, Item, int]]:
    """The changes by day: those of facts, and those of a merge, where two standings become one."""
    held = {customer: Counter(items) for customer, items in old.items()}
    for each in applied:
        day, body = each.input.time.astimezone(zone).date(), each.input.body
        if isinstance(body, Merged):
            for customer, now in ((body.other, Counter[Item]()), (each.customer, _items(each.decision.standing))):
                before, held[customer] = held[customer], Counter(now)
                for item in sorted(now.keys() | before.keys()):
                    if change := now[item] - before[item]:
                        yield customer, day, item, change
        if each.customer in held:
            for stamped in each.facts:
                for item, change in _said(stamped.fact, held[each.customer]):
                    held[each.customer][item] += change
                    yield each.customer, day, item, change


def _said(fact: Fact, held: Counter[Item]) -> Iterator[tuple[Item, int]]:
    for feature in FEATURES:
        if not isinstance(fact, feature.moved_by):
            continue
        of_it = {item: count for (kind, item), count in held.items() if kind == feature.name}
        for item, change in feature.changes(fact, of_it):
            yield (feature.name, item), change


def _items(standing: Mapping[str, Mapping[str, int]]) -> Counter[Item]:
    return Counter({(kind, item): count for kind, items in standing.items() for item, count in items.items()})


async def _write(tx: Tx, old: dict[UUID, Counter[Item]], new: dict[UUID, Counter[Item]]) -> None:
    changed = sorted(
        (customer, *item)
        for customer in new
        for item in new[customer].keys() | old[customer].keys()
        if new[customer][item] != old[customer][item]
    )
    if gone := [key for key in changed if not new[key[0]][key[1], key[2]]]:
        await tx.execute(bulk.delete(standings), *bulk.transposed(gone))
    if kept := [(*key, new[key[0]][key[1], key[2]]) for key in changed if new[key[0]][key[1], key[2]]]:
        replace = "ON CONFLICT (customer, kind, item) DO UPDATE SET count = excluded.count"
        await tx.execute(bulk.insert(standings, (*_KEY, "count"), replace), *bulk.transposed(kept))


async def totals(tx: Tx, until: date | None = None) -> dict[str, dict[str, int]]:
    """How many of each item were held at the end of the day `until`, by feature: badges, and customers in each
    level."""
    found: dict[str, dict[str, int]] = {feature.name: {} for feature in FEATURES if feature.counted}
    rows = await tx.fetch(
        "SELECT kind, item, sum(count)::bigint FROM rewards.daily_totals WHERE $1::date IS NULL OR day <= $1"
        " GROUP BY 1, 2 ORDER BY 1, 2",
        until,
    )
    for kind, item, count in rows:
        if count and kind in found:
            found[kind][item] = count
    return found
