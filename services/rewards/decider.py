"""Rewards as a decider of the fold: the features in their order, the compiled programme of each rulebook, the projection."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from libs.common.contracts.input import Input, Resource
from libs.common.contracts.records import Envelope, Fact
from libs.common.db.pool import Tx
from libs.common.fold import rulebooks
from libs.common.fold.decider import Applied, Draws, Merged
from libs.common.rules.rule_event import RuleEvent
from services.rewards import inputs, standings
from services.rewards.course import Course, Decision
from services.rewards.features import FEATURES
from services.rewards.inputs import OrderCompleted
from services.rewards.ledger import expiry
from services.rewards.ledger.merge import merging
from services.rewards.programme import NO_RULES, Programme, Rules, compiled
from services.rewards.rules import Workspace
from services.rewards.state import SECTIONS, Account, part, standing

_KEPT = 16  # rulebooks: a replay meets them one after the other


class Rulebook(msgspec.Struct):
    """The content of a rulebook: which version of which programme, and the programme itself as JSON."""

    programme: str
    version: int
    content: msgspec.Raw


def shared(body: object, time: datetime, partition: int, rules: Rules) -> Iterator[Resource]:
    """The shared resources that an input may draw on, of all features."""
    for feature in FEATURES:
        yield from feature.shared(rules.sections.get(feature.name), body, time, partition)


def recorded(input: Input, rules: Rules, facts: Sequence[Fact]) -> dict[Resource, int]:
    """What stood in `input.shared` when these facts were decided, of all features."""
    return {
        resource: taken
        for feature in FEATURES
        for resource, taken in feature.recorded(rules.sections.get(feature.name), input, facts).items()
    }


class RewardsDecider:
    """What the fold calls."""

    source = "/rewards"
    state = Account
    decision = Decision
    sections = SECTIONS
    shared = Draws(shared, recorded)

    def __init__(self, partitions: int, zone: ZoneInfo) -> None:
        self._partitions = partitions
        self._zone = zone
        self._rules: dict[int, Rules] = {0: NO_RULES}

    def read(self, envelope: Envelope, rules: Rules) -> RuleEvent | None:
        event = inputs.read(envelope)
        return event if event is not None and rules.concern(event) else None

    def stateless(self, body: object, rules: Rules) -> bool:
        """Nothing is: what concerns no rule is not even read."""
        return False

    def decide(self, state: Any, input: Input, rules: Rules) -> Decision:
        return decide(state, input, rules)

    def evolve(self, state: Any, input: Input, decision: Decision) -> None:
        evolve(state, input, decision)

    def absorb(self, survivor: Any, other: Any) -> None:
        absorb(survivor, other)

    async def rules(self, tx: Tx, rulebook: int) -> Rules:
        """The programme of a rulebook, compiled once. Raises LookupError when there is no such rulebook."""
        if rulebook not in self._rules:
            content = await rulebooks.content(tx, "rewards", rulebook)
            if content is None:
                raise LookupError(f"rewards has no rulebook {rulebook}")
            book = msgspec.json.decode(content, type=Rulebook)
            if len(self._rules) > _KEPT:
                self._rules = {0: NO_RULES}
            self._rules[rulebook] = compiled(
                Programme.model_validate_json(bytes(book.content)), Workspace(self._zone, self._partitions)
            )
        return self._rules[rulebook]

    async def project(self, tx: Tx, applied: list[Applied[Any]]) -> None:
        for feature in FEATURES:
            await feature.project(tx, applied, self._partitions, self._zone)
        await standings.project(tx, applied, self._partitions, self._zone)


def decide(account: Any, input: Input, rules: Rules) -> Decision:
    """What follows for one customer, feature by feature. Pure: no clock, no I/O, the account unchanged.

    An order that has been counted already leads to nothing. Raises Conflict for an adjustment that would make the balance
    negative.
    """
    wallet = account.ledger
    if isinstance(input.body, OrderCompleted) and wallet.has_counted(input.body.order):
        return Decision()
    good_until = expiry.good_until(rules.sections["ledger"], input.time)
    course = Course(input, wallet.balance, wallet.qualifying, wallet.has_earned, good_until)
    notes = {}
    for feature in FEATURES:
        note = feature.decide(part(account, feature.name), course, rules.sections.get(feature.name))
        if note is not None:
            notes[feature.name] = note
    after_merge = standing(account) if isinstance(input.body, Merged) else {}
    return Decision(facts=course.facts, takes=course.takes, notes=notes, standing=after_merge)


def evolve(account: Any, input: Input, decision: Decision) -> None:
    """How an account changes for what happened and what was decided, feature by feature. Total: it never fails."""
    for feature in FEATURES:
        feature.evolve(part(account, feature.name), input, decision.facts, decision.notes.get(feature.name))


def absorb(survivor: Any, other: Any) -> None:
    """A merge: the account of a customer who turned out to be the same person is taken over, feature by feature. Total.

    What does not add up any more is decided right after, on the merged account.
    """
    between = merging(survivor.ledger, other.ledger)
    for feature in FEATURES:
        feature.merge(part(survivor, feature.name), part(other, feature.name), between)
