"""What if: the journal under another programme or hook, beside the live state, which stays as it is."""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.rewards import REWARDS
from libs.common.errors import Invalid
from libs.common.log.append import Outgoing
from libs.common.replay.replayable import Change
from libs.common.replay.run import connect, replaying, snapshot
from libs.common.replay.what_if import what_if
from services.rewards import replay as rewards_replay
from services.rewards.settings import Settings
from tests.integration.rewards.service import ANN, BEN, PROGRAMME, Rewards, merge, order, refund
from tests.support import journal_record

CLEO = str(uuid.UUID(int=9, version=4))


@asynccontextmanager
async def asked(settings: Settings, programme: dict[str, Any]) -> AsyncIterator[dict[str, Change]]:
    """Who would be different, under a programme."""
    replayable = rewards_replay.replayable(settings)
    rules = await rules_of(settings, programme)
    async with replaying(replayable, settings, settings, "what_if", kind=what_if(rules)) as replay, snapshot(replay):
        found = rewards_replay.differences(replay.tx, "rewards", replay.shadow.schema)
        yield {str(change.customer): change async for change in found}


async def rules_of(settings: Settings, programme: dict[str, Any]) -> Any:
    connection = await connect(settings, "test")
    try:
        return await rewards_replay.rules_with(connection, json.dumps(programme).encode(), settings)
    finally:
        await connection.close()


async def echoed(rewards: Rewards) -> None:
    """The facts of rewards come back through the journal, as profile sends them."""
    known = {
        json.loads(row["value"])["id"]
        for row in await rewards.database.pool.fetch(f'SELECT value FROM log."{JOURNAL}"')
    }
    rows = await rewards.database.pool.fetch(
        f'SELECT key, value, time FROM log."{REWARDS}" ORDER BY partition, "offset"'
    )
    records = []
    for row in rows:
        fact = json.loads(row["value"])
        if fact["id"] not in known:
            fact["data"]["customer"] = {"id": row["key"]}
            records.append(Outgoing(row["key"], json.dumps(fact, separators=(",", ":")).encode(), row["time"]))
    await rewards.journal(*records)


BONUS = {"id": "bonus", "on": "Badge Earned", "earn": {"points": 1000}}


async def test_other_rules_see_their_own_facts_and_not_the_old_ones(
    rewards: Rewards, rewards_settings: Settings
) -> None:
    """A bonus on a badge is given for the badges of the new programme, once each, though the journal has the old one's."""
    await rewards.publish()  # two points a dollar, a badge from two orders on
    await rewards.journal(order(ANN, "a1", 10), order(ANN, "a2", 10), order(BEN, "b1", 10), order(CLEO, "c1", 30))
    await rewards.adjust(ANN, 7)
    await rewards.adjust(BEN, -5)
    await echoed(rewards)
    await rewards.journal(refund(CLEO, "c1"), *merge(BEN, CLEO))
    before = await rewards.facts()
    three = {
        **PROGRAMME,
        "badges": [{"id": "one", "name": "One", "count": 1}],
        "earning": [*PROGRAMME["earning"], BONUS],
    }
    async with asked(rewards_settings, three) as found:
        assert found.keys() == {ANN, BEN}
        assert (found[ANN].now["points"], found[ANN].then["points"]) == (47, 1047)
        assert (found[ANN].now["badges"], found[ANN].then["badges"]) == ({"regular": 1}, {"one": 1})
        # Cleo's badge was taken back with her refund before she merged; the bonus for it stays hers, and so Ben's
        assert (found[BEN].now["points"], found[BEN].then["points"]) == (15, 2015)
    assert await rewards.facts() == before


async def test_what_people_did_starts_rules_once(rewards: Rewards, rewards_settings: Settings) -> None:
    """An adjustment stays, and its news starts the other programme's rules, where the journal has it."""
    await rewards.publish()
    await rewards.journal(order(ANN, "a1", 10))
    await rewards.adjust(ANN, 5)
    await echoed(rewards)
    sorry = {"id": "sorry", "on": "Points Adjusted", "earn": {"points": 100}}
    async with asked(rewards_settings, {**PROGRAMME, "earning": [*PROGRAMME["earning"], sorry]}) as found:
        assert (found[ANN].now["points"], found[ANN].then["points"]) == (25, 125)


async def test_the_same_programme_changes_nothing(rewards: Rewards, rewards_settings: Settings) -> None:
    await rewards.journal(order(BEN, "early", 99))  # before any was in force
    await rewards.publish()
    await rewards.journal(order(ANN, "a1", 10), order(ANN, "a2", 40), order(BEN, "b1", 10), refund(ANN, "a1", 4))
    await rewards.adjust(ANN, 5)
    await echoed(rewards)
    async with asked(rewards_settings, PROGRAMME) as found:
        assert found == {}


async def test_a_faulty_programme_is_refused(rewards_settings: Settings) -> None:
    broken = {**PROGRAMME, "earning": [{"id": "x", "when": "event.", "earn": {"points": 1}}]}
    with pytest.raises(Invalid, match="condition of x is wrong"):
        await rules_of(rewards_settings, broken)


async def test_a_record_that_counts_for_nothing_any_more_leaves_nothing(
    rewards: Rewards, rewards_settings: Settings
) -> None:
    """What the old programme gave for a review is not taken for something that a person gave."""
    review = {"id": "review", "on": "Review Written", "earn": {"points": 50}}
    await rewards.publish({**PROGRAMME, "earning": [*PROGRAMME["earning"], review]})
    wrote = journal_record(
        ANN, {"type": "track", "event": "Review Written"}, id="r1", time=datetime(2026, 1, 2, tzinfo=UTC)
    )
    await rewards.journal(wrote, order(ANN, "a1", 10))
    await rewards.adjust(ANN, 1)
    async with asked(rewards_settings, PROGRAMME) as found:
        assert (found[ANN].now["points"], found[ANN].then["points"]) == (71, 21)
