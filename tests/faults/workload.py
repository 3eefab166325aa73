"""What the clients of one run say, all of it from its seed: people, their events, and how these are sent."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.faults.shop import DECIMALS

#: Everything happened well in the past, so that no clock that is an hour off makes it lie in the future.
LATEST = timedelta(days=2)
SPAN = timedelta(days=30)
#: More than rewards books for one order, less than what no service takes for money.
TOO_MANY_POINTS = Decimal(9_000_000_000_000)
NO_AMOUNT = "twelve"


@dataclass(frozen=True)
class Person:
    """One human being: all of these identifiers are theirs, and theirs alone. `user` is None for who never says."""

    number: int
    user: str | None
    devices: tuple[str, ...]

    @property
    def refs(self) -> tuple[str, ...]:
        """How REST names them."""
        return (*((f"user:{self.user}",) if self.user else ()), *(f"anon:{device}" for device in self.devices))


@dataclass(frozen=True)
class Said:
    """One event. `poison` names the service that cannot take it as it is; `amount` is then what it is mended to."""

    person: int
    kind: str
    message: str
    user: str | None
    device: str | None
    at: datetime
    event: str | None = None
    order: str | None = None
    amount: Decimal | None = None
    currency: str = "USD"
    traits: dict[str, Any] = field(default_factory=dict)
    previous: str | None = None
    poison: str = ""

    @property
    def id(self) -> tuple[str, str]:
        """What makes it the same event, however often it is sent."""
        return self.message, self.event or self.kind

    def stated(self, service: str = "") -> Decimal | None:
        """The amount as that service will have counted it in the end."""
        return TOO_MANY_POINTS if self.poison == "rewards" and service != "rewards" else self.amount

    def properties(self, mended: bool = False) -> dict[str, Any]:
        """As the client sends them; as an operator mends them."""
        said: dict[str, Any] = {"marker": self.message}
        if self.order is not None:
            said |= {"order_id": self.order, "currency": self.currency}
        amount = self.amount if mended else self.stated()
        if amount is not None:
            said["revenue"] = float(amount) if mended or self.poison != "profile" else NO_AMOUNT
        return said

    def body(self) -> dict[str, Any]:
        """The event in Segment's words."""
        said: dict[str, Any] = {"type": self.kind, "messageId": self.message, "timestamp": self.at.isoformat()}
        named = {"userId": self.user, "anonymousId": self.device, "event": self.event, "previousId": self.previous}
        said |= {name: value for name, value in named.items() if value is not None}
        match self.kind:
            case "identify":
                return {**said, "traits": self.traits}
            case "alias":
                return said
            case "group":
                return {**said, "groupId": "shop"}
        return {**said, "properties": self.properties()}


@dataclass(frozen=True)
class Adjust:
    """Points that a person of the shop gives, sent `copies` times at once under one key."""

    person: int
    ref: str
    points: int
    key: str
    copies: int


@dataclass(frozen=True)
class Workload:
    """`requests` in the order in which they are sent, each one event or a batch; duplicates are in them."""

    people: list[Person]
    requests: list[list[Said]]
    adjustments: list[Adjust]

    @property
    def events(self) -> dict[tuple[str, str], Said]:
        """What was said, each once."""
        return {said.id: said for request in self.requests for said in request}

    @property
    def poison(self) -> list[Said]:
        return [said for said in self.events.values() if said.poison]


def make(seed: int, namespace: str) -> Workload:
    """The workload of a seed; every identifier in it begins with `namespace`."""
    return _Maker(random.Random(f"workload {seed}"), namespace).make()  # noqa: S311 (a seed is the point)


