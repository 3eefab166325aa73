"""Profile's part of the fold: it reads events and facts, and writes the journal."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, tzinfo
from typing import NamedTuple, cast
from uuid import UUID

import asyncpg
import prometheus_client
from prometheus_client import CollectorRegistry

from libs.common.contracts import records
from libs.common.contracts.ids import parsed
from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import ErasureAnswered, Redacted
from libs.common.contracts.records import spliced
from libs.common.db.pipeline import AnyTx, Pipeline, pipelined
from libs.common.db.pool import Tx
from libs.common.fold import timers
from libs.common.fold.batch import Batch, Outcome
from libs.common.fold.customers import NOBODY
from libs.common.log.append import Outgoing
from libs.common.log.keyed_hash import KeyedHash, no_key
from libs.common.log.reader import Record
from services.profile import consents, dedup_partitions, store
from services.profile.batch import EventBatch
from services.profile.domain import evolve
from services.profile.domain.decide import Cause
from services.profile.domain.events import DedupKey, Event, require_splice
from services.profile.domain.identity import WorkingSet
from services.profile.domain.journey import AsOf
from services.profile.domain.state import micros
from services.profile.erasure import answers as answered
from services.profile.erasure.tombstones import Tombstones
from services.profile.journal import journalled
from services.profile.merges import store as merges
from services.profile.segments import membership
from services.profile.segments.rulebooks import Rulebooks
from services.profile.segments.rules import Rules


class ParsedFact(NamedTuple):
    """A fact of another service. It is journalled for its subject, or for the customer into whom the subject was merged,
    and changes where they stand. `place` is its place in its topic."""

    record: Record
    envelope: records.Envelope
    subject: UUID
    place: str

    @classmethod
    def read(cls, record: Record, place: str) -> "ParsedFact":
        """Parse a record. Raises ValueError or msgspec.DecodeError if it is no fact."""
        envelope = records.decode(record.value)
        require_splice(record.value, envelope)
        return cls(record, envelope, parsed(record.key), place)

    def apply(self, working_set: WorkingSet, rules: Rules) -> list[Outgoing]:
        """Apply the fact to its customer. Returns it for the journal, and the facts on segments that follow."""
        loaded, envelope = working_set.by_id[working_set.survivors[self.subject]], self.envelope
        name = records.display_name(envelope.type)
        changed = evolve.apply_fact(loaded.state, envelope)
        changed += membership.count(loaded.state, rules, name, envelope)
        loaded.touched |= bool(changed)
        now, imported = micros(envelope.recordedtime), envelope.imported
        facts = membership.follow(loaded, rules, changed, now, imported=imported) if changed else []
        value = spliced(self.record.value, loaded.snapshot(AsOf(now, rules.journey)))
        cause = Cause.record(envelope)
        return [
            Outgoing(str(loaded.id), value, envelope.time, name),
            *(journalled(loaded, fact, cause, self.place, rules.journey) for fact in facts),
        ]


class Profile:
    """Binds each record to its customer, and journals it with the customer's snapshot."""

    def __init__(self, zone: tzinfo, partitions: int, hashes: Callable[[], KeyedHash] = no_key) -> None:
        """`hashes` gives the keyed hash of identifiers, once somebody was erased."""
        self._zone = zone
        self._tombstones = Tombstones(hashes)
        self._partitions = partitions
        self.rulebooks = Rulebooks()
        self._weeks: set[date] = set()
        self._duplicates: prometheus_client.Counter | None = None

    def measure(self, registry: CollectorRegistry) -> None:
        """Count dropped duplicates in the service's metrics."""
        self._duplicates = prometheus_client.Counter(
            "rapport_duplicates", "Events dropped because they had come before.", ["source"], registry=registry
        )

    async def apply(self, tx: AnyTx, batches: Sequence[Batch]) -> Outcome:
        """Apply batches of events and facts in the given transaction: drop duplicates, find or create customers,
        journal, save. Does not commit.

        Facts are journalled before the events of the same batches, so that a customer whom an event merges has not left
        yet.
        """
        facts, answers = _facts_and_answers(batch for batch in batches if batch.tp.topic != EVENTS)
        event_batch = EventBatch([batch for batch in batches if batch.tp.topic == EVENTS], self._zone)
        received = event_batch.received
        spanned = {store.week_of(time) for time in received.values()}
        async with pipelined(tx) as pipeline:
            rules = event_batch.rules = await self.rulebooks.rules(cast("Tx", pipeline), batches[0].rulebook)
            if not spanned <= self._weeks:
                await dedup_partitions.ensure(pipeline, spanned)
            found = await self._deduplicate(pipeline, received, event_batch.events)
            event_batch.keep(found.unseen)
            working_set = await store.load(
                pipeline, event_batch.events, {fact.subject for fact in facts}, found.holders
            )
            await self._forget_erased(pipeline, event_batch, working_set, found.newest_erasure)
            outgoing = [
                record
                for fact in facts
                if working_set.survivors[fact.subject] != NOBODY
                for record in fact.apply(working_set, rules)
            ]
            users = await store.known(pipeline, {event.renamed for event in event_batch.events if event.renamed})
            await store.load_sections(pipeline, event_batch.named(working_set))
            for lacking in event_batch.apply(working_set, users):
                await store.load_sections(pipeline, lacking)
            times = [*received.values(), *(fact.envelope.recordedtime for fact in facts)]
            now = max((micros(time) for time in times), default=0)
            due = membership.timers(working_set.by_id.values(), rules, now)
            event_batch.count_moves(working_set.by_id.values(), batches[0].tp.partition)
            await store.save(pipeline, working_set)
            await timers.set_by(cast("Tx", pipeline), "profile", membership.TIMER, due, self._partitions)
            await consents.save(pipeline, event_batch.consents)
            await merges.save(pipeline, event_batch.merges)
            await store.count(pipeline, event_batch.counts)
            await answered.collect(pipeline, [*answers, *event_batch.answers])
        return Outcome(outgoing + event_batch.outgoing, [lambda: self._committed(event_batch, spanned)])

    async def skip(self, tx: Tx, record: Record) -> None:
        """Nothing to keep: a record that profile could not apply belongs to no customer yet."""

    async def _deduplicate(
        self, pipeline: Pipeline, received: Mapping[DedupKey, datetime], events: Sequence[Event]
    ) -> store.Found:
        try:
            return await store.deduplicate(pipeline, received, store.named(events))
        except asyncpg.CheckViolationError as error:
            self._weeks.clear()
            raise store.Contended("another process has dropped a week's table that was known here") from error

    async def _forget_erased(
        self, pipeline: Pipeline, event_batch: EventBatch, working_set: WorkingSet, newest: datetime | None
    ) -> None:
        """Drop events that were received before their customer was erased. The customers are locked: whoever is erased later
        waits for this batch."""
        tombstones = await self._tombstones.find(pipeline, event_batch.events, working_set.guessed.keys(), newest)
        if tombstones:
            event_batch.forget(tombstones)
            working_set.continued = {ref: tombstone.version for ref, tombstone in tombstones.items()}

    def _committed(self, event_batch: EventBatch, spanned: set[date]) -> None:
        self._weeks |= spanned
        if self._duplicates is not None:
            for (_, _, counter, source), count in event_batch.counts.items():
                if counter == "duplicates":
                    self._duplicates.labels(source).inc(count)


def _facts_and_answers(batches: Iterable[Batch]) -> tuple[list[ParsedFact], list[Record]]:
    """The facts of other services, and their answers to erasures. Redacted records are neither."""
    facts: list[ParsedFact] = []
    answers: list[Record] = []
    for batch in batches:
        for index, record in enumerate(batch.records):
            fact = ParsedFact.read(record, batch.place(index))
            if fact.envelope.type == ErasureAnswered.TYPE:
                answers.append(record)
            elif fact.envelope.type != Redacted.TYPE:
                facts.append(fact)
    return facts, answers
