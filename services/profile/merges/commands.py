"""Merges by an operator or a server: any two customers, also two with a userId each. With a preview that changes nothing."""

import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from libs.common.contracts.ids import derived, fresh
from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Tx
from libs.common.errors import Conflict, NotFound, Unavailable
from libs.common.fold import timers
from libs.common.fold.customers import Customers, survivor
from libs.common.fold.idempotency import IdempotencyKeys
from libs.common.fold.service import ConsumerService
from libs.common.log.append import append
from libs.common.log.notifier import Written
from libs.common.observability import tracing
from libs.common.observability.telemetry import current_traceparent
from services.profile import queries, store
from services.profile.batch import EventBatch
from services.profile.domain.decide import Cause
from services.profile.domain.identity import LoadedCustomer, WorkingSet, limit_reached
from services.profile.domain.state import IDENTIFIERS, MERGES, Customer, micros
from services.profile.merges import store as merges
from services.profile.merges.merge import MergeCause, needed
from services.profile.merges.preview import preview
from services.profile.segments import membership
from services.profile.segments.rulebooks import Rulebooks

ATTEMPTS = 3
#: What the list shows as the cause.
NAME, SOURCE = "Merge", "api"
_CONTENDED = "One of these customers is being merged: try again in a second."
_LIMITS = {"identifiers": f"{IDENTIFIERS} identifiers", "merges": f"{MERGES} merges"}


class MergeCustomers(msgspec.Struct, frozen=True):
    """Merge the customer of the reference `absorb` into that of `keep`."""

    keep: str
    absorb: str
    reason: str | None = None


class MergeCommands:
    """Locks both customers in the order of their ids, merges them as an event would, and appends the same two facts."""

    def __init__(self, part: ConsumerService, rulebooks: Rulebooks) -> None:
        self._part = part
        self._rulebooks = rulebooks
        self._customers = Customers("profile", Customer)
        self._keys = IdempotencyKeys("profile", lambda tx, customer: survivor(tx, "profile", customer))

    async def run(self, command: MergeCustomers, by: str, key: str | None = None) -> dict[str, Any]:
        """Merge once for an idempotency `key`. Returns the merge as the list shows it.

        The same key again returns the stored answer; the same key with another command raises Conflict. Raises NotFound
        for an unknown customer; Conflict if the two are one already, or a limit forbids it. Then nothing is stored.
        """
        now, began = datetime.now(UTC), time.time_ns()
        id = derived("profile", "command", key or str(fresh()))
        follows = Cause(str(id), now, now, current_traceparent())
        cause = MergeCause(follows, NAME, SOURCE, by=by, reason=command.reason)
        for _ in range(ATTEMPTS):
            try:
                async with self._part.tx() as tx:
                    answer, written = await self._run(tx, command, cause, key)
            except store.Contended:  # another merge moved a customer between look-up and lock
                continue
            self._part.fold.notifier.notify_later(JOURNAL, written)
            tracing.commanded("profile", str(id), type(command).__name__, follows.traceparent, began)
            return answer
        raise Unavailable(_CONTENDED)

    async def preview(self, command: MergeCustomers) -> dict[str, Any]:
        """What the merge would make of the survivor, and where the two contradict each other. Changes nothing. Raises what
        `run` raises."""
        for _ in range(ATTEMPTS):
            try:
                async with self._part.tx() as tx:
                    working_set, ours, theirs = await self._load(tx, command)
                    _require_mergeable(ours, theirs)
                    while lacking := list(needed(ours, theirs)):
                        await store.load_sections(tx, lacking)
                    rules = await self._rulebooks.rules(tx, await self._part.fold.positions.rulebook(tx))
            except store.Contended:
                continue
            found = preview(working_set, ours, theirs)
            customer = queries.in_full(ours.id, ours.state, rules)
            return {"survivor": ours.id, "other": theirs.id, "customer": customer, **found._asdict()}
        raise Unavailable(_CONTENDED)

    async def _load(self, tx: Tx, command: MergeCustomers) -> tuple[WorkingSet, LoadedCustomer, LoadedCustomer]:
        """Both customers, or twice the same. Raises NotFound, Invalid; Contended if an identifier moved meanwhile."""
        refs = (command.keep, command.absorb)
        ids = [await self._customers.resolve(tx, ref) for ref in refs]
        try:
            working_set = await store.load(tx, (), set(ids))
        except LookupError as error:
            raise NotFound(f"{error}") from error
        ours, theirs = (working_set.by_id[working_set.survivors[id]] for id in ids)
        for ref, loaded in zip(refs, (ours, theirs), strict=True):
            if ":" in ref and ref not in loaded.state.identifiers:
                raise store.Contended(f"{ref} leads to another customer now")
        return working_set, ours, theirs

    async def _run(
        self, tx: Tx, command: MergeCustomers, cause: MergeCause, key: str | None
    ) -> tuple[dict[str, Any], Written]:
        settings = self._part.settings
        working_set, ours, theirs = await self._load(tx, command)
        if key is not None and (known := await self._keys.answer(tx, key, ours.id, command)) is not None:
            return msgspec.json.decode(known), {}
        _require_mergeable(ours, theirs)
        rules = await self._rulebooks.rules(tx, await self._part.fold.positions.rulebook(tx))
        batch = EventBatch((), settings.zone, rules)
        for lacking in batch.merge(working_set, ours, theirs, cause):
            await store.load_sections(tx, lacking)
        due = membership.timers(working_set.by_id.values(), rules, micros(cause.follows.received))
        batch.count_moves(working_set.by_id.values(), 0)
        await store.save(tx, working_set)
        await timers.set_by(tx, "profile", membership.TIMER, due, settings.partitions)
        await merges.save(tx, batch.merges)
        await store.count(tx, batch.counts)
        answer = merges.shown(batch.merges[0]._asdict())
        if key is not None:
            await self._keys.store(tx, key, ours.id, command, answer)
        return answer, await append(tx, JOURNAL, batch.outgoing, settings.partitions)


def _require_mergeable(ours: LoadedCustomer, theirs: LoadedCustomer) -> None:
    """Raises Conflict."""
    if ours is theirs:
        raise Conflict(f"Both lead to the same customer, {ours.id}: there is nothing to merge.")
    if limit := limit_reached(ours, theirs):
        raise Conflict(
            f"The survivor would have more than {_LIMITS[limit]}, which is the limit: they stay two customers."
        )
