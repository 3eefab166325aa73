"""Profile's part of the fold: it reads events and facts, and writes the journal."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, tzinfo
from typing import NamedTuple
from uuid import UUID

import asyncpg
import prometheus_client
from prometheus_client import CollectorRegistry

from libs.common.contracts import records
from libs.common.contracts.ids import parsed
from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.records import spliced
from libs.common.db.pipeline import AnyTx, Pipeline, pipelined
from libs.common.db.pool import Tx
from libs.common.fold.batch import Batch, Outcome
from libs.common.log.append import Outgoing
from libs.common.log.reader import Record
from services.profile import consents, dedup_partitions, store
from services.profile.batch import EventBatch
from services.profile.domain.events import DedupKey, Event, require_splice
from services.profile.domain.identity import WorkingSet


class ParsedFact(NamedTuple):
    """A fact. It changes nothing here; it is journalled for its subject, or for the customer into whom the subject
    was merged."""

    record: Record
    envelope: records.Envelope
    subject: UUID

    @classmethod
    def read(cls, record: Record) -> "ParsedFact":
        """Parse a record. Raises ValueError or msgspec.DecodeError if it is no fact."""
        envelope = records.decode(record.value)
        require_splice(record.value, envelope)
        return cls(record, envelope, parsed(record.key))

    def journalled(self, working_set: WorkingSet) -> Outgoing:
        loaded = working_set.by_id[working_set.survivors[self.subject]]
        value = spliced(self.record.value, loaded.snapshot())
        return Outgoing(str(loaded.id), value, self.envelope.time, records.display_name(self.envelope.type))


class Profile:
    """Binds each record to its customer, and journals it with the customer's snapshot."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
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
        facts = [ParsedFact.read(record) for batch in batches if batch.tp.topic != EVENTS for record in batch.records]
        event_batch = EventBatch([batch for batch in batches if batch.tp.topic == EVENTS], self._zone)
        received = event_batch.received
        spanned = {store.week_of(time) for time in received.values()}
        async with pipelined(tx) as pipeline:
            if not spanned <= self._weeks:
                await dedup_partitions.ensure(pipeline, spanned)
            unseen, holders = await self._deduplicate(pipeline, received, event_batch.events)
            event_batch.keep(unseen)
            working_set = await store.load(pipeline, event_batch.events, {fact.subject for fact in facts}, holders)
            outgoing = [fact.journalled(working_set) for fact in facts]
            users = await store.known(pipeline, {event.renamed for event in event_batch.events if event.renamed})
            await store.load_sections(pipeline, event_batch.named(working_set))
            for lacking in event_batch.apply(working_set, users):
                await store.load_sections(pipeline, lacking)
            await store.save(pipeline, working_set)
            await consents.save(pipeline, event_batch.consents)
            await store.count(pipeline, event_batch.counts)
        return Outcome(outgoing + event_batch.outgoing, [lambda: self._committed(event_batch, spanned)])

    async def skip(self, tx: Tx, record: Record) -> None:
        """Nothing to keep: a record that profile could not apply belongs to no customer yet."""

    async def _deduplicate(
        self, pipeline: Pipeline, received: Mapping[DedupKey, datetime], events: Sequence[Event]
    ) -> tuple[set[DedupKey], dict[str, UUID]]:
        try:
            return await store.deduplicate(pipeline, received, store.named(events))
        except asyncpg.CheckViolationError as error:
            self._weeks.clear()
            raise store.Contended("another process has dropped a week's table that was known here") from error

    def _committed(self, event_batch: EventBatch, spanned: set[date]) -> None:
        self._weeks |= spanned
        if self._duplicates is not None:
            for (_, _, counter, source), count in event_batch.counts.items():
                if counter == "duplicates":
                    self._duplicates.labels(source).inc(count)
