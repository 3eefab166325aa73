"""A budget that customers of all partitions race for: exact, and the same in a replay."""

import asyncio
import uuid
from collections import Counter
from typing import Any

import pytest

from libs.common.log.partition import partition_of
from libs.common.replay.run import compared
from services.rewards.replay import replayable
from services.rewards.settings import Settings
from tests.integration.rewards.service import Rewards, merge, order, refund

PEOPLE = [str(uuid.UUID(int=number, version=4)) for number in range(1, 33)]


def club(points: int, **budget: Any) -> dict[str, Any]:
    each = {"id": "each", "earn": {"points": 7}, "budget": {"points": points, **budget}}
    return {"name": "Club", "earning": [each, {"id": "free", "earn": {"points": 1}}]}


@pytest.mark.parametrize("when_spent", ["trim", "refuse"])
async def test_eight_partitions_use_it_up_exactly(
    rewards: Rewards, rewards_settings: Settings, when_spent: str
) -> None:
    await rewards.publish(club(500, per="month", when_spent=when_spent))
    assert {partition_of(each, 8) for each in PEOPLE} == set(range(8))

    async def buy(who: str) -> None:
        for number in range(5):
            await rewards.append(order(who, f"{who}-{number}", 10))

    await asyncio.gather(*(buy(who) for who in PEOPLE), *(rewards.adjust(who, 3) for who in PEOPLE[:6]))
    await rewards.caught_up()
    facts = await rewards.facts()
    given = [
        each["data"]["points"] for each in facts if each["data"].get("rule") == "each" and "balance" in each["data"]
    ]
    withheld = [each["data"] for each in facts if each["type"] == "points.withheld.v1"]
    expected = 500 if when_spent == "trim" else 497  # 71 times 7
    assert sum(given) == expected
    assert sum(each["points"] for each in withheld) == 160 * 7 - expected
    assert {each["period"] for each in withheld} == {"2026-01"}
    assert await rewards.database.pool.fetchval("SELECT value FROM rewards.shared") == expected
    assert await rewards.database.pool.fetch("SELECT 1 FROM rewards.dead_letters") == []
    await rewards.check()
    found = await compared(replayable(rewards_settings), rewards_settings, rewards_settings)
    assert found.equal, found
    assert found.facts >= len(given) + len(withheld)


async def test_a_replay_is_equal_after_merges_refunds_and_another_version(
    rewards: Rewards, rewards_settings: Settings
) -> None:
    await rewards.publish(club(81))  # of 84
    await rewards.journal(*(order(who, f"one-{who}", 10) for who in PEOPLE[:12]))
    await rewards.publish(club(150, when_spent="refuse"))
    await rewards.journal(
        *(order(who, f"two-{who}", 10) for who in PEOPLE[:12]),
        *(refund(who, f"one-{who}", 5, record=f"refund-{who}") for who in PEOPLE[:12]),
        *merge(PEOPLE[0], PEOPLE[1]),
    )
    assert (
        await rewards.database.pool.fetchval("SELECT value FROM rewards.shared") == 144
    )  # 81, and 9 times 7 of the 69 that are left
    found = await compared(replayable(rewards_settings), rewards_settings, rewards_settings)
    assert found.equal, found
    await rewards.check()


async def test_it_can_be_read_what_is_left(rewards: Rewards) -> None:
    assert (await rewards.get("budgets"))["items"] == []
    await rewards.publish(club(81))
    await rewards.journal(*(order(who, f"one-{who}", 10) for who in PEOPLE[:4]))
    assert (await rewards.get("budgets"))["items"] == [
        {"rule": "each", "period": "", "points": 81, "given": 28, "left": 53}
    ]
    await rewards.publish(club(20))
    assert (await rewards.get("budgets"))["items"][0]["left"] == 0
    await rewards.publish(club(81, per="year"))
    (left,) = (await rewards.get("budgets"))["items"]
    assert (left["given"], left["left"]) == (0, 81)  # each year has one of its own
    assert left["period"].isdecimal()


async def test_a_split_budget_has_a_share_for_each_partition(rewards: Rewards, rewards_settings: Settings) -> None:
    await rewards.publish(club(500, split=True))
    await rewards.journal(*(order(who, f"{who}-{number}", 10) for who in PEOPLE for number in range(5)))
    rows = await rewards.database.pool.fetch("SELECT part, value FROM rewards.shared ORDER BY part")
    worth = Counter(partition_of(who, 8) for who in PEOPLE)
    shares = [62, 63, 62, 63, 62, 63, 62, 63]
    assert [tuple(row) for row in rows] == [(part, min(shares[part], worth[part] * 35)) for part in range(8)]
    (left,) = (await rewards.get("budgets"))["items"]
    assert left["given"] + left["left"] == 500
    assert left["given"] == sum(row["value"] for row in rows)
    await rewards.check()
    found = await compared(replayable(rewards_settings), rewards_settings, rewards_settings)
    assert found.equal, found
