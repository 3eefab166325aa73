"""Runs commands: a REST call that changes a customer and is journalled, in a transaction of its own."""

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from libs.common.contracts.ids import derived, fresh
from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Tx
from libs.common.errors import NotFound, Unavailable
from libs.common.fold.customers import survivor
from libs.common.fold.idempotency import IdempotencyKeys
from libs.common.fold.service import ConsumerService
from libs.common.log.append import Outgoing, append
from libs.common.log.notifier import Written
from libs.common.observability import tracing
from libs.common.observability.telemetry import current_traceparent
from services.profile import consents, notes, store, tasks
from services.profile.domain.commands import Call, Command, Decision, FinishTask, TellDueTask, decide, evolve
from services.profile.domain.decide import Cause
from services.profile.domain.identity import LoadedCustomer
from services.profile.domain.state import micros
from services.profile.journal import journalled
from services.profile.segments import membership
from services.profile.segments.rulebooks import Rulebooks

ATTEMPTS = 3


class Commands:
    """Locks a customer's survivor, decides, saves the state and the rows, and appends the facts with the new snapshot."""

    def __init__(self, part: ConsumerService, rulebooks: Rulebooks) -> None:
        self._part = part
        self._rulebooks = rulebooks
        self._keys = IdempotencyKeys("profile", lambda tx, customer: survivor(tx, "profile", customer))

    async def run(self, customer: UUID, command: Command, *, key: str | None = None, at: datetime | None = None) -> Any:
        """Decide and apply a command once for an idempotency `key`, as of `at` (now, if None). Returns its answer.

        The same key again returns the stored answer and changes nothing; the same key with another command raises
        Conflict. Without a key it runs each time. If `decide` raises, nothing is stored.
        """
        now, began = datetime.now(UTC), time.time_ns()
        call = Call(derived("profile", "command", key or str(fresh())), at or now, now, current_traceparent())
        for _ in range(ATTEMPTS):
            try:
                async with self._part.tx() as tx:
                    answer, written = await self._run(tx, customer, command, key, call)
            except store.Contended:  # a merge moved the customer between look-up and lock
                continue
            self._part.fold.notifier.notify_later(JOURNAL, written)
            tracing.commanded("profile", str(call.id), type(command).__name__, call.traceparent, began)
            return answer
        raise Unavailable("This customer is being merged: try again in a second.")

    async def _run(self, tx: Tx, customer: UUID, command: Command, key: str | None, call: Call) -> tuple[Any, Written]:
        try:
            working_set = await store.load(tx, (), {customer})
        except LookupError as error:
            raise NotFound(f"{error}") from error
        loaded = working_set.by_id[working_set.survivors[customer]]
        if key is not None and (known := await self._keys.answer(tx, key, loaded.id, command)) is not None:
            return msgspec.json.decode(known), {}
        task = await tasks.load(tx, command.task) if isinstance(command, FinishTask | TellDueTask) else None
        decision = decide(loaded, command, call, task)
        evolve(loaded, decision)
        outgoing = await self._journalled(tx, loaded, decision, call)
        await store.save(tx, working_set)
        await store.count(tx, membership.moves_by_day([loaded], self._part.settings.zone))
        await _project(tx, loaded, decision, call)
        if key is not None:
            await self._keys.store(tx, key, loaded.id, command, decision.answer)
        return decision.answer, await append(tx, JOURNAL, outgoing, self._part.fold.partitions)

    async def _journalled(self, tx: Tx, loaded: LoadedCustomer, decision: Decision, call: Call) -> list[Outgoing]:
        """The facts as records of the journal, and those on segments that follow. Each has the snapshot after the whole
        command."""
        if not decision.facts:
            return []
        loaded.touched = True
        rules = await self._rulebooks.rules(tx, await self._part.fold.positions.rulebook(tx))
        facts = [*decision.facts, *membership.follow(loaded, rules, decision.changed, micros(call.received))]
        cause = Cause(str(call.id), call.at, call.received, call.traceparent)
        return [journalled(loaded, fact, cause, None, rules.journey) for fact in facts]


async def _project(tx: Tx, loaded: LoadedCustomer, decision: Decision, call: Call) -> None:
    """Write the rows that routes read."""
    if decision.consent is not None and decision.proof is not None:
        rows = [consents.row(loaded.id, call, each, decision.proof) for each in decision.consent.kept]
        await consents.save(tx, rows)
    if decision.note is not None:
        await notes.save(tx, loaded.id, call.id, call.at, decision.note)
    if decision.task is not None:
        await tasks.save(tx, decision.task)
