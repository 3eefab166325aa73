"""The state made again from the journal: what each of its records says about who is who, and what they did.

After a restore the end of the journal is ahead of the state. Each record names its customer and the identifiers that it led
to them; an event is there as it came; `left` and `merged` say the merges. So the customers come to where they were without
any of it being decided again. The records of one customer lie in one partition, in order; partitions may be read in any
order: of an identifier the higher version holds, and `merged` waits for `left`.
"""

from collections import Counter
from datetime import date, datetime, tzinfo
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.contracts import records
from libs.common.contracts.ids import parsed
from libs.common.contracts.profile import CustomerLeft, CustomerMerged
from libs.common.contracts.records import Binding, Bound, Envelope
from services.profile.domain import decide, events, evolve
from services.profile.domain.events import Heard
from services.profile.domain.identity import Match, People, Person
from services.profile.domain.state import Customer


class Told(NamedTuple):
    """A record of the journal: whose it is, which identifiers it led to them, and what it says (None: a fact)."""

    customer: UUID
    envelope: Envelope
    bound: list[Binding]
    body: Heard | CustomerLeft | CustomerMerged | None

    @property
    def counterpart(self) -> UUID:
        """With whom the customer is merged; of any other record the customer."""
        match self.body:
            case CustomerLeft(into=other) | CustomerMerged(other=other):
                return UUID(other)
        return self.customer

    @property
    def refs(self) -> list[str]:
        return [f"{each.kind}:{each.value}" for each in self.bound]

    @property
    def sequence(self) -> int:
        """Which of profile's own facts on its customer it is."""
        return int((self.envelope.stamp or "0").rpartition("/")[2])


class Journalled(NamedTuple):
    """A record to be written that the journal has lost."""

    customer: UUID
    value: bytes
    time: datetime


def told(key: str, value: bytes) -> Told:
    """A journal record, read. Raises ValueError or msgspec.DecodeError when it is none."""
    envelope = records.decode(value)
    bound = msgspec.json.decode(envelope.data, type=Bound).customer.bound
    body: Heard | CustomerLeft | CustomerMerged | None
    if envelope.type == CustomerLeft.TYPE:
        body = msgspec.json.decode(envelope.data, type=CustomerLeft)
    elif envelope.type == CustomerMerged.TYPE:
        body = msgspec.json.decode(envelope.data, type=CustomerMerged)
    else:
        body = events.read(value)
    return Told(parsed(key), envelope, bound, body)


class Tail:
    """What the records told so far come to. `counts` are what they add to the counters (as `Batch.counts`), `known` how
    often each event and fact was journalled."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self.counts: Counter[tuple[int, date, str, str]] = Counter()
        self.known: Counter[str] = Counter()
        #: Those who have left for somebody who has not taken them over yet, and the record that said so.
        self.leaving: dict[UUID, Told] = {}
        self._made: dict[UUID, str | None] = {}

    def apply(self, people: People, partition: int, record: Told) -> bool:
        """Apply one record of a partition; False when it must wait for a customer who has not left yet."""
        envelope = record.envelope
        match record.body:
            case CustomerLeft():
                self.leaving[record.customer] = record
            case CustomerMerged():
                if record.counterpart not in self.leaving:
                    return False
                person, _ = self._merge(people, partition, record, record.counterpart)
                person.state.facts = record.sequence
                self._bind(people, person, record.bound)
            case Heard() as event:
                person = self._person(people, partition, record.customer, envelope, envelope.id)
                identified = person.state.user is not None
                self._bind(people, person, record.bound)
                if person.state.user is not None and not identified:
                    self._count(partition, envelope, "identified")
                    if self._made.get(person.id) != envelope.id:
                        self._count(partition, envelope, "claims")
                evolve.hear(person, event)
                self._count(partition, envelope, "events")
                self.known[envelope.id] += 1
            case None:
                self.known[envelope.id] += 1
        return True

    def leave(self, people: People, partition: int, merged: Told) -> Journalled:
        """The `left` that a `merged` waits for and that is lost; the customer who leaves has no later record."""
        other = self._person(people, partition, merged.counterpart, merged.envelope, None)
        value = decide.left(cause(merged.envelope), other, merged.customer, _place(merged.envelope))
        value = records.spliced(value, other.snapshot())
        self.leaving[other.id] = told(str(other.id), value)
        return Journalled(other.id, value, merged.envelope.time)

    def take_over(self, people: People, partition: int, left: Told) -> Journalled:
        """The `merged` that was to follow a `left` and is lost."""
        person, bound = self._merge(people, partition, left._replace(customer=left.counterpart), left.customer)
        value = decide.merged(cause(left.envelope), person, left.customer, _place(left.envelope))
        return Journalled(person.id, records.spliced(value, person.snapshot(bound)), left.envelope.time)

    def _merge(self, people: People, partition: int, record: Told, other: UUID) -> tuple[Person, list[Binding]]:
        person = self._person(people, partition, record.customer, record.envelope, record.envelope.causationid)
        left = self.leaving.pop(other)
        self._person(people, partition, other, left.envelope, None)
        bound = evolve.settle(people, Match(person.id, absorbs=other))
        people.by_id[other].state.facts = left.sequence
        self._count(partition, record.envelope, "merges")
        self._count(partition, record.envelope, "customers", -1)
        return person, bound

    def _person(
        self, people: People, partition: int, customer: UUID, envelope: Envelope, because: str | None
    ) -> Person:
        """The customer, made if they are new; `because` is the event that made them."""
        if customer not in people.by_id:
            people.by_id[customer] = Person(customer, Customer(), touched=True)
            self._made[customer] = because
            self._count(partition, envelope, "customers")
        return people.by_id[customer]

    def _bind(self, people: People, person: Person, bound: list[Binding]) -> None:
        for kind, value, version in ((each.kind, each.value, each.version) for each in bound):
            ref = f"{kind}:{value}"
            holder = people.holder(ref)
            if holder is not None and holder.state.identifiers[ref] >= version:
                continue  # known, or it leads elsewhere by now: another partition's record said so
            if holder is not None:
                del holder.state.identifiers[ref]
                holder.touched = True
            if kind == "user":
                person.state.user = value
            people.lead(ref, person, version)
            person.touched = True

    def _count(self, partition: int, envelope: Envelope, counter: str, by: int = 1) -> None:
        self.counts[partition, envelope.time.astimezone(self._zone).date(), counter, ""] += by


def cause(fact: Envelope) -> Heard:
    """Of the event that led to a fact of profile's as much as that fact says; enough for the other half of a merge."""
    return Heard(
        id=parsed(fact.causationid or ""),
        name="",
        source=fact.source,
        at=fact.time,
        received=fact.recordedtime,
        traceparent=fact.traceparent,
        user=None,
        devices=(),
        renamed=None,
        traits={},
        purchase=None,
        value=b"",
    )


def _place(fact: Envelope) -> str:
    return (fact.stamp or "").rpartition("/")[0]
