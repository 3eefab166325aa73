"""Rewards as a decider of the fold: the domain's functions, the compiled programme of each rulebook, the projection."""

from zoneinfo import ZoneInfo

import msgspec

from libs.common.contracts.records import Envelope, Fact
from libs.common.db.pool import Tx
from libs.common.fold import rulebooks, timers
from libs.common.fold.decider import Applied, Cause, Merged
from libs.common.rules.rule_event import Happened
from services.rewards import store
from services.rewards.domain import causes
from services.rewards.domain.decide import decide
from services.rewards.domain.evolve import evolve
from services.rewards.domain.merge import absorb
from services.rewards.domain.programme import Programme
from services.rewards.domain.rules import Rules, compiled
from services.rewards.domain.state import Account
from services.rewards.standings import STANDING, standing

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

    def __init__(self, partitions: int, zone: ZoneInfo) -> None:
        self._partitions = partitions
        self._zone = zone
        self._rules: dict[int, Rules] = {0: Rules()}

    def read(self, envelope: Envelope, rules: Rules) -> Happened | None:
        happened = causes.read(envelope)
        return happened if happened is not None and rules.concern(happened) else None

    def stateless(self, body: object, rules: Rules) -> bool:
        """Nothing is: what concerns no rule is not even read."""
        return False

    def decide(self, state: Account, cause: Cause, rules: Rules) -> list[Fact]:
        return decide(state, cause, rules)

    def evolve(self, state: Account, cause: Cause, facts: list[Fact]) -> None:
        if isinstance(cause.body, Merged):
            cause.body.noted[STANDING] = standing(state)
        evolve(state, cause, facts)

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
