"""Triggers' decider: the domain's functions, the compiled hooks of each rulebook, and the projection."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.records import Envelope
from libs.common.db.pipeline import AnyTx
from libs.common.db.pool import Tx
from libs.common.errors import Invalid, Unavailable
from libs.common.fold import rulebooks
from libs.common.fold.batch import Batch, Outcome
from libs.common.fold.decider import Applied
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.personal import Personal
from libs.common.log.append import Outgoing
from libs.common.rules import rule_event
from libs.common.rules.rule_event import RuleEvent
from services.triggers import store
from services.triggers.domain.decide import CHANGING, Decision, decide
from services.triggers.domain.evolve import absorb, evolve
from services.triggers.domain.rules import Rulebook, Rules, rules
from services.triggers.domain.state import Recipient
from services.triggers.event_catalogue import EventCatalogue
from services.triggers.settings import Settings

_KEPT = 16  # compiled rulebooks: a replay needs them one after the other


class TriggersDecider:
    """What the fold calls. `zone` and `without_consent` (`Rules`) are the workspace's."""

    source = "/triggers"
    state = Recipient
    decision = Decision
    sections = None
    shared = None

    def __init__(self, partitions: int, zone: ZoneInfo, without_consent: bool) -> None:
        self.event_catalogue = EventCatalogue(partitions)
        self.zone = zone
        self.without_consent = without_consent
        self._rules: dict[int, Rules] = {}

    def read(self, envelope: Envelope, rules: Rules) -> RuleEvent | None:
        """What rules see of a record. Triggers' own facts are read only for hooks that name them."""
        event = rule_event.read(envelope)
        echo = envelope.source == self.source and event is not None and event.name not in rules.by_event
        return None if echo else event

    def stateless(self, body: object, rules: Rules) -> bool:
        """A record that no hook names is only stored as the last of its name; but some facts change the customer."""
        return isinstance(body, RuleEvent) and body.name not in rules.by_event and body.kind not in CHANGING

    def decide(self, state: Recipient, input: Input, rules: Rules) -> Decision:
        return decide(state, input, rules)

    def evolve(self, state: Recipient, input: Input, decision: Decision) -> None:
        evolve(state, input, decision)

    def absorb(self, survivor: Recipient, other: Recipient) -> None:
        absorb(survivor, other)

    async def rules(self, tx: Tx, rulebook: int) -> Rules:
        """The live hooks of a rulebook, compiled once. Raises Unavailable when this release cannot compile them."""
        if rulebook not in self._rules:
            content = await rulebooks.content(tx, "triggers", rulebook)
            book = Rulebook(None, []) if content is None else msgspec.json.decode(content, type=Rulebook)
            if len(self._rules) > _KEPT:
                self._rules = {}
            try:
                self._rules[rulebook] = rules(book, self.zone, self.without_consent)
            except (Invalid, ValueError) as error:
                raise Unavailable(f"This release cannot read a hook of rulebook {rulebook}: {error}") from error
        return self._rules[rulebook]

    async def project(self, tx: Tx, applied: list[Applied[Recipient]]) -> None:
        await store.project(tx, applied)
        await self.event_catalogue.learn(tx, applied)


class TriggersHandler(DeciderHandler[Recipient, Rules]):
    """The fold's handler. After a commit it notifies the event catalogue and delivery. A replay has no `clock`."""

    decider: TriggersDecider

    def __init__(self, settings: Settings, clock: Callable[[], datetime] | None = None) -> None:
        without_consent = settings.without_consent == "send"
        decider = TriggersDecider(settings.partitions, settings.zone, without_consent)
        super().__init__("triggers", decider, Personal(("deliveries", "last_events")))
        self._clock = clock
        #: Called after the commit with the facts that a batch led to, and when it began (`time.time_ns()`).
        self.on_decided: Callable[[Sequence[Outgoing], int], None] = lambda facts, began: None

    async def rules(self, tx: Tx, rulebook: int) -> Rules:
        """The rules of a rulebook, and the time: the clock is read once a batch."""
        rules = await super().rules(tx, rulebook)
        return rules if self._clock is None else replace(rules, at=self._clock())

    async def apply(self, tx: AnyTx, batches: Sequence[Batch]) -> Outcome:
        event_catalogue, partitions = self.decider.event_catalogue, [batch.tp.partition for batch in batches]
        event_catalogue.begin(partitions)
        began = time.time_ns()
        outcome = await super().apply(tx, batches)
        outcome.committed.append(lambda: event_catalogue.committed(partitions))
        if outcome.outgoing:
            outcome.committed.append(lambda: self.on_decided(outcome.outgoing, began))
        return outcome
