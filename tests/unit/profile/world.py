"""Profile's rules on customers in memory: what the store does, without a database."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any
from uuid import UUID

import msgspec

from libs.common.contracts.ids import derived
from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.records import encode
from libs.common.fold.batch import Batch
from libs.common.fold.sections import Every, One, Ref, SectionRow, Sections, Wanted
from libs.common.log.reader import Record, TopicPartition
from services.profile.batch import EventBatch
from services.profile.consents import ConsentRow
from services.profile.domain import state
from services.profile.domain.identity import LoadedCustomer, WorkingSet
from services.profile.domain.state import Customer

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def said(message: str, kind: str = "track", minute: int = 0, **data: Any) -> bytes:
    """An event as ingest writes it, `minute` after noon."""
    at = NOON + timedelta(minutes=minute)
    body = {"type": kind, "messageId": message, **({"event": "Clicked"} if kind == "track" else {}), **data}
    id = str(derived("/apps/test", message, kind, body.get("event", "")))
    return encode(id=id, source="/apps/test", type=f"{kind}.v1", time=at, recordedtime=at, data=body)


class World:
    """Customers, and the journal that came of what was said. States are stored and read again after each batch."""

    def __init__(self) -> None:
        self.next = 0
        self.stored: dict[UUID, dict[Ref, SectionRow]] = {}
        self.working_set = WorkingSet()
        self.seen: set[object] = set()
        self.journal: list[tuple[str, dict[str, Any]]] = []
        self.consents: list[ConsentRow] = []
        self.counts: Counter[str] = Counter()

    def tell(self, *values: bytes) -> None:
        """One batch."""
        offsets = range(self.next, self.next + len(values))
        self.next = offsets.stop
        records = [Record(EVENTS, 0, at, "key", value, NOON, at) for at, value in zip(offsets, values, strict=True)]
        batch = EventBatch([Batch(TopicPartition(EVENTS, 0), records, 0, offsets.start)], UTC)
        unseen = set(batch.received) - self.seen
        self.seen |= unseen
        batch.keep(set(unseen))
        for lacking in chain([[*batch.named(self.working_set)]], batch.apply(self.working_set, ())):
            for sections, wanted in lacking:
                self.load(sections, wanted)
        self.journal += [(record.key, msgspec.json.decode(record.value)) for record in batch.outgoing]
        self.consents += batch.consents
        for (_, _, counter, _), count in batch.counts.items():
            self.counts[counter] += count
        for id, loaded in self.working_set.by_id.items():
            changes = loaded.state.sections.changes(msgspec.json.encode)
            stored = {} if changes.emptied else self.stored.get(id, {})
            kept = {ref: row for ref, row in stored.items() if ref not in changes.gone}
            self.stored[id] = kept | {(row.kind, row.key): row for row in changes.rows}
            self.working_set.by_id[id] = LoadedCustomer.stored(
                id, state.decode(state.encode(loaded.state)), 1, loaded.merged_into
            )

    def load(self, sections: Sections, wanted: Wanted) -> None:
        """What was stored of it."""
        rows = [
            row
            for row in self.stored[sections.customer].values()
            if wanted in (Every(row.kind), One(row.kind, row.key))
        ]
        sections.loaded(wanted, rows, 100)

    def tell_all(self, values: Iterable[bytes]) -> "World":
        for value in values:
            self.tell(value)
        return self

    @property
    def living(self) -> list[LoadedCustomer]:
        return [loaded for loaded in self.working_set.by_id.values() if loaded.merged_into is None]

    def of(self, ref: str) -> Customer:
        loaded = self.working_set.holder(ref)
        assert loaded is not None
        return loaded.state
