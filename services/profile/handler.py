"""Profile's part of the fold: events and facts in, the journal out."""

from datetime import date, datetime, tzinfo
from uuid import UUID

import asyncpg
import prometheus_client
from prometheus_client import CollectorRegistry

from libs.common import records
from libs.common.db import Tx
from libs.common.fold.work import Outcome, Work
from libs.common.log.append import Outgoing
from libs.common.log.reader import Record
from libs.common.records import spliced
from libs.common.topics import EVENTS
from services.profile import store, weeks
from services.profile.batch import Batch
from services.profile.domain.events import require_splice


class Profile:
    """Binds each record to its customer, and journals it with the customer as they then are."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._weeks: set[date] = set()
        self._duplicates: prometheus_client.Counter | None = None

    def measure(self, registry: CollectorRegistry) -> None:
        """Count dropped duplicates in the service's metrics."""
        self._duplicates = prometheus_client.Counter(
            "rapport_duplicates", "Events dropped because they had come before.", ["source"], registry=registry
        )

    async def apply(self, tx: Tx, work: Work) -> Outcome:
        """One batch, in the transaction given. Does not commit."""
        await store.by_index(tx)
        return await (self._events if work.where.topic == EVENTS else self._facts)(tx, work)

    async def pass_over(self, tx: Tx, record: Record) -> None:
        """Nothing: what profile could not take concerns nobody yet."""

    async def _facts(self, tx: Tx, work: Work) -> Outcome:
        """Facts change nothing here: they are journalled as news of the customer, or of whom that one went into."""
        envelopes = [records.decode(record.value) for record in work.records]
        for record, envelope in zip(work.records, envelopes, strict=True):
            require_splice(record.value, envelope)
        survivors = await store.gather_survivors(tx, {UUID(record.key) for record in work.records})
        outgoing = []
        for record, envelope in zip(work.records, envelopes, strict=True):
            person = survivors[UUID(record.key)]
            outgoing.append(Outgoing(str(person.id), spliced(record.value, person.snapshot()), envelope.time))
        return Outcome(outgoing)

    async def _events(self, tx: Tx, work: Work) -> Outcome:
        """Drop duplicates, find or make the customers, apply in order, save."""
        batch = Batch(work, self._zone)
        received = batch.received
        spanned = {store.week_of(time) for time in received.values()}
        if not spanned <= self._weeks:
            await weeks.ensure(tx, spanned)
        batch.keep(await self._unseen(tx, work.where.partition, received))
        heard = batch.events
        people = await store.gather(tx, heard)
        batch.apply(people, await store.known(tx, {event.renamed for event in heard if event.renamed}))
        await store.save(tx, people)
        await store.count(tx, work.where.partition, batch.counts)
        return Outcome(batch.outgoing, [lambda: self._committed(batch, spanned)])

    async def _unseen(self, tx: Tx, partition: int, received: dict[UUID, datetime]) -> set[UUID]:
        try:
            return await store.unseen(tx, partition, received) if received else set()
        except asyncpg.CheckViolationError as error:
            self._weeks.clear()
            raise store.Contended("another process has dropped a week's table that was known here") from error

    def _committed(self, batch: Batch, spanned: set[date]) -> None:
        self._weeks |= spanned
        if self._duplicates is not None:
            for (_, counter, source), count in batch.counts.items():
                if counter == "duplicates":
                    self._duplicates.labels(source).inc(count)
