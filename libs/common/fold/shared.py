"""Shared resources: rows that belong to no customer (a budget, a stock), changed in the customers' transactions.

A service with shared resources

- names in `Decider.shared` (`named`) the resources that an input may draw on under the rules. The fold creates missing
  ones and locks them before any customer, in key order, so transactions cannot deadlock;
- reads in `decide` how much has been taken so far from `input.shared`, which includes this batch;
- returns in `Decision.takes` how much more to take. It is stored in the same transaction;
- writes the outcome into its facts. A replay reads no shared row, because that has changed since. Instead, `recorded`
  rebuilds the view from the facts that were recorded on the same input.

A transaction holds a resource until its commit, and others wait for it. So use different resources (by `id` or
`period`) for what need not be counted together.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from libs.common.contracts.input import Input, Resource
from libs.common.db import bulk
from libs.common.db.pipeline import AnyTx, pipelined
from libs.common.fold.decider import Draws

R = TypeVar("R")

_MAKE = """
INSERT INTO {table} (kind, id, period) SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ORDER BY 1, 2, 3
ON CONFLICT DO NOTHING
"""
_LOCK = """
SELECT kind, id, period, value FROM (
  SELECT s.kind, s.id, s.period, s.value FROM {table} AS s
  JOIN unnest($1::text[], $2::text[], $3::text[]) AS wanted(kind, id, period)
    ON s.kind = wanted.kind AND s.id = wanted.id AND s.period = wanted.period
  ORDER BY s.kind, s.id, s.period FOR UPDATE OF s
) AS locked
"""
_SAVE = """
UPDATE {table} AS s SET value = new.value
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS new(kind, id, period, value)
WHERE s.kind = new.kind AND s.id = new.id AND s.period = new.period
"""


class StaleResource(OSError):
    """A shared resource's row is missing or is not the one that was locked. It counts as unavailability: try again."""


class Shared:
    """The resources that a transaction holds, and how much has been taken of each."""

    def __init__(self, values: Mapping[Resource, int] | None = None) -> None:
        self._stored = dict(values or {})
        self._values = dict(self._stored)

    @property
    def all(self) -> Iterable[Resource]:
        return self._values.keys()

    def holds(self, resources: Iterable[Resource]) -> bool:
        return self._values.keys() >= set(resources)

    def view(self, resources: Iterable[Resource]) -> dict[Resource, int]:
        """How much has been taken of these so far."""
        return {each: self._values[each] for each in resources}

    def take(self, takes: Mapping[Resource, int]) -> None:
        """Take more. `save` stores it."""
        for each, more in takes.items():
            self._values[each] += more

    def changes(self) -> list[tuple[str, str, str, int]]:
        """The changed rows (key and value), sorted."""
        return sorted((*each, value) for each, value in self._values.items() if value != self._stored[each])


class SharedTable(Generic[R]):
    """The table `shared` of one service. `draws` is None if the service has no shared resources."""

    def __init__(self, service: str, draws: Draws[R] | None = None) -> None:
        self._draws = draws
        self._table = f'"{service}".shared'
        self._known: set[Resource] = set()

    def named(self, body: object, time: datetime, rules: R) -> Iterable[Resource]:
        """The resources that a body may draw on under the rules."""
        return () if self._draws is None else self._draws.named(body, time, rules)

    def viewed(self, input: Input, rules: R, shared: Shared) -> Input:
        """The input, with how much has been taken of the resources that it may draw on."""
        resources = tuple(self.named(input.body, input.time, rules))
        return msgspec.structs.replace(input, shared=shared.view(resources)) if resources else input

    async def lock(self, tx: AnyTx, resources: Iterable[Resource]) -> Shared:
        """Lock resources in key order, and create missing ones first. Call it before locking any customer.

        Raises StaleResource.
        """
        wanted = sorted(set(resources))
        if not wanted:
            return Shared()
        async with pipelined(tx) as pipeline:
            if unknown := [each for each in wanted if each not in self._known]:
                await pipeline.execute(_MAKE.format(table=self._table), *bulk.transposed(unknown))
            rows = await pipeline.rows(_LOCK.format(table=self._table), *bulk.transposed(wanted))
        if len(rows) != len(wanted):
            self._known.clear()
            raise StaleResource("a shared resource's row was deleted")
        return Shared({Resource(*row[:3]): row[3] for row in rows})

    def known(self, shared: Shared) -> None:
        """Remember that these rows exist. Call it after the commit."""
        if len(self._known) > 10_000:
            self._known.clear()
        self._known.update(shared.all)

    async def save(self, tx: AnyTx, shared: Shared) -> None:
        """Write what was taken. Raises StaleResource. Does not commit."""
        if changes := shared.changes():
            async with pipelined(tx) as pipeline:
                statement = _SAVE.format(table=self._table)
                await pipeline.write(statement, *bulk.transposed(changes), rows=len(changes), otherwise=StaleResource)
