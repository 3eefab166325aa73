"""What metrics writes beside the customers' states: the rows and totals that routes query, score commands and fits.

Writes in the caller's transaction, in a few statements for any number of customers. A customer's rows belong to the
transaction that locks the customer; totals over customers have the partition in their key. Every statement takes its
rows in the order of their keys, so no two transactions deadlock.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Table

from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.fold.decider import Applied, Merged
from libs.common.log.partition import partition_of
from services.metrics.domain.decide import Change
from services.metrics.domain.inputs import PURCHASES, Active, Cancelled, Scored
from services.metrics.domain.purchase_days import (
    NO_SALES,
    DayKey,
    DaySums,
    PurchaseDays,
    TotalsDelta,
    add,
    delta,
    purchase_days_of,
    rfm_cell,
)
from services.metrics.domain.state import ORDER, Customer
from services.metrics.models import (
    active_days,
    daily_active,
    daily_sales,
    purchase_days,
    rfm_cells,
    score_commands,
    scores,
)
from services.metrics.queries import StoredFit

#: The partition in whose totals a customer counts.
PartitionOf = Callable[[UUID], int]
_SUMS = ("orders", "net_minor", "refunded_minor")
_INSERT_COMMANDS = bulk.insert(score_commands, ("customer", "fit", "command", "stamp", "body"))


async def project(tx: Tx, applied: list[Applied[Customer]], partitions: int) -> None:
    """Write the rows of a batch's customers, and add their changes to the totals. Does not commit."""
    merged_into = {a.input.body.other: a.customer for a in applied if isinstance(a.input.body, Merged)}

    def partition(customer: UUID) -> int:
        """The survivor's partition counts what a merge moves."""
        return partition_of(str(_survivor(customer, merged_into)), partitions)

    states = {a.customer: a.state for a in applied if a.customer not in merged_into}
    merged = {*merged_into, *(_survivor(other, merged_into) for other in merged_into)}
    changes = [(a.customer, a.decision.change) for a in applied if a.customer not in merged and a.decision.change]
    if changes or merged_into:
        survivors = {id: _all_purchase_days(states[id]) for id in merged - merged_into.keys()}
        await _purchases(tx, changes, {**survivors, **{other: {} for other in merged_into}}, partition)
    active = {(a.customer, a.input.body.day) for a in applied if isinstance(a.input.body, (*PURCHASES, Active))}
    await _activity(tx, active, merged_into, partition)
    scored = {a.customer for a in applied if isinstance(a.input.body, (Scored, Merged, Cancelled))} - merged_into.keys()
    if scored or merged_into:
        await _scores(tx, {**{id: states[id].score for id in scored}, **dict.fromkeys(merged_into)})


def _all_purchase_days(customer: Customer) -> PurchaseDays:
    """The purchase days of a customer after a merge, which has loaded all their sections."""
    found: PurchaseDays = {}
    for purchase in customer.sections.every(ORDER).values():
        add(found, purchase_days_of(purchase))
    return found


async def _purchases(
    tx: Tx, changes: Sequence[tuple[UUID, Change]], merged: Mapping[UUID, PurchaseDays], partition: PartitionOf
) -> None:
    """Add each order's change to rows and totals. Replace the rows of `merged` customers by those given."""
    rows: dict[tuple[UUID, DayKey], DaySums] = {}
    totals: dict[int, TotalsDelta] = {}
    for id, change in changes:
        of_partition = totals.setdefault(partition(id), TotalsDelta({}, Counter()))
        of_partition.move(change.cell_before, change.cell_after)
        of_order = delta(change.days_before, change.days_after)
        add(of_partition.days, of_order)
        for key, sums in of_order.items():
            rows[id, key] = rows.get((id, key), NO_SALES).plus(sums)
    before = await stored_purchase_days(tx, sorted(merged))
    for id in sorted(merged):
        of_partition = totals.setdefault(partition(id), TotalsDelta({}, Counter()))
        of_partition.move(rfm_cell(before[id]), rfm_cell(merged[id]))
        of_merge = delta(before[id], merged[id])
        add(of_partition.days, of_merge)
        rows.update({(id, key): sums for key, sums in of_merge.items()})
    customers = sorted((id, *key, *sums) for (id, key), sums in rows.items() if sums != NO_SALES)
    await _add(tx, purchase_days, _SUMS, customers)
    await _remove_empty(tx, purchase_days, "orders", customers)
    await add_totals(tx, totals)


async def add_totals(tx: Tx, totals: Mapping[int, TotalsDelta]) -> None:
    """Add changes to the sales and RFM cells of each partition. Does not commit."""
    days = ((*key, number, *sums) for number, of in totals.items() for key, sums in of.days.items() if sums != NO_SALES)
    await _add(tx, daily_sales, _SUMS, sorted(days))
    cells = sorted(
        (number, cell.first, cell.span, cell.x, n) for number, of in totals.items() for cell, n in of.cells.items() if n
    )
    await _add(tx, rfm_cells, ("customers",), cells)
    await _remove_empty(tx, rfm_cells, "customers", cells)


