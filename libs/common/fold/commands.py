"""Commands: a REST call that changes a customer takes the path of a record, as a batch of one without a position."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from libs.common.contracts.ids import derived
from libs.common.contracts.input import Resource, command_input
from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Database, Tx
from libs.common.fold.customers import Row
from libs.common.fold.decider import Applied
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.idempotency import IdempotencyKeys
from libs.common.fold.loop import Fold
from libs.common.fold.shared import Shared, StaleResource
from libs.common.log.append import append
from libs.common.log.partition import partition_of
from libs.common.log.positions import Stored
from libs.common.log.reader import TopicPartition
from libs.common.observability import tracing

S = TypeVar("S")
R = TypeVar("R")


class _Locked(NamedTuple, Generic[S, R]):
    """A locked customer and shared resources, with the customer's partition, its position and the rules there."""

    tx: Tx
    row: Row[S]
    shared: Shared
    tp: TopicPartition
    stored: Stored
    rules: R


class Commands(Generic[S, R]):
    """Runs commands on the customers of one service."""

    def __init__(self, fold: Fold, handler: DeciderHandler[S, R]) -> None:
        self._fold = fold
        self._handler = handler
        self._database: Database = fold.database
        self._keys = IdempotencyKeys(fold.service, handler.customers.survivor)

    async def run(
        self,
        customer: UUID,
        body: msgspec.Struct,
        *,
        key: str,
        at: datetime,
        answer: Callable[[Applied[S]], Any],
        traceparent: str | None = None,
    ) -> Any:
        """Decide and apply `body` once for an idempotency `key`, in its own transaction; returns `answer(applied)`.

        The answer must be JSON-able. The same key again returns the stored answer and changes nothing; the same key
        with another body raises Conflict. If `decide` raises (RapportError), nothing is stored.
        """
        service, handler, began = self._fold.service, self._handler, time.time_ns()
        id = str(derived(service, "command", key))
        async with self._locked(customer, body, at) as locked:
            tx, row, shared, tp, stored, rules = locked
            if (known := await self._keys.answer(tx, key, row.id, body)) is not None:
                return msgspec.json.decode(known)
            input = command_input(handler.decider.source, type(body).__name__, id, at, body, traceparent, tp.partition)
            place = f"{tp.partition}/{stored.position.next}/{stored.rulebook}"
            applied = await handler.apply_with_shared(tx, row, input, rules, place, shared)
            await handler.customers.save(tx, [row])
            await handler.shared.save(tx, shared)
            await handler.decider.project(tx, [applied])
            result = await self._keys.store(tx, key, row.id, body, answer(applied))
            await append(tx, self._fold.writes, handler.outgoing(applied), self._fold.partitions)
        tracing.commanded(service, id, input.type, traceparent, began)
        return msgspec.json.decode(result)

    @asynccontextmanager
    async def _locked(self, customer: UUID, body: msgspec.Struct, at: datetime) -> AsyncIterator[_Locked[S, R]]:
        """A transaction that locks the row of `customer`'s survivor and no other customer's.

        The fold locks rows in id order, so waiting for a second row while holding one could deadlock. Shared resources
        come before customers: if the body draws on some, the transaction starts again and locks those first.
        """
        handler, id = self._handler, customer
        resources: tuple[Resource, ...] = ()
        while True:
            async with self._database.transaction() as tx:
                shared = await handler.shared.lock(tx, resources)
                id = await handler.customers.survivor(tx, id)
                row = (await handler.customers.load(tx, [id]))[id]
                if row.merged_into is not None:
                    continue
                tp = TopicPartition(JOURNAL, partition_of(str(row.id), self._fold.partitions))
                stored = await self._fold.positions.load(tx, tp)
                rules = await handler.rules(tx, stored.rulebook)
                resources = tuple(handler.shared.named(body, at, tp.partition, rules))
                if shared.holds(resources):
                    yield _Locked(tx, row, shared, tp, stored, rules)
                    return

    async def run_many(
        self, tx: Tx, bodies: Mapping[UUID, msgspec.Struct], *, key: str, at: datetime, traceparent: str | None = None
    ) -> list[Applied[S]]:
        """Decide and apply one command for each customer, in the given transaction; merged customers are skipped.

        Ids derive from `key` and the customer, so a retry gives the same facts. The caller must prevent a second run
        after the commit, by a mark in the same transaction. Call this last before the commit, because it locks the
        log's heads. Does not commit. If `decide` raises, the caller must roll back. Raises StaleResource (try again) if
        rules were published meanwhile.
        """
        service, handler = self._fold.service, self._handler
        shared = await handler.shared.lock(tx, await self._resources(tx, bodies, at))
        rows = await handler.customers.load(tx, bodies)
        active = [rows[id] for id in sorted(bodies) if rows[id].merged_into is None]
        partitions = [partition_of(str(row.id), self._fold.partitions) for row in active]
        stored = {
            partition: await self._fold.positions.load(tx, TopicPartition(JOURNAL, partition))
            for partition in sorted(set(partitions))
        }
        rules = {each.rulebook: await handler.rules(tx, each.rulebook) for each in stored.values()}
        customers_rules = [
            (row, rules[stored[partition].rulebook]) for row, partition in zip(active, partitions, strict=True)
        ]
        if not shared.holds(
            resource
            for (row, their_rules), partition in zip(customers_rules, partitions, strict=True)
            for resource in handler.shared.named(bodies[row.id], at, partition, their_rules)
        ):
            raise StaleResource("other rules were published meanwhile")
        sections = [
            section
            for row, their_rules in customers_rules
            for section in handler.named(row, bodies[row.id], their_rules)
        ]
        await handler.customers.load_sections(tx, sections)
        applied: list[Applied[S]] = []
        for row, partition in zip(active, partitions, strict=True):
            body, position, rulebook = bodies[row.id], stored[partition].position.next, stored[partition].rulebook
            id = str(derived(service, "command", key, str(row.id)))
            input = command_input(handler.decider.source, type(body).__name__, id, at, body, traceparent, partition)
            place = f"{partition}/{position}/{rulebook}"
            applied.append(await handler.apply_with_shared(tx, row, input, rules[rulebook], place, shared))
        await handler.customers.save(tx, active)
        await handler.shared.save(tx, shared)
        await handler.decider.project(tx, applied)
        outgoing = [record for each in applied for record in handler.outgoing(each)]
        await append(tx, self._fold.writes, outgoing, self._fold.partitions)
        return applied

    async def _resources(self, tx: Tx, bodies: Mapping[UUID, msgspec.Struct], at: datetime) -> set[Resource]:
        """The shared resources that the bodies may draw on under the rulebook in force."""
        if self._handler.decider.shared is None:
            return set()
        rules = await self._handler.rules(tx, await self._fold.positions.rulebook(tx))
        return {
            each
            for customer, body in bodies.items()
            for each in self._handler.shared.named(body, at, partition_of(str(customer), self._fold.partitions), rules)
        }
