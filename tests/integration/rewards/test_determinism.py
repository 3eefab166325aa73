"""The same journal under the same rulebooks gives the same facts and the same state, however it is cut into batches."""

import random
import uuid
from typing import Any

from pydantic import SecretStr

from deploy.local.postgres import Postgres
from services.rewards.settings import Settings
from tests.integration.rewards.service import ANN, BEN, PROGRAMME, Rewards, merge, order, refund, serving

DAVE = str(uuid.UUID(int=7, version=4))


async def outcome(rewards: Rewards) -> tuple[list[dict[str, Any]], list[Any], list[Any]]:
    pool = rewards.database.pool
    states = await pool.fetch("SELECT id, state, version >= 0, facts, merged_into FROM rewards.customers ORDER BY id")
    booked = await pool.fetch(
        "SELECT customer, transaction, account, points, sequence, effective_at, cause, origin FROM rewards.entries"
        " ORDER BY customer, transaction, account"
    )
    return await rewards.facts(), [tuple(row) for row in states], [tuple(row) for row in booked]


async def test_one_by_one_and_all_at_once_are_the_same(
    rewards: Rewards, rewards_settings: Settings, postgres: Postgres, template: str
) -> None:
    chance = random.Random(8)  # noqa: S311 - a fixed history
    records = []
    for number in range(60):
        who = chance.choice((ANN, BEN, DAVE))
        records.append(order(who, f"o{number}", chance.randrange(0, 9000) / 100))
        if chance.random() < 0.5:
            records.append(refund(who, f"o{chance.randrange(number + 5)}", chance.choice((None, 5.5, 20))))
    records += [*merge(ANN, DAVE), refund(ANN, "o3"), order(ANN, "last", 12)]
    programme = {
        **PROGRAMME,
        "badges": [*PROGRAMME["badges"], {"id": "pairs", "name": "Pairs", "count": 2, "repeatable": True}],
    }

    name = f"test_{uuid.uuid4().hex}"
    postgres.create_database(name, template=template)
    other = rewards_settings.model_copy(update={"database_url": SecretStr(postgres.dsn(name))})
    await rewards.publish(programme)
    for record in records:
        await rewards.append(record)
    await rewards.caught_up()
    async with serving(other) as again:
        await again.publish(programme)
        await again.journal(*records)
        assert await outcome(rewards) == await outcome(again)
        await again.check()
    await rewards.check()