class _Maker:
    def __init__(self, chance: random.Random, namespace: str) -> None:
        self._chance = chance
        self._namespace = namespace
        self._count = 0
        self._end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - LATEST

    def make(self) -> Workload:
        """A few people whose events come in one or a few at a time; in one of seven runs a crowd, in large batches."""
        crowd = self._chance.random() < 0.15
        people = [
            self._person(number)
            for number in range(self._chance.randint(30, 50) if crowd else self._chance.randint(6, 10))
        ]
        events = [said for person in people for said in self._life(person)]
        events = self._poisoned(events)
        sizes = (1, 1, 40, 120) if crowd else (1, 1, 1, 2, 4, 8)
        return Workload(people, self._requests(self._sent(events), sizes), self._adjustments(people))

    def _person(self, number: int) -> Person:
        devices = tuple(f"{self._namespace}-d{number}-{n}" for n in range(self._chance.randint(1, 3)))
        if self._chance.random() < 0.2:
            return Person(number, None, devices[:1])
        return Person(number, f"{self._namespace}-u{number}", devices)

    def _life(self, person: Person) -> list[Said]:
        """Each device is seen together with its user at least once: without that they would be two customers."""
        events = []
        if person.user is not None:
            for device in person.devices:
                events.append(self._linking(person, device))
        for _ in range(self._chance.randint(1, 4)):
            events.append(self._said(person, self._chance.choice(("page", "screen", "group"))))
        for _ in range(self._chance.choice((0, 0, 1, 2))):
            events.append(self._said(person, "track", event="Review Written"))
        for number in range(self._chance.choice((0, 1, 1, 2, 3))):
            events += self._order(person, f"{self._namespace}-o{person.number}-{number}")
        return events

    def _linking(self, person: Person, device: str) -> Said:
        if self._chance.random() < 0.2:
            alias = self._said(person, "alias", both=device, previous=device)
            return replace(alias, device=None)
        return self._said(person, "identify", both=device, traits=self._traits())

    def _order(self, person: Person, order: str) -> list[Said]:
        """An order, perhaps told again under another messageId, and what is given back of it."""
        currency = self._chance.choice(("USD", "USD", "EUR", "JPY"))
        amount = Decimal(self._chance.randint(500, 30_000)).scaleb(-DECIMALS[currency])
        terms = {"order": order, "currency": currency}
        done = self._said(person, "track", event="Order Completed", amount=amount, **terms)
        events = [done]
        if self._chance.random() < 0.2:
            again = self._said(person, "track", event="Order Completed", amount=amount, **terms)
            events.append(replace(again, at=done.at))
        match self._chance.choice(("kept", "kept", "part", "parts", "whole", "cancelled")):
            case "part":
                events.append(self._refund(person, self._part(amount, currency), **terms))
            case "parts":
                parts = [self._part(amount, currency) for _ in range(self._chance.randint(2, 3))]
                events += [self._refund(person, part, **terms) for part in parts]
            case "whole":
                events.append(self._refund(person, None, **terms))
            case "cancelled":
                events.append(self._said(person, "track", event="Order Cancelled", **terms))
        return events

    def _part(self, amount: Decimal, currency: str) -> Decimal:
        units = int(amount.scaleb(DECIMALS[currency]))
        return Decimal(self._chance.randint(1, units)).scaleb(-DECIMALS[currency])

    def _refund(self, person: Person, amount: Decimal | None, **terms: Any) -> Said:
        return self._said(person, "track", event="Order Refunded", amount=amount, **terms)

    def _traits(self) -> dict[str, Any]:
        names = self._chance.sample(("plan", "city", "age", "vip"), self._chance.randint(1, 3))
        return {name: self._chance.choice((None, "gold", "green", 42, True, "Zürich")) for name in names}

    def _said(self, person: Person, kind: str, both: str | None = None, **more: Any) -> Said:
        self._count += 1
        user, device = self._ids(person) if both is None else (person.user, both)
        # a microsecond of its own: which trait was said last is never in doubt
        at = self._end - timedelta(seconds=self._chance.randrange(int(SPAN.total_seconds())), microseconds=self._count)
        return Said(person.number, kind, f"{self._namespace}-m{self._count}", user, device, at, **more)

    def _ids(self, person: Person) -> tuple[str | None, str | None]:
        """With the userId, with the anonymousId of a device, or with both."""
        device = self._chance.choice(person.devices)
        if person.user is None:
            return None, device
        return self._chance.choice(((person.user, None), (None, device), (person.user, device)))

    def _poisoned(self, events: list[Said]) -> list[Said]:
        """Some orders have an amount that profile, or rewards, cannot take."""
        told = Counter(said.order for said in events)
        for place, said in enumerate(events):
            if said.event != "Order Completed" or self._chance.random() > 0.06:
                continue
            if self._chance.random() < 0.5:
                events[place] = replace(said, poison="profile")
            elif told[said.order] == 1:
                events[place] = replace(said, poison="rewards")
        return events

    def _sent(self, events: list[Said]) -> list[Said]:
        """Shuffled, or as they happened with some of them late; some twice. Poison is sent once."""
        if self._chance.random() < 0.5:
            self._chance.shuffle(events)
        else:
            late = SPAN.total_seconds() / 10
            events.sort(key=lambda said: said.at + timedelta(seconds=self._chance.expovariate(1 / late)))
        sent = list(events)
        for said in events:
            if not said.poison and self._chance.random() < 0.15:
                sent.insert(self._chance.randint(0, len(sent)), said)
        return sent

    def _requests(self, sent: list[Said], sizes: Sequence[int]) -> list[list[Said]]:
        requests = []
        while sent:
            size = self._chance.choice(sizes)
            requests.append(sent[:size])
            sent = sent[size:]
        return requests

    def _adjustments(self, people: list[Person]) -> list[Adjust]:
        chosen = [self._chance.choice(people) for _ in range(self._chance.randint(1, 4))]
        return [
            Adjust(
                person.number,
                person.refs[0],
                self._chance.randint(1, 60),
                f"{self._namespace}-k{number}",
                self._chance.randint(1, 3),
            )
            for number, person in enumerate(chosen)
        ]
