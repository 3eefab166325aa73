"""One batch of events on loaded customers: plain Python, between the statements that load and save."""

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, tzinfo
from uuid import UUID

from libs.common.fold.work import Work
from libs.common.log.append import Outgoing
from libs.common.records import Binding, spliced
from services.profile.domain import decide, events, evolve
from services.profile.domain.events import Heard
from services.profile.domain.identity import Match, People, match


class Batch:
    """The events of a batch in their order, and what they have led to so far.

    `counts` (by day, counter and source) are what the batch adds to the counters; days are those of `zone`, by when
    things happened. Reading raises on a record that is bad.
    """

    def __init__(self, work: Work, zone: tzinfo) -> None:
        self._zone = zone
        self.outgoing: list[Outgoing] = []
        self.counts: Counter[tuple[date, str, str]] = Counter()
        self.heard: list[tuple[str, Heard]] = []
        for index, record in enumerate(work.records):
            if (event := events.read(record.value)) is None:
                self._count(record.appended_at, "skipped")
            else:
                self.heard.append((work.place(index), event))

    @property
    def received(self) -> dict[UUID, datetime]:
        """The ids of the events, with when each was first received."""
        return {event.id: event.received for _, event in reversed(self.heard)}

    def keep(self, unseen: set[UUID]) -> None:
        """Drop the events that have come before, and all but the first of those that are here twice."""
        kept = []
        for place, event in self.heard:
            if event.id in unseen:
                unseen.discard(event.id)
                kept.append((place, event))
            else:
                self._count(event.at, "duplicates", source=event.source)
        self.heard = kept

    @property
    def events(self) -> list[Heard]:
        return [event for _, event in self.heard]

    def apply(self, people: People, users: Iterable[str]) -> None:
        """All events. `users` are the references among the aliases' previous ids that are other customers' userIds."""
        identified = set(users)
        for place, event in self.heard:
            self._count(event.at, "refused:users", event.renamed in identified)
            self._apply(people, event, place)

    def _apply(self, people: People, event: Heard, place: str) -> None:
        bound: list[Binding] = []
        for user, device in decide.pairs(event):
            matched = match(people, user, device, event.id)
            self._count_match(event, matched, user)
            if matched.absorbs is None:
                bound += evolve.settle(people, matched)
            else:
                self._merge(people, event, matched, place)
        person = people.by_id[matched.customer]
        evolve.hear(person, event)
        self._journal(person.id, event.value, person.snapshot(bound), event)
        self._count(event.at, "events")

    def _merge(self, people: People, event: Heard, matched: Match, place: str) -> None:
        """`left` before `merged`, each with its customer as they are then; before anything later, on either key."""
        survivor, other = people.by_id[matched.customer], people.by_id[matched.absorbs or matched.customer]
        left = decide.left(event, other, survivor.id, place)
        self._journal(other.id, left, other.snapshot(), event)
        bound = evolve.settle(people, matched)
        merged = decide.merged(event, survivor, other.id, place)
        self._journal(survivor.id, merged, survivor.snapshot(bound), event)

    def _journal(self, customer: UUID, record: bytes, snapshot: bytes, event: Heard) -> None:
        self.outgoing.append(Outgoing(str(customer), spliced(record, snapshot), event.at))

    def _count_match(self, event: Heard, matched: Match, user: str | None) -> None:
        self._count(event.at, "customers", matched.creates - (matched.absorbs is not None))
        self._count(event.at, "identified", matched.claims or (matched.creates and user is not None))
        self._count(event.at, "claims", matched.claims)
        self._count(event.at, "merges", matched.absorbs is not None)
        if matched.refused:
            self._count(event.at, f"refused:{matched.refused}")

    def _count(self, at: datetime, counter: str, by: int = 1, source: str = "") -> None:
        if by:
            self.counts[at.astimezone(self._zone).date(), counter, source] += by
