"""What a replay makes of rewards: accounts, the ledger's entries and sums, standings."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec

from libs.common.db.pool import Tx
from libs.common.fold.handler import DeciderHandler
from libs.common.replay.replayable import CUSTOMERS, IDENTIFIERS, SECTIONS, Change, Compared, Replayable
from libs.common.settings import Settings
from services.rewards.decider import RewardsDecider
from services.rewards.features import FEATURES
from services.rewards.personal import personal
from services.rewards.programme import NO_RULES, Programme, Rules, compiled, refuse_faulty
from services.rewards.rules import Workspace
from services.rewards.state import Account, part

COMPARED = (
    CUSTOMERS,
    IDENTIFIERS,
    SECTIONS,
    *(each for feature in FEATURES for each in feature.compared),
    Compared("standings", ("customer", "kind", "item", "count"), "customer"),
    Compared("standing_days", ("customer", "day", "kind", "item", "count"), "customer", "count <> 0"),
    Compared("daily_totals", ("day", "kind", "item"), sums=("count",)),
)
#: Timers are not compared: one that has nothing to do any more stays until its time.
STATE = (*(each.table for each in COMPARED), "timers")

_PAGE = """
SELECT id, l.state AS now, s.state AS then FROM "{live}".customers l FULL JOIN "{shadow}".customers s USING (id)
WHERE l.state IS DISTINCT FROM s.state AND ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT 1000
"""
_decoder = msgspec.json.Decoder(Account)


def replayable(settings: Settings) -> Replayable[Any, Rules]:
    """Rewards as a replay sees it."""
    handler = DeciderHandler(
        "rewards", RewardsDecider(settings.partitions, settings.zone), personal(settings.partitions, settings.zone)
    )
    return Replayable("rewards", handler, STATE, COMPARED, differences)


async def rules_with(tx: Tx, content: bytes, settings: Settings) -> Callable[[Tx, int], Awaitable[Rules]]:
    """The rules of a what-if: this programme (JSON) wherever one was in force, or always where none ever was.

    Raises ValueError for what is no programme, and Invalid for a faulty one.
    """
    programme = Programme.model_validate_json(content)
    refuse_faulty(programme)
    candidate = compiled(programme, Workspace(settings.zone, settings.partitions))
    published = await tx.fetchval("SELECT count(*) FROM rewards.rulebooks")

    async def rules(tx: Tx, rulebook: int) -> Rules:
        return candidate if rulebook or not published else NO_RULES

    return rules


async def differences(tx: Tx, live: str, shadow: str) -> AsyncIterator[Change]:
    """The customers whose points, level or badges would be others."""
    after: UUID | None = None
    while rows := await tx.fetch(_PAGE.format(live=live, shadow=shadow), after):
        after = rows[-1]["id"]
        for row in rows:
            now, then = _shown(row["now"]), _shown(row["then"])
            if now != then:
                yield Change(row["id"], now, then)


def _shown(state: bytes | None) -> dict[str, Any]:
    account = _decoder.decode(state) if state else Account()
    return {name: value for each in FEATURES for name, value in each.shown(part(account, each.name)).items()}
