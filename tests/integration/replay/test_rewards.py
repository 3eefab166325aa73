"""Rewards, replayed beside the live service: equal, byte for byte, whatever happened on the way."""

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from libs.common.fold.replaying import compared
from libs.common.log.append import Outgoing
from services.rewards.replay import replayable
from services.rewards.settings import Settings
from tests.integration.rewards.service import PROGRAMME, Rewards, merge, order, refund

START = datetime(2026, 1, 1, tzinfo=UTC)
PEOPLE = [str(uuid.UUID(int=number, version=4)) for number in range(1, 25)]


def history(chance: random.Random, people: list[str], length: int, name: str) -> list[Outgoing]:
    """Orders and refunds of these people; some come twice, some are refunded before they come."""
    records = []
    for number in range(length):
        who = chance.choice(people)
        when = START + timedelta(hours=chance.randrange(2000))
        records.append(order(who, f"{name}{number}", chance.randrange(1, 9000) / 100, time=when))
        if chance.random() < 0.3:
            of = f"{name}{chance.randrange(number + 3)}"
            records.append(refund(who, of, chance.choice((None, 5.5)), record=f"refund-{name}{number}"))
    return records


async def check(settings: Settings) -> Any:
    found = await compared(replayable(settings), settings, settings)
    assert found.equal, found
    assert found.differing == 0
    return found


async def test_adjustments_merges_and_rulebooks_in_mid_stream(rewards: Rewards, rewards_settings: Settings) -> None:
    chance = random.Random(11)  # noqa: S311 - a fixed history
    people = list(PEOPLE)
    for number in range(6):
        records = history(chance, people, 40, f"n{number}-")
        goes, stays = chance.sample(people, 2)
        await rewards.append(*records[:30])
        adjusted = await rewards.adjust(people[number], 40 + number)
        assert adjusted.status_code in (201, 404), adjusted.text
        await rewards.append(*records[30:], *merge(stays, goes))
        people.remove(goes)
        await rewards.adjust(stays, 7)
        await rewards.adjust(stays, -3)
        if number % 2 == 0:
            levels = [{"id": "l", "name": "L", "points": 100 + 50 * number}]
            badges = [{"id": "pairs", "name": "Pairs", "count": 2 + number, "repeatable": True}]
            bonus = {"id": "badge-bonus", "on": "Badge Earned", "earn": {"points": 5}}
            await rewards.publish(
                {**PROGRAMME, "earning": [*PROGRAMME["earning"], bonus], "levels": levels, "badges": badges}
            )
    await rewards.caught_up()
    found = await check(rewards_settings)
    assert found.customers >= 24
    assert found.facts > 100
    await rewards.database.pool.execute(
        "UPDATE rewards.customers SET state = replace(convert_from(state, 'UTF8'), '\"balance\":', '\"balance\":1')::bytea"
        " WHERE id = $1",
        uuid.UUID(people[0]),
    )
    found = await compared(replayable(rewards_settings), rewards_settings, rewards_settings)
    assert found.differing == 1
    assert found.first[0].customer == people[0]
    assert found.first[0].what == "state.balance"
