"""The rows that are queried, written in bulk for a batch, in its transaction.

The rows of a customer belong to the transaction that holds the customer's lock; totals over customers have the partition
in their key. All statements take their rows in the order of their keys, so that no two transactions wait for each other.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Table

from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.fold.decider import Applied, Merged
from libs.common.log.partition import partition_of
from services.metrics.domain.book import NOTHING, Book, Key, Line, Totals, book, cell, difference
from services.metrics.domain.decide import Change
from services.metrics.domain.inputs import PURCHASES, Active, Cancelled, Scored
from services.metrics.domain.state import ORDER, Customer
from services.metrics.models import active_days, active_totals, days, histogram, purchase_days, scores

Lane = Callable[[UUID], int]
_LINE = ("orders", "net_minor", "refunded_minor")


async def project(tx: Tx, applied: list[Applied[Customer]], partitions: int) -> None:
    """Everything that the batch changes. Does not commit."""
    went = {a.input.body.other: a.customer for a in applied if isinstance(a.input.body, Merged)}

    def lane(customer: UUID) -> int:
        """In which partition's totals a customer counts; what a merge moves is counted in the survivor's."""
        return partition_of(str(_survivor(customer, went)), partitions)

    states = {a.customer: a.state for a in applied if a.customer not in went}
    merged = {*went, *(_survivor(other, went) for other in went)}
    changes = [(a.customer, a.decision.change) for a in applied if a.customer not in merged and a.decision.change]
    if changes or went:
        books = {id: _whole(states[id]) for id in merged - went.keys()}
        await _purchases(tx, changes, {**books, **{other: {} for other in went}}, lane)
    marks = {(a.customer, a.input.body.day) for a in applied if isinstance(a.input.body, (*PURCHASES, Active))}
    await _activity(tx, marks, went, lane)
    scored = {a.customer for a in applied if isinstance(a.input.body, (Scored, Merged, Cancelled))} - went.keys()
    if scored or went:
        await _scores(tx, {**{id: states[id].score for id in scored}, **dict.fromkeys(went)})


def _whole(customer: Customer) -> Book:
    """All rows of a customer who has just absorbed another one: all their sections are loaded."""
    found: Book = {}
    for purchase in customer.sections.every(ORDER).values():
        for key, line in book(purchase).items():
            found[key] = found.get(key, NOTHING).plus(line)
    return found


async def _purchases(tx: Tx, changes: Sequence[tuple[UUID, Change]], after: Mapping[UUID, Book], lane: Lane) -> None:
    """What orders change, by so much as they do; of merged customers the rows as they are after it."""
    rows: dict[tuple[UUID, Key], Line] = {}
    moved: dict[int, Totals] = {}
    for id, change in changes:
        totals = moved.setdefault(lane(id), Totals({}, Counter()))
        totals.move(change.was, change.now)
        for key, by in difference(change.before, change.after).items():
            rows[id, key] = rows.get((id, key), NOTHING).plus(by)
            totals.days[key] = totals.days.get(key, NOTHING).plus(by)
    before: dict[UUID, Book] = {id: {} for id in after}
    if after:
        for row in await tx.fetch(
            "SELECT customer, day, currency, orders, net_minor, refunded_minor FROM metrics.purchase_days"
            " WHERE customer = ANY($1::uuid[])",
            sorted(after),
        ):
            before[row[0]][Key(row[1], row[2])] = Line(row[3], row[4], row[5])
    for id in sorted(after):
        totals = moved.setdefault(lane(id), Totals({}, Counter()))
        totals.move(cell(before[id]), cell(after[id]))
        for key, by in difference(before[id], after[id]).items():
            rows[id, key] = by
            totals.days[key] = totals.days.get(key, NOTHING).plus(by)
    lines = sorted((id, *key, *by) for (id, key), by in rows.items() if by != NOTHING)
    await _add(tx, purchase_days, _LINE, lines)
    await _remove_empty(tx, purchase_days, "orders", lines)
    totals_by_day = (
        (*key, partition, *by) for partition, m in moved.items() for key, by in m.days.items() if by != NOTHING
    )
    await _add(tx, days, _LINE, sorted(totals_by_day))
    cells = sorted(
        (partition, c.first, c.span, c.x, n) for partition, m in moved.items() for c, n in m.cells.items() if n
    )
    await _add(tx, histogram, ("n",), cells)
    await _remove_empty(tx, histogram, "n", cells)


async def _add(tx: Tx, table: Table, sums: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> None:
    """Add to rows of sums: the key's columns, then the changes."""
    if rows:
        await tx.execute(bulk.add(table, sums), *bulk.transposed(rows))


async def _remove_empty(tx: Tx, table: Table, count: str, changed: Sequence[Sequence[Any]]) -> None:
    """Remove rows, of those that were changed, that count nothing any more: their `count`, the first sum, came to zero."""
    key = len(table.primary_key)
    if fewer := [row[:key] for row in changed if row[key] < 0]:
        await tx.execute(bulk.delete(table, f"t.{count} = 0"), *bulk.transposed(fewer))


async def _activity(tx: Tx, marks: set[tuple[UUID, date]], went: Mapping[UUID, UUID], lane: Lane) -> None:
    changes: Counter[tuple[date, int]] = Counter()
    if went:
        moving = await tx.fetch(
            "DELETE FROM metrics.active_days WHERE customer = ANY($1::uuid[]) RETURNING customer, day", sorted(went)
        )
        changes.subtract((row[1], lane(row[0])) for row in moving)
        marks = {*marks, *((row[0], row[1]) for row in moving)}
    if not marks:
        return
    statement = bulk.insert(active_days, ("customer", "day"), "ON CONFLICT DO NOTHING RETURNING day, customer")
    rows = sorted({(_survivor(customer, went), day) for customer, day in marks})
    changes.update((row[0], lane(row[1])) for row in await tx.fetch(statement, *bulk.transposed(rows)))
    totals = [(*key, change) for key, change in sorted(changes.items()) if change]
    await _add(tx, active_totals, ("customers",), totals)


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


def _survivor(customer: UUID, went: Mapping[UUID, UUID]) -> UUID:
    while customer in went:
        customer = went[customer]
    return customer
