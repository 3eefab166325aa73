"""A batch of events applied to loaded customers: plain Python, between the statements that load and those that save."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, tzinfo
from typing import NamedTuple, TypeAlias
from uuid import UUID

from libs.common.contracts.profile import ErasureAnswered, Redacted
from libs.common.contracts.records import Binding, decode, spliced
from libs.common.fold.batch import Batch
from libs.common.fold.sections import Every, One, Sections, Wanted
from libs.common.log.append import Outgoing
from libs.common.log.reader import Record
from services.profile import consents
from services.profile.consents import ConsentRow
from services.profile.domain import decide, events, evolve
from services.profile.domain.consent import Change, Choice, Proof
from services.profile.domain.decide import Cause
from services.profile.domain.events import DedupKey, Event
from services.profile.domain.identity import LoadedCustomer, Match, WorkingSet, match
from services.profile.domain.journey import AsOf
from services.profile.domain.state import ORDER, micros
from services.profile.erasure.tombstones import Tombstone, is_erased
from services.profile.journal import journalled
from services.profile.merges.merge import MergeCause, MergeRow, merge, needed
from services.profile.segments import membership
from services.profile.segments.rules import NEW, Rules


class PlacedEvent(NamedTuple):
    """An event, its partition, and its place there."""

    partition: int
    place: str
    event: Event


Lacking: TypeAlias = tuple[Sections, Wanted]


def _lacking(sections: Sections, wanted: Iterable[Wanted]) -> Iterator[list[Lacking]]:
    if lacking := [(sections, each) for each in wanted if not sections.has(each)]:
        yield lacking


class EventBatch:
    """The events of a few partitions in their order, and their results so far.

    `counts` (by partition, day, counter and source) is what the batch adds to the counters. Days are those of `zone`,
    by when things happened. `consents` are the rows that it adds to the history of consent, `merges` those that it adds to
    the list of merges. `answers` are ingest's answers to erasures. The constructor raises on a bad record.
    """

    def __init__(self, batches: Sequence[Batch], zone: tzinfo, rules: Rules | None = None) -> None:
        self._zone = zone
        self.rules = rules or Rules()
        self.outgoing: list[Outgoing] = []
        self.consents: list[ConsentRow] = []
        self.merges: list[MergeRow] = []
        self.counts: Counter[tuple[int, date, str, str]] = Counter()
        self.placed: list[PlacedEvent] = []
        self.answers: list[Record] = []
        for batch in batches:
            for index, record in enumerate(batch.records):
                if (event := events.read(record.value)) is not None:
                    self.placed.append(PlacedEvent(batch.tp.partition, batch.place(index), event))
                elif (type := decode(record.value).type) == ErasureAnswered.TYPE:
                    self.answers.append(record)
                elif type != Redacted.TYPE:
                    self._count(batch.tp.partition, record.appended_at, "skipped")

    @property
    def received(self) -> dict[DedupKey, datetime]:
        """The dedup keys of the events, each with the time of first receipt."""
        return {DedupKey(placed.partition, placed.event.id): placed.event.received for placed in reversed(self.placed)}

    def keep(self, unseen: set[DedupKey]) -> None:
        """Drop duplicates: events that came before, and all but the first of those that are here twice."""
        kept = []
        for placed in self.placed:
            dedup_key = DedupKey(placed.partition, placed.event.id)
            if dedup_key in unseen:
                unseen.discard(dedup_key)
                kept.append(placed)
            else:
                self._count(placed.partition, placed.event.at, "duplicates", source=placed.event.source)
        self.placed = kept

    def forget(self, tombstones: Mapping[str, Tombstone]) -> None:
        """Drop the events that were received before the customer whom they are about was erased."""
        kept = []
        for placed in self.placed:
            if is_erased(placed.event, tombstones):
                self._count(placed.partition, placed.event.received, "erased:events")
            else:
                kept.append(placed)
        self.placed = kept

    @property
    def events(self) -> list[Event]:
        return [placed.event for placed in self.placed]

    def named(self, working_set: WorkingSet) -> Iterator[Lacking]:
        """The sections that the events will probably need, judged by the customers as they are before the batch."""
        for _, _, event in self.placed:
            for user, device in decide.pairs(event):
                if event.order or working_set.meet(user, device):
                    matched = match(working_set, user, device, event.id)
                    if matched.absorbs is not None:
                        yield working_set.by_id[matched.absorbs].state.sections, Every(ORDER)
                    if event.order and not matched.creates:
                        yield working_set.by_id[matched.customer].state.sections, One(ORDER, event.order)

    def apply(self, working_set: WorkingSet, users: Iterable[str]) -> Iterator[list[Lacking]]:
        """Apply all events. `users` are those previous ids of aliases that are other customers' userIds.

        It yields sections that it needs; load them before you go on.
        """
        identified = set(users)
        for placed in self.placed:
            event = placed.event
            self._count(placed.partition, event.at, "refused:users", event.renamed in identified)
            yield from self._apply(working_set, placed)

    def _apply(self, working_set: WorkingSet, placed: PlacedEvent) -> Iterator[list[Lacking]]:
        partition, _, event = placed
        bound: list[Binding] = []
        is_new = False
        for user, device in decide.pairs(event):
            matched = match(working_set, user, device, event.id)
            self._count_match(partition, event, matched, user)
            is_new |= matched.creates
            if matched.absorbs is None:
                bound += evolve.apply_match(working_set, matched)
                if matched.creates:
                    working_set.by_id[matched.customer].state.filled = self.rules.number
            else:
                survivor, other = working_set.by_id[matched.customer], working_set.by_id[matched.absorbs]
                cause = MergeCause(Cause.event(event), event.name, event.source, placed.place)
                yield from self.merge(working_set, survivor, other, cause, partition)
        loaded = working_set.by_id[matched.customer]
        if event.order:
            yield from _lacking(loaded.state.sections, [One(ORDER, event.order)])
        change, before = decide.consent(loaded.state, event), loaded.state.consent
        changed = evolve.apply_event(loaded, event)
        if change is not None:
            evolve.apply_consent(loaded, change)
            changed.append("consent")
        if matched.claims:
            changed.append("identified")
        if event.name in self.rules.journey.advocate_events:
            changed += evolve.recommend(loaded)
        if is_new:
            changed.append(NEW)
        facts = self._segments(loaded, event, changed) if self.rules.active else ()
        self._journal(loaded.id, event.value, loaded.snapshot(self._as_of(event), bound), event.at, event.name)
        if change is not None:
            self._consent(loaded, before, placed, change)
        for fact in facts:
            self.outgoing.append(journalled(loaded, fact, Cause.event(event), placed.place, self.rules.journey))
        self._count(partition, event.at, "events")

    def _segments(self, loaded: LoadedCustomer, event: Event, changed: list[str]) -> list[membership.SegmentFact]:
        """The segments that an event's customer enters or leaves by it."""
        if event.name in self.rules.by_event:
            changed += membership.count(loaded.state, self.rules, event.name, decode(event.value))
        return membership.follow(loaded, self.rules, changed, micros(event.received), imported=event.imported)

    def _consent(
        self, loaded: LoadedCustomer, before: Mapping[str, Choice], placed: PlacedEvent, change: Change
    ) -> None:
        """Keep what an event said of consent, and journal what it changed, after the event."""
        event, said = placed.event, placed.event.consent
        proof = Proof(event.source, said.text_version if said else None)
        self.consents += [consents.row(loaded.id, event, statement, proof) for statement in change.kept]
        self._count(placed.partition, event.at, "refused:consents", change.refused + (said.refused if said else 0))
        for fact in decide.consent_changes(before, loaded.state.consent, proof):
            self.outgoing.append(journalled(loaded, fact, Cause.event(event), placed.place, self.rules.journey))

    def merge(
        self,
        working_set: WorkingSet,
        survivor: LoadedCustomer,
        other: LoadedCustomer,
        cause: MergeCause,
        partition: int = 0,
    ) -> Iterator[list[Lacking]]:
        """Merge `other` into `survivor`, and count it. It yields sections that it needs; load them before you go on."""
        while lacking := list(needed(survivor, other)):
            yield lacking
        both_identified = survivor.state.user is not None and other.state.user is not None
        merged = merge(working_set, survivor, other, cause, self.rules.journey)
        if self.rules.active:
            membership.wait(survivor, micros(cause.follows.received), cause.follows.imported)
        self.outgoing += merged.outgoing
        self.merges.append(merged.row)
        for counter, by in (("customers", -1), ("merges", 1), ("identified", -both_identified)):
            self._count(partition, cause.follows.at, counter, by)

    def _as_of(self, event: Event) -> AsOf:
        return AsOf(micros(event.received), self.rules.journey)

    def _journal(self, customer: UUID, record: bytes, snapshot: bytes, at: datetime, name: str) -> None:
        self.outgoing.append(Outgoing(str(customer), spliced(record, snapshot), at, name))

    def _count_match(self, partition: int, event: Event, matched: Match, user: str | None) -> None:
        if matched == Match(matched.customer):
            return  # as of most events: nothing changes
        counts = {
            "customers": matched.creates,
            "identified": matched.claims or (matched.creates and user is not None),
            "claims": matched.claims,
            f"refused:{matched.refused}": bool(matched.refused),
        }
        for counter, by in counts.items():
            self._count(partition, event.at, counter, by)

    def count_moves(self, customers: Iterable[LoadedCustomer], partition: int) -> None:
        """Count who entered and left segments."""
        self.counts.update(membership.moves_by_day(customers, self._zone, partition))  # += would drop what is below 0

    def count_erased(self, partition: int, at: datetime) -> None:
        """Count an erased customer."""
        self._count(partition, at, "erased")

    def _count(self, partition: int, at: datetime, counter: str, by: int = 1, source: str = "") -> None:
        if by:
            self.counts[partition, at.astimezone(self._zone).date(), counter, source] += by