async def stored_purchase_days(tx: Tx, customers: Sequence[UUID]) -> dict[UUID, PurchaseDays]:
    """The purchase days of these customers, as they are stored."""
    found: dict[UUID, PurchaseDays] = {id: {} for id in customers}
    if customers:
        for row in await tx.fetch(
            "SELECT customer, day, currency, orders, net_minor, refunded_minor FROM metrics.purchase_days"
            " WHERE customer = ANY($1::uuid[])",
            customers,
        ):
            found[row[0]][DayKey(row[1], row[2])] = DaySums(row[3], row[4], row[5])
    return found


async def _add(tx: Tx, table: Table, sums: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> None:
    """Add to rows of sums. Each of `rows` is the columns of the key, then the changes."""
    if rows:
        await tx.execute(bulk.add(table, sums), *bulk.transposed(rows))


async def _remove_empty(tx: Tx, table: Table, count: str, changed: Sequence[Sequence[Any]]) -> None:
    """Remove the changed rows whose `count`, the first of their sums, is now zero."""
    key = len(table.primary_key)
    if fewer := [row[:key] for row in changed if row[key] < 0]:
        await tx.execute(bulk.delete(table, f"t.{count} = 0"), *bulk.transposed(fewer))


async def _activity(
    tx: Tx, active: set[tuple[UUID, date]], merged_into: Mapping[UUID, UUID], partition: PartitionOf
) -> None:
    changes: Counter[tuple[date, int]] = Counter()
    if merged_into:
        moving = await tx.fetch(
            "DELETE FROM metrics.active_days WHERE customer = ANY($1::uuid[]) RETURNING customer, day",
            sorted(merged_into),
        )
        changes.subtract((row[1], partition(row[0])) for row in moving)
        active = {*active, *((row[0], row[1]) for row in moving)}
    if not active:
        return
    statement = bulk.insert(active_days, ("customer", "day"), "ON CONFLICT DO NOTHING RETURNING day, customer")
    rows = sorted({(_survivor(customer, merged_into), day) for customer, day in active})
    changes.update((row[0], partition(row[1])) for row in await tx.fetch(statement, *bulk.transposed(rows)))
    totals = [(*key, change) for key, change in sorted(changes.items()) if change]
    await _add(tx, daily_active, ("customers",), totals)


async def _scores(tx: Tx, held: Mapping[UUID, Scored | None]) -> None:
    if gone := sorted(id for id, score in held.items() if score is None):
        await tx.execute("DELETE FROM metrics.scores WHERE customer = ANY($1::uuid[])", gone)
    columns = tuple(column.name for column in scores.columns if column.name not in ("customer", "fit"))
    rows = [
        (id, UUID(score.fit), *(getattr(score, name) for name in columns))
        for id, score in sorted(held.items())
        if score is not None
    ]
    if rows:
        updates = ", ".join(f"{name} = excluded.{name}" for name in ("fit", *columns))
        statement = bulk.insert(
            scores, ("customer", "fit", *columns), f"ON CONFLICT (customer) DO UPDATE SET {updates}"
        )
        await tx.execute(statement, *bulk.transposed(rows))


def _survivor(customer: UUID, merged_into: Mapping[UUID, UUID]) -> UUID:
    while customer in merged_into:
        customer = merged_into[customer]
    return customer


# -- fits ---------------------------------------------------------------------------------------------------------------
async def insert_fit(
    tx: Tx,
    id: UUID,
    *,
    as_of: date,
    currency: str,
    customers: int,
    repeat_customers: int,
    models: dict[str, Any],
    status: str,
    asked_by: str,
) -> None:
    """Store a fit, unless it is stored already. Does not commit."""
    await tx.execute(
        "INSERT INTO metrics.fits"
        " (id, as_of, currency, customers, repeat_customers, models, status, asked_by, done_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $7 = 'done' THEN now() END) ON CONFLICT (id) DO NOTHING",
        id,
        as_of,
        currency,
        customers,
        repeat_customers,
        msgspec.json.encode(models).decode(),
        status,
        asked_by,
    )


async def advance(tx: Tx, fit: StoredFit, to: UUID | None, scored: int) -> bool:
    """Move a fit's mark to customer `to`, or to its end (None); False if it is no longer where `fit` says. Does not
    commit."""
    status = await tx.execute(
        "UPDATE metrics.fits SET reached = coalesce($3, reached), scored = scored + $4,"
        " status = CASE WHEN $3::uuid IS NULL THEN 'done' ELSE status END,"
        " done_at = CASE WHEN $3::uuid IS NULL THEN now() END"
        " WHERE id = $1 AND status = 'scoring' AND reached IS NOT DISTINCT FROM $2",
        fit.id,
        fit.reached,
        to,
        scored,
    )
    return bool(status == "UPDATE 1")


async def keep_score_commands(tx: Tx, fit: UUID, applied: Sequence[Applied[Customer]]) -> None:
    """Store the commands by which a fit has scored customers, and count those whom it moved to other bands.

    Call it in the transaction that applied them. A replay puts the commands back by their stamps.
    """
    changed = sum(bool(each.facts) for each in applied)
    await tx.execute("UPDATE metrics.fits SET changed = changed + $2 WHERE id = $1", fit, changed)
    rows = [
        (each.customer, each.input.body.fit, each.input.id, each.stamp, msgspec.json.encode(each.input.body))
        for each in applied
    ]
    if rows:
        await tx.execute(_INSERT_COMMANDS, *bulk.transposed(rows))
