"""The rows that are queried, written in bulk for a batch, in its transaction.

The rows of a customer belong to the transaction that holds the customer's lock; totals over customers have the partition
in their key. All statements take their rows in the order of their keys, so that no two transactions wait for each other.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from uuid import UUID

from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.fold.decider import Applied, Merged
from libs.common.log.partition import partition_of
from services.metrics.domain.book import Book, Key, Line, book, moves
from services.metrics.domain.inputs import PURCHASES, Active, Cancelled, Scored
from services.metrics.domain.state import Customer
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
    bought = {a.customer for a in applied if isinstance(a.input.body, (*PURCHASES, Merged))}
    if bought or went:
        books = {id: book(states[id].purchases) for id in bought - went.keys()}
        await _purchases(tx, {**books, **{other: {} for other in went}}, lane)
    marks = {(a.customer, a.input.body.day) for a in applied if isinstance(a.input.body, (*PURCHASES, Active))}
    await _activity(tx, marks, went, lane)
    scored = {a.customer for a in applied if isinstance(a.input.body, (Scored, Merged, Cancelled))} - went.keys()
    if scored or went:
        await _scores(tx, {**{id: states[id].score for id in scored}, **dict.fromkeys(went)})


async def _purchases(tx: Tx, after: Mapping[UUID, Book], lane: Lane) -> None:
    before: dict[UUID, Book] = {id: {} for id in after}
    for row in await tx.fetch(
        "SELECT customer, day, currency, orders, net_minor, refunded_minor FROM metrics.purchase_days"
        " WHERE customer = ANY($1::uuid[])",
        sorted(after),
    ):
        before[row[0]][Key(row[1], row[2])] = Line(row[3], row[4], row[5])
    changed = sorted(id for id in after if before[id] != after[id])
    gone = [(id, *key) for id in changed for key in sorted(before[id].keys() - after[id].keys())]
    if gone:
        await tx.execute(
            "DELETE FROM metrics.purchase_days AS d"
            f" USING {bulk.unnest(purchase_days, ('customer', 'day', 'currency'))} AS o(customer, day, currency)"
            " WHERE (d.customer, d.day, d.currency) = (o.customer, o.day, o.currency)",
            *bulk.transposed(gone),
        )
    rows = [
        (id, *key, *line) for id in changed for key, line in sorted(after[id].items()) if before[id].get(key) != line
    ]
    if rows:
        statement = bulk.insert(
            purchase_days,
            ("customer", "day", "currency", *_LINE),
            "ON CONFLICT (customer, day, currency) DO UPDATE SET orders = excluded.orders,"
            " net_minor = excluded.net_minor, refunded_minor = excluded.refunded_minor",
        )
        await tx.execute(statement, *bulk.transposed(rows))
    by_lane: dict[int, list[tuple[Book, Book]]] = {}
    for id in changed:
        by_lane.setdefault(lane(id), []).append((before[id], after[id]))
    moved = {partition: moves(changes) for partition, changes in by_lane.items()}
    await _move_days(
        tx, sorted((*key, partition, *line) for partition, m in moved.items() for key, line in m.days.items())
    )
    cells = [(partition, c.first, c.span, c.x, n) for partition, m in moved.items() for c, n in m.cells.items()]
    await _move_cells(tx, sorted(cells))


async def _move_days(tx: Tx, rows: Sequence[tuple[object, ...]]) -> None:
    if not rows:
        return
    added = ", ".join(f"{name} = days.{name} + excluded.{name}" for name in _LINE)
    statement = bulk.insert(
        days,
        ("day", "currency", "partition", *_LINE),
        f"ON CONFLICT (day, currency, partition) DO UPDATE SET {added}",
    )
    await tx.execute(statement, *bulk.transposed(rows))


async def _move_cells(tx: Tx, rows: Sequence[tuple[int, date, int, int, int]]) -> None:
    if not rows:
        return
    statement = bulk.insert(
        histogram,
        ("partition", "first", "span", "x", "n"),
        "ON CONFLICT (partition, first, span, x) DO UPDATE SET n = histogram.n + excluded.n",
    )
    await tx.execute(statement, *bulk.transposed(rows))
    if left := [row[:4] for row in rows if row[4] < 0]:
        await tx.execute(
            "DELETE FROM metrics.histogram AS h"
            f" USING {bulk.unnest(histogram, ('partition', 'first', 'span', 'x'))} AS o(partition, first, span, x)"
            " WHERE h.n = 0 AND (h.partition, h.first, h.span, h.x) = (o.partition, o.first, o.span, o.x)",
            *bulk.transposed(left),
        )


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
    if totals := [(*key, change) for key, change in sorted(changes.items()) if change]:
        added = bulk.insert(
            active_totals,
            ("day", "partition", "customers"),
            "ON CONFLICT (day, partition) DO UPDATE SET customers = active_totals.customers + excluded.customers",
        )
        await tx.execute(added, *bulk.transposed(totals))


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
