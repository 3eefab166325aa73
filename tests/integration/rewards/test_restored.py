"""Rewards' own database is restored from an older backup, with Kafka as the log: nothing is lost, nothing is twice."""

import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from deploy.local.postgres import Postgres
from libs.common.db import Database
from libs.common.log.append import Outgoing, append
from libs.common.log.forward import Forwarder
from libs.common.log.kafka import ensure_topics
from libs.common.log.partition import partition_of
from libs.common.settings import Settings
from libs.common.topics import JOURNAL, REWARDS
from services.rewards.app import create
from services.rewards.replay import COMPARED
from services.rewards.settings import Settings as RewardsSettings
from tests.integration.common.running import running
from tests.integration.rewards.service import PROGRAMME, Rewards, merge, order, refund, serving
from tests.support import eventually

PEOPLE = [str(uuid.UUID(int=number, version=4)) for number in range(1, 25)]
BONUS = {"id": "badge-bonus", "on": "Badge Earned", "earn": {"points": 5}}


class World:
    """Profile's database, whose journal goes to Kafka; and rewards' databases: the one in use, and its backup."""

    def __init__(self, profile: Database, postgres: Postgres, settings: Settings) -> None:
        self.profile = profile
        self.postgres = postgres
        self.settings = settings

    def rewards(self, name: str) -> RewardsSettings:
        return RewardsSettings(
            **self.settings.model_copy(update={"database_url": SecretStr(self.postgres.dsn(name))}).model_dump()
        )

    async def journal(self, records: Sequence[Outgoing]) -> None:
        async with self.profile.transaction() as tx:
            await append(tx, JOURNAL, records, self.settings.partitions)

    async def caught_up(self, rewards: Rewards, *, sent: bool = True) -> None:
        """Wait until rewards has folded the journal and, if wanted, sent all of its facts."""

        async def level() -> bool:
            heads = await self.profile.pool.fetch("SELECT partition, next FROM log.heads WHERE topic = $1", JOURNAL)
            stands = await rewards.database.pool.fetch(
                "SELECT partition, next FROM rewards.positions WHERE reader = 'fold' ORDER BY 1"
            )
            behind = await rewards.database.pool.fetchval(
                "SELECT sum(h.next - p.next) FROM log.heads h JOIN rewards.positions p USING (topic, partition)"
                " WHERE reader = 'forwarder'"
            )
            return sorted(heads) == sorted(stands) and (behind == 0 or not sent)

        await eventually(level, within=40)


@pytest.fixture
async def world(
    kafka_settings: Settings, postgres: Postgres, template: str, database: Database
) -> AsyncIterator[World]:
    await ensure_topics(kafka_settings, [JOURNAL])
    forwarder = Forwarder(database, kafka_settings, "profile", JOURNAL)
    await forwarder.start()
    yield World(database, postgres, kafka_settings)
    await forwarder.stop()


def history(chance: random.Random, people: Sequence[str], length: int, name: str) -> list[Outgoing]:
    records = []
    for number in range(length):
        who = chance.choice(people)
        records.append(order(who, f"{name}{number}", chance.randrange(1, 9000) / 100))
        if chance.random() < 0.3:
            records.append(refund(who, f"{name}{chance.randrange(number + 3)}", record=f"refund-{name}{number}"))
    return records


async def tables(settings: Settings) -> dict[str, list[Any]]:
    """Everything that must come out equal: state, ledger, standings, the log."""
    database = await Database.connect(settings, "look")
    found: dict[str, list[Any]] = {}
    for each in COMPARED:
        columns = ", ".join(each.columns) + "".join(f", sum({column})" for column in each.sums)
        grouped = f" GROUP BY {', '.join(each.columns)}" if each.sums else ""
        rows = await database.pool.fetch(f"SELECT {columns} FROM rewards.{each.table} WHERE {each.where}{grouped}")
        found[each.table] = sorted(str(tuple(row)) for row in rows)
    rows = await database.pool.fetch(f'SELECT partition, "offset", key, time, value FROM log."{REWARDS}" ORDER BY 1, 2')
    found["log"] = [tuple(row) for row in rows]
    await database.close()
    return found


@pytest.mark.timeout(300)
async def test_a_restored_database_ends_as_the_one_that_was_lost(world: World) -> None:
    chance = random.Random(5)  # noqa: S311 - a fixed history
    world.postgres.create_database(live := f"live_{uuid.uuid4().hex}", template="template_rapport")
    async with serving(world.rewards(live)) as rewards:
        await rewards.publish({**PROGRAMME, "earning": [*PROGRAMME["earning"], BONUS]})
        await world.journal(history(chance, PEOPLE, 60, "before-"))
        await world.caught_up(rewards)
        assert (await rewards.adjust(PEOPLE[0], 11, key="before")).status_code == 201
        await world.caught_up(rewards)
    world.postgres.create_database(backup := f"backup_{uuid.uuid4().hex}", template=live)
    async with serving(world.rewards(live)) as rewards:
        assert (await rewards.adjust(PEOPLE[1], 7, key="at once")).status_code == 201  # before any other record
        people = list(PEOPLE)
        for number in range(5):
            goes, stays = chance.sample(people, 2)
            people.remove(goes)
            await world.journal(history(chance, people, 30, f"after{number}-"))
            adjusted = [await rewards.adjust(who, number + 20) for who in chance.sample(people, 4)]
            assert {response.status_code for response in adjusted} <= {201, 404}
            await world.journal(merge(stays, goes))
            await world.caught_up(rewards)
            await rewards.adjust(stays, -3)
        await world.caught_up(rewards)
        # what comes now is decided, but never sent: Kafka does not know of it
        await rewards.database.pool.execute("UPDATE rewards.positions SET next = 1000000 WHERE reader = 'forwarder'")
        await world.journal(history(chance, people, 20, "unsent-"))
        await world.caught_up(rewards, sent=False)
    expected = await tables(world.rewards(live))
    async with serving(world.rewards(backup)) as rewards:
        await world.caught_up(rewards)
        assert await tables(world.rewards(backup)) == expected
        again = await rewards.adjust(PEOPLE[1], 7, key="at once")
        assert (again.status_code, "before the database was restored" in again.text) == (409, True)
        assert (await rewards.adjust(PEOPLE[0], 11, key="before")).status_code == 201  # its answer was in the backup
        await rewards.check()
        await world.journal(history(chance, people, 30, "later-"))
        assert (await rewards.adjust(people[0], 5)).status_code == 201
        await world.caught_up(rewards)
        facts = [fact["id"] for fact in await rewards.facts()]
        assert len(facts) == len(set(facts)) > len(expected["log"])
        await rewards.check()
        assert not await rewards.database.pool.fetch("SELECT * FROM log.imported")
    async with serving(world.rewards(backup)) as rewards:
        assert [fact["id"] for fact in await rewards.facts()] == facts


