"""Shared resources: what many customers draw on together (a budget, a stock). Each is a row, changed in the customers'
transactions.

A service with shared resources

- names in `Decider.shared` (`named`) the resources that an input may draw on under the rules. The fold locks them in
  the order of their keys, before any customer, and creates missing ones. This order excludes deadlocks;
- reads in `decide` from `input.shared` how much of each is taken so far, including by the current batch;
- says in `Decision.takes` how much more is taken. It is stored in the same transaction;
- writes the outcome into its facts. A replay does not read the rows, which have moved on since: `recorded` makes the
  view again from the facts recorded for the same input.

A process holds a resource until its commit, and other processes wait. Within a process nobody waits, because it folds
all its partitions in one transaction. Keep apart by `id` or `period` what need not be together, and split a hot
resource by `part`.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from libs.common.contracts.input import Input, Resource
from libs.common.db import bulk
from libs.common.db.pipeline import AnyTx, pipelined
from libs.common.db.pool import Tx
from libs.common.fold.decider import Draws

R = TypeVar("R")

_MAKE = """
INSERT INTO {table} (kind, id, period, part) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[]) ORDER BY 1, 2, 3, 4
ON CONFLICT DO NOTHING
"""
_READ = """
SELECT s.kind, s.id, s.period, s.part, s.value FROM {table} AS s
JOIN unnest($1::text[], $2::text[], $3::text[], $4::int[]) AS wanted(kind, id, period, part)
  ON (s.kind, s.id, s.period, s.part) = (wanted.kind, wanted.id, wanted.period, wanted.part)
"""
_LOCK = f"""
SELECT kind, id, period, part, value FROM (
  {_READ} ORDER BY s.kind, s.id, s.period, s.part FOR UPDATE OF s
) AS locked
"""
_SAVE = """
UPDATE {table} AS s SET value = new.value
FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[]) AS new(kind, id, period, part, value)
WHERE (s.kind, s.id, s.period, s.part) = (new.kind, new.id, new.period, new.part)
"""


class StaleResource(OSError):
    """A shared resource's row is missing or has changed. The batch is retried, as if the database had been away."""


class Shared:
    """The resources that a transaction holds, and how much is taken of each."""

    def __init__(self, values: Mapping[Resource, int] | None = None) -> None:
        self._stored = dict(values or {})
        self._values = dict(self._stored)

    @property
    def all(self) -> Iterable[Resource]:
        return self._values.keys()

    def holds(self, resources: Iterable[Resource]) -> bool:
        return self._values.keys() >= set(resources)

    def view(self, resources: Iterable[Resource]) -> dict[Resource, int]:
        """How much is taken of these so far."""
        return {each: self._values[each] for each in resources}

    def take(self, takes: Mapping[Resource, int]) -> None:
        """Take more."""
        for each, more in takes.items():
            self._values[each] += more

    def changes(self) -> list[tuple[str, str, str, int, int]]:
        """The rows to write, sorted."""
        return sorted((*each, value) for each, value in self._values.items() if value != self._stored[each])


class SharedTable(Generic[R]):
    """The table `shared` of one service. Without `draws` the service has none."""

    def __init__(self, service: str, draws: Draws[R] | None = None) -> None:
        self._draws = draws
        self._table = f'"{service}".shared'
        self._known: set[Resource] = set()

    def named(self, body: object, time: datetime, partition: int, rules: R) -> Iterable[Resource]:
        """The resources that a body may draw on, for a customer of a partition."""
        return () if self._draws is None else self._draws.named(body, time, partition, rules)

    def viewed(self, input: Input, rules: R, shared: Shared) -> Input:
        """The input with a view of the resources that it may draw on."""
        resources = tuple(self.named(input.body, input.time, input.partition, rules))
        return msgspec.structs.replace(input, shared=shared.view(resources)) if resources else input

    async def lock(self, tx: AnyTx, resources: Iterable[Resource]) -> Shared:
        """Lock resources, before any customer. Missing ones are created first."""
        wanted = sorted(set(resources))
        if not wanted:
            return Shared()
        async with pipelined(tx) as pipeline:
            if unknown := [each for each in wanted if each not in self._known]:
                await pipeline.execute(_MAKE.format(table=self._table), *bulk.transposed(unknown))
            rows = await pipeline.rows(_LOCK.format(table=self._table), *bulk.transposed(wanted))
        if len(rows) != len(wanted):
            self._known.clear()
            raise StaleResource("a shared resource's row has gone")
        return Shared(_values(rows))

    async def taken(self, tx: Tx, resources: Iterable[Resource]) -> dict[Resource, int]:
        """For routes: how much is taken of each resource, without a lock; 0 if nobody has drawn on it yet."""
        wanted = list(resources)
        rows = await tx.fetch(_READ.format(table=self._table), *bulk.transposed(wanted)) if wanted else ()
        return dict.fromkeys(wanted, 0) | _values(rows)

    def known(self, shared: Shared) -> None:
        """Call this after the commit: these rows exist."""
        if len(self._known) > 10_000:
            self._known.clear()
        self._known.update(shared.all)

    async def save(self, tx: AnyTx, shared: Shared) -> None:
        """Write what was taken. Raises StaleResource. Does not commit."""
        if changes := shared.changes():
            async with pipelined(tx) as pipeline:
                statement = _SAVE.format(table=self._table)
                await pipeline.write(statement, *bulk.transposed(changes), rows=len(changes), otherwise=StaleResource)


def _values(rows: Iterable[Sequence[Any]]) -> dict[Resource, int]:
    return {Resource(*row[:4]): row[4] for row in rows}
