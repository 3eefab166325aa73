"""Rewards, replayed beside the live service: equal, byte for byte, whatever happened on the way."""

import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from libs.common.db.pool import Database
from libs.common.fold import rulebooks
from libs.common.log.append import Outgoing
from libs.common.replay.run import compared
from services.rewards.replay import replayable
from services.rewards.settings import Settings
from tests.integration.rewards.service import PROGRAMME, Rewards, merge, order, refund, serving

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
    assert found.first[0].what == "state.ledger.balance"


async def test_rules_published_before_anybody_read(rewards_settings: Settings) -> None:
    """The partitions begin under them, and no row says so."""
    database = await Database.connect(rewards_settings, "test")
    async with database.transaction() as tx:
        for points in (1, 3):
            earning = [{"id": "first", "earn": {"points": points}}]
            book = {"programme": str(uuid.uuid4()), "version": 1, "content": {**PROGRAMME, "earning": earning}}
            await rulebooks.publish(tx, "rewards", json.dumps(book).encode(), "anna")
    await database.close()
    async with serving(rewards_settings) as rewards:
        await rewards.journal(*(order(who, f"o-{who}", 10) for who in PEOPLE))
        await rewards.publish()
        await rewards.journal(*(order(who, f"p-{who}", 10) for who in PEOPLE[:8]))
    assert (await check(rewards_settings)).facts > 24


async def test_dead_letters_where_they_were_replayed(rewards: Rewards, rewards_settings: Settings) -> None:
    """Mended or not, between commands at one and the same position, and on whom their customer has become."""
    await rewards.publish()
    goes, stays = PEOPLE[:2]
    bad = [order(who, f"bad{n}", "much", record=f"bad{n}") for n, who in enumerate((goes, stays, goes, stays))]
    await rewards.journal(order(goes, "g1", 20), order(stays, "s1", 30), *bad, refund(stays, "bad1", 5))
    letters = (await rewards.get("rewards/dead-letters"))["items"]
    assert len(letters) == 4

    ids = {}
    for letter in letters:
        whole = await rewards.get(f"rewards/dead-letters/{letter['id']}")
        ids[whole["record"]["id"]] = letter["id"]

    async def replay(order: str, revenue: float) -> None:
        properties = {"order_id": order, "revenue": revenue}
        data = {"type": "track", "event": "Order Completed", "messageId": "", "properties": properties}
        answer = await rewards.client.post(f"/v1/rewards/dead-letters/{ids[order]}/replay", json={"data": data})
        assert answer.status_code == 200, answer.text

    await rewards.adjust(stays, 3)
    await replay("bad1", 40)  # whose refund has come already
    await rewards.adjust(stays, -1)
    await replay("bad0", 60)
    await rewards.journal(*merge(stays, goes), order(stays, "s2", 5))
    await replay("bad2", 70)  # hers who is now the other
    found = await check(rewards_settings)
    assert found.records == 10
    points = (await rewards.get(f"customers/{stays}/points"))["available"]
    assert points == 2 * (20 + 30 + 35 + 60 + 5 + 70) + 2
