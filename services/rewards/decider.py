"""Rewards as a decider of the fold: the domain's functions, the compiled programme of each rulebook, the projection."""

from zoneinfo import ZoneInfo

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.records import Envelope
from libs.common.db.pool import Tx
from libs.common.fold import rulebooks, timers
from libs.common.fold.decider import Applied
from libs.common.rules.rule_event import RuleEvent
from services.rewards import store
from services.rewards.domain import inputs
from services.rewards.domain.decide import Decision, decide
from services.rewards.domain.evolve import evolve
from services.rewards.domain.merge import absorb
from services.rewards.domain.programme import Programme
from services.rewards.domain.rules import Rules, compiled
from services.rewards.domain.state import Account

_KEPT = 16  # rulebooks: a replay meets them one after the other


#: The timer of a customer whose points are lost at a time.
EXPIRY = "points expire"


class Rulebook(msgspec.Struct):
    """The content of a rulebook: which version of which programme, and the programme itself as JSON."""

    programme: str
    version: int
    content: msgspec.Raw


class RewardsDecider:
    """What the fold calls."""

    source = "/rewards"
    state = Account
    decision = Decision
    sections = None

    def __init__(self, partitions: int, zone: ZoneInfo) -> None:
        self._partitions = partitions
        self._zone = zone
        self._rules: dict[int, Rules] = {0: Rules()}

    def read(self, envelope: Envelope, rules: Rules) -> RuleEvent | None:
        event = inputs.read(envelope)
        return event if event is not None and rules.concern(event) else None

    def stateless(self, body: object, rules: Rules) -> bool:
        """Nothing is: what concerns no rule is not even read."""
        return False

    def decide(self, state: Account, input: Input, rules: Rules) -> Decision:
        return decide(state, input, rules)

    def evolve(self, state: Account, input: Input, decision: Decision) -> None:
        evolve(state, input, decision)

    def absorb(self, survivor: Account, other: Account) -> None:
        absorb(survivor, other)

    async def rules(self, tx: Tx, rulebook: int) -> Rules:
        """The programme of a rulebook, compiled once. Raises LookupError when there is no such rulebook."""
        if rulebook not in self._rules:
            content = await rulebooks.content(tx, "rewards", rulebook)
            if content is None:
                raise LookupError(f"rewards has no rulebook {rulebook}")
            book = msgspec.json.decode(content, type=Rulebook)
            if len(self._rules) > _KEPT:
                self._rules = {0: Rules()}
            self._rules[rulebook] = compiled(Programme.model_validate_json(bytes(book.content)), self._zone)
        return self._rules[rulebook]

    async def project(self, tx: Tx, applied: list[Applied[Account]]) -> None:
        await store.project(tx, applied, self._partitions, self._zone)
        accounts = {each.customer: each.state for each in applied}
        due = {id: when for id, account in accounts.items() if (when := account.next_expiry()) is not None}
        await timers.set_at(tx, "rewards", EXPIRY, due, self._partitions)
