"""Histories of one customer, told to the domain as the fold tells them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.records import Fact, Snapshot, decode, encode, spliced
from libs.common.contracts.rewards import PointsAdjusted, PointsCredited, PointsReversed
from libs.common.fold.decider import Merged
from libs.common.fold.sections import Changes, Every, NotLoaded, One, Open, Ref, SectionRow, Sections, Wanted
from services.rewards import inputs
from services.rewards.badges.state import Progress
from services.rewards.course import Decision
from services.rewards.decider import absorb, decide, evolve
from services.rewards.ledger import booking
from services.rewards.ledger.state import CREDIT, Credit, Lot, Wallet, order_of
from services.rewards.programme import Programme, Rules, compiled, refuse_faulty
from services.rewards.state import SECTIONS, Account

DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
DECODERS = {kind: msgspec.json.Decoder(type) for kind, type in SECTIONS.types.items()}


def programme(**parts: Any) -> Rules:
    """A programme that would be accepted, compiled."""
    written = Programme.model_validate({"name": "Club", **parts})
    refuse_faulty(written)
    return compiled(written)


PER_UNIT = {"id": "per-unit", "earn": {"per": 1, "points": 2, "of": "revenue"}}
CLUB = programme(
    earning=[PER_UNIT, {"id": "each", "earn": {"points": 7}}],
    levels=[
        {"id": "start", "name": "Start", "points": 0},
        {"id": "silver", "name": "Silver", "points": 100},
        {"id": "gold", "name": "Gold", "points": 300},
    ],
    badges=[
        {"id": "first", "name": "First", "count": 1},
        {"id": "third", "name": "Third", "count": 3},
        {"id": "pairs", "name": "Pairs", "count": 2, "repeatable": True},
    ],
)


@dataclass
class Customer:
    """A customer's account and every fact decided on it."""

    rules: Rules = field(default=CLUB, repr=False)
    account: Any = field(default_factory=Account)
    facts: list[Fact] = field(default_factory=list)
    told: int = 0
    stored: dict[Ref, SectionRow] = field(default_factory=dict, repr=False)

    @property
    def wallet(self) -> Wallet:
        wallet: Wallet = self.account.ledger
        return wallet

    @property
    def credits(self) -> dict[str, Credit]:
        """What is stored of the credits, by their keys."""
        stored = {
            key: msgspec.json.decode(row.value, type=Credit)
            for (kind, key), row in self.stored.items()
            if kind == CREDIT
        }
        assert all(credit.rank == self.stored[CREDIT, key].rank for key, credit in stored.items())
        return stored

    @property
    def lots(self) -> list[tuple[str | None, Lot]]:
        """The lots with the order that they came from, the oldest first."""
        lots = [(order_of(key), lot) for key, credit in self.credits.items() for lot in credit.lots]
        return sorted(lots, key=lambda each: each[1].earned_at)

    @property
    def level(self) -> str | None:
        level: str | None = self.account.levels.level
        return level

    def progress(self, badge: str) -> Progress:
        progress: Progress = self.account.badges.of(badge)
        return progress

    def tell(self, input: Input) -> list[Fact]:
        """One cause, as the fold applies it: `decide` must change nothing, and the state must survive its storage. Sections are
        loaded when they are named or looked for; `evolve` has to do with these."""
        if not isinstance(input.body, Merged):  # whose sections are all there
            self.account.hold(Sections(UUID(int=2), DECODERS))
        for wanted in SECTIONS.named(input.body, None):
            self.load(wanted)
        before, changes = msgspec.json.encode(self.account), self._changes()
        decision = self._decided(input)
        assert msgspec.json.encode(self.account) == before
        assert self._changes() == changes
        assert msgspec.json.decode(before, type=Account) == self.account
        evolve(self.account, input, decision)
        self._store()
        self.facts += decision.facts
        self.check()
        return decision.facts

    def load(self, wanted: Wanted) -> None:
        """What the fold loads, two at a time of what is open."""
        rows = sorted(self.stored.values(), key=lambda row: (row.rank or 0, row.key))
        match wanted:
            case One(kind, key):
                rows = [row for row in rows if (row.kind, row.key) == (kind, key)]
            case Open(kind, behind):
                ranked = [row for row in rows if row.kind == kind and row.rank is not None]
                rows = [row for row in ranked if behind is None or (row.rank or 0, row.key) > behind][:2]
        self.account.sections.loaded(wanted, rows, 2)

    def _decided(self, input: Input) -> Decision:
        while True:
            try:
                return decide(self.account, input, self.rules)
            except NotLoaded as missing:
                self.load(missing.wanted)

    def _changes(self) -> Changes:
        changes: Changes = self.account.sections.changes(msgspec.json.Encoder(decimal_format="string").encode)
        return changes

    def _store(self) -> None:
        changes = self._changes()
        for gone in changes.gone:
            del self.stored[gone]
        self.stored |= {(row.kind, row.key): row for row in changes.rows}

    def absorb(self, other: "Customer") -> list[Fact]:
        """A merge: the other's state, then what follows from it."""
        for each in (self, other):
            each.account.hold(Sections(UUID(int=2), DECODERS))
            each.load(Every())
        absorb(self.account, other.account)
        self.facts = [*other.facts, *self.facts]
        self.told = len(self.facts)
        return self.tell(input("merged", Merged(UUID(int=1)), type="customer.merged.v1"))

    def check(self) -> None:
        """What holds at any moment."""
        account, badges = self.wallet, self.account.badges
        lots = [lot for _, lot in self.lots]
        assert account.balance == sum(lot.remaining for lot in lots) - account.debt
        assert account.debt >= 0
        assert not account.debt or not any(lot.remaining for lot in lots)
        assert all(0 <= lot.remaining <= lot.points - lot.reversed and lot.reversed >= 0 for lot in lots)
        assert account.qualifying == sum(lot.points - lot.reversed for lot in lots if lot.rule is not None)
        assert account.has_earned == bool(lots)
        assert all(progress.count >= 0 for progress in badges.progress.values())
        booked = [booking.transaction(fact) for fact in self.facts]
        assert all(sum(posting.points for posting in each.postings) == 0 for each in booked if each)
        postings = [posting for each in booked if each for posting in each.postings]
        assert account.balance == sum(each.points for each in postings if each.account == booking.AVAILABLE)
        ids = [(fact.TYPE, fact.effect) for fact in self.facts[self.told :]]
        assert len(ids) == len(set(ids))
        self.told = len(self.facts)

    def points(self) -> list[tuple[str, int]]:
        """What was credited, reversed and adjusted, in order."""
        return [
            (type(fact).__name__, fact.points)
            for fact in self.facts
            if isinstance(fact, PointsCredited | PointsReversed | PointsAdjusted)
        ]

    def standing(self) -> dict[str, Any]:
        """What must not depend on the order of arrival."""
        account, badges = self.wallet, self.account.badges
        return {
            "balance": account.balance,
            "qualifying": account.qualifying,
            "level": self.level,
            "badges": {id: (each.count, each.earned) for id, each in badges.progress.items() if each.count},
            "lots": sorted((lot.points, lot.remaining, lot.reversed, lot.rule, order) for order, lot in self.lots),
        }