@pytest.mark.timeout(300)
async def test_a_merge_that_waits_for_the_last_record_of_another_partition_leaves_its_facts_as_they_are(
    world: World,
) -> None:
    """What the last record led to may be in Kafka in part: it is decided again, and what is there is not sent again."""
    goes, stays = "33333333-3333-8333-8333-333333333333", "44444444-4444-8444-8444-444444444444"
    assert partition_of(goes, 8) != partition_of(stays, 8)
    async with _restored(world, [order(goes, "a", 5), order(stays, "b", 5)]) as (rewards, then):
        await then([order(goes, "last", 5), *merge(stays, goes), order(stays, "behind", 5)])
        assert len([fact for fact in await rewards.facts() if fact["type"] == "points.credited.v1"]) == 4


@pytest.mark.timeout(300)
async def test_a_record_that_died_after_the_backup_dies_again_and_holds_nothing_up(world: World) -> None:
    who = PEOPLE[0]
    async with _restored(world, [order(who, "a", 5)]) as (rewards, then):
        await then(
            [order(who, "bad", "no money"), order(who, "b", 5), order(who, "worse", "nothing"), order(who, "c", 5)]
        )
        letters = await rewards.get("rewards/dead-letters")
        assert [letter["outcome"] for letter in letters["items"]] == ["waiting"] * 2


@pytest.mark.timeout(300)
async def test_rules_that_only_the_lost_database_had_are_asked_for(world: World) -> None:
    """What they decided is not decided otherwise: the service waits, and says what is missing and what to do."""
    world.postgres.create_database(live := f"live_{uuid.uuid4().hex}", template="template_rapport")
    async with serving(world.rewards(live)) as rewards:
        await rewards.publish()
        await world.journal([order(PEOPLE[0], "a", 5)])
        await world.caught_up(rewards)
    world.postgres.create_database(backup := f"backup_{uuid.uuid4().hex}", template=live)
    async with serving(world.rewards(live)) as rewards:
        await rewards.publish({**PROGRAMME, "earning": [*PROGRAMME["earning"], BONUS]})
        await world.journal([order(PEOPLE[0], "b", 5)])
        await world.caught_up(rewards)
    world.postgres.create_database(later := f"later_{uuid.uuid4().hex}", template=live)
    expected = await tables(world.rewards(live))
    async with running(create(world.rewards(backup))) as client:

        async def said() -> str:
            answer = await client.get("/readyz", params={"verbose": ""})
            return answer.text if answer.status_code == 503 and "rulebook" in answer.text else ""

        text = await eventually(said, within=40)
        assert "under rulebook 2, and the restored database knows up to 1" in text
        assert "restore a backup from after" in text
    assert len((await tables(world.rewards(backup)))["entries"]) < len(expected["entries"])  # nothing was decided anew
    async with serving(world.rewards(later)) as rewards:  # the way out that it names
        await world.caught_up(rewards)
        assert await tables(world.rewards(later)) == expected


@asynccontextmanager
async def _restored(
    world: World, before: Sequence[Outgoing]
) -> AsyncIterator[tuple[Rewards, Callable[[Sequence[Outgoing]], Awaitable[None]]]]:
    """Rewards that has read `before` and is backed up; once it has been told what came `then`, a restored one, which has
    come out as the lost one."""
    world.postgres.create_database(live := f"live_{uuid.uuid4().hex}", template="template_rapport")
    async with serving(world.rewards(live)) as rewards:
        await rewards.publish()
        await world.journal(before)
        await world.caught_up(rewards)
    world.postgres.create_database(backup := f"backup_{uuid.uuid4().hex}", template=live)
    async with AsyncExitStack() as stack:
        lost = await stack.enter_async_context(serving(world.rewards(live)))
        restored = Rewards(lost.client, lost.database)

        async def then(records: Sequence[Outgoing]) -> None:
            await world.journal(records)
            await world.caught_up(lost)
            await stack.aclose()
            expected = await tables(world.rewards(live))
            service = await stack.enter_async_context(serving(world.rewards(backup)))
            restored.client, restored.database = service.client, service.database
            await world.caught_up(restored)
            assert await tables(world.rewards(backup)) == expected
            facts = [fact["id"] for fact in await restored.facts()]
            assert len(facts) == len(set(facts))

        yield restored, then