def input(id: str, body: Any, *, time: datetime = DAY, type: str = "track.v1", own: bool = False) -> Input:
    return Input(id, type, "/rewards" if own else "/apps/shop", time, time, 0, own, None, body)


def heard(
    id: str,
    data: dict[str, Any],
    *,
    type: str = "track.v1",
    time: datetime = DAY,
    customer: Snapshot | None = None,
    own: bool = False,
) -> Input:
    """A record of the journal, as the service reads it."""
    source = "/rewards" if own else "/apps/shop"
    raw = encode(id=id, source=source, type=type, time=time, recordedtime=time, data=data)
    envelope = decode(spliced(raw, msgspec.json.encode(customer or Snapshot(id="c"))))
    return input(id, inputs.read(envelope), time=time, type=type, own=own)


def event(
    name: str, id: str = "e1", *, time: datetime = DAY, customer: Snapshot | None = None, **properties: Any
) -> Input:
    data = {"type": "track", "messageId": id, "event": name, "properties": properties, "currency": "USD"}
    return heard(id, data, time=time, customer=customer)


def order(
    id: str, revenue: float | str | None = None, *, record: str | None = None, day: int = 0, **more: Any
) -> Input:
    properties = {"order_id": id, **more} | ({} if revenue is None else {"revenue": revenue})
    return event("Order Completed", record or f"o-{id}", time=DAY + timedelta(days=day), **properties)


def refund(id: str, amount: float | str | None = None, *, record: str = "", **more: Any) -> Input:
    properties = {"order_id": id, **more} | ({} if amount is None else {"revenue": amount})
    return event("Order Refunded", f"r-{id}-{record}", **properties)


def adjust(points: int, id: str = "adjust", reason: str = "kindness") -> Input:
    return input(id, inputs.Adjust(points, reason), type="Adjust")


def of(facts: list[Fact], *kinds: type[Fact]) -> list[Fact]:
    return [fact for fact in facts if isinstance(fact, kinds)]
