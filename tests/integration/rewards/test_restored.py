"""Rewards' own database is restored from an older backup, with Kafka as the log: nothing is lost, nothing is twice."""

import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from deploy.local.postgres import Postgres
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database
from libs.common.log.append import Outgoing, append
from libs.common.log.partition import partition_of
from libs.common.settings import Settings as CommonSettings
from services.rewards.app import create
from services.rewards.replay import COMPARED
from services.rewards.settings import Settings
from tests.integration.backups import Databases, caught_up, journal_sent, rows
from tests.integration.common.running import running
from tests.integration.rewards.service import PROGRAMME, Rewards, merge, order, refund, serving
from tests.support import eventually

PEOPLE = [str(uuid.UUID(int=number, version=4)) for number in range(1, 25)]
BONUS = {"id": "badge-bonus", "on": "Badge Earned", "earn": {"points": 5}}


class World:
    """Profile's database, whose journal goes to Kafka; and rewards' databases: the one in use, and its backup."""

    def __init__(self, profile: Database, databases: Databases[Settings]) -> None:
        self.profile = profile
        self.databases = databases

    async def journal(self, records: Sequence[Outgoing]) -> None:
        async with self.profile.transaction() as tx:
            await append(tx, JOURNAL, records, self.profile.settings.partitions)

    async def caught_up(self, rewards: Rewards, *, sent: bool = True) -> None:
        await caught_up(self.profile, "rewards", rewards.database.settings, sent=sent)


@pytest.fixture
async def world(
    kafka_settings: CommonSettings, postgres: Postgres, template: str, database: Database
) -> AsyncIterator[World]:
    async with journal_sent(database, kafka_settings):
        yield World(database, Databases(postgres, kafka_settings, Settings))


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
    found: dict[str, list[Any]] = {}
    for each in COMPARED:
        columns = ", ".join(each.columns) + "".join(f", sum({column})" for column in each.sums)
        grouped = f" GROUP BY {', '.join(each.columns)}" if each.sums else ""
        query = f"SELECT {columns} FROM rewards.{each.table} WHERE {each.where}{grouped}"
        found[each.table] = sorted(map(str, await rows(settings, query)))
    log = f'SELECT partition, "offset", key, time, value FROM log."{REWARDS}" ORDER BY 1, 2'
    return found | {"log": await rows(settings, log)}


async def test_a_restored_database_ends_as_the_one_that_was_lost(world: World) -> None:
    chance = random.Random(5)  # noqa: S311 - a fixed history
    live = world.databases.fresh()
    async with serving(live) as rewards:
        await rewards.publish({**PROGRAMME, "earning": [*PROGRAMME["earning"], BONUS]})
        await world.journal(history(chance, PEOPLE, 60, "before-"))
        await world.caught_up(rewards)
        assert (await rewards.adjust(PEOPLE[0], 11, key="before")).status_code == 201
        await world.caught_up(rewards)
    backup = world.databases.copy(live)
    async with serving(live) as rewards:
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
    expected = await tables(live)
    async with serving(backup) as rewards:
        await world.caught_up(rewards)
        assert await tables(backup) == expected
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
    async with serving(backup) as rewards:
        assert [fact["id"] for fact in await rewards.facts()] == facts


async def test_a_merge_that_waits_for_the_last_record_of_another_partition_leaves_its_facts_as_they_are(
    world: World,
) -> None:
    """What the last record led to may be in Kafka in part: it is decided again, and what is there is not sent again."""
    goes, stays = "33333333-3333-8333-8333-333333333333", "44444444-4444-8444-8444-444444444444"
    assert partition_of(goes, 8) != partition_of(stays, 8)
    async with _restored(world, [order(goes, "a", 5), order(stays, "b", 5)]) as (rewards, then):
        await then([order(goes, "last", 5), *merge(stays, goes), order(stays, "behind", 5)])
        assert len([fact for fact in await rewards.facts() if fact["type"] == "points.credited.v1"]) == 4


async def test_what_a_command_did_just_before_a_record_that_another_partition_waits_for_is_put_back(
    world: World,
) -> None:
    goes, stays = "33333333-3333-8333-8333-333333333333", "44444444-4444-8444-8444-444444444444"
    lane = partition_of(goes, 8)
    other = next(who for who in PEOPLE if partition_of(who, 8) == lane)
    async with _restored(world, [order(goes, "a", 5), order(stays, "b", 5), order(other, "c", 5)]) as (rewards, then):
        assert (await rewards.adjust(other, 7)).status_code == 201
        await then([order(other, "last", 5), *merge(stays, goes), order(stays, "behind", 5)])
        assert (await rewards.get(f"customers/{other}/points"))["available"] == 2 * 5 + 7 + 2 * 5


async def test_a_record_that_died_after_the_backup_dies_again_and_holds_nothing_up(world: World) -> None:
    who = PEOPLE[0]
    async with _restored(world, [order(who, "a", 5)]) as (rewards, then):
        await then(
            [order(who, "bad", "no money"), order(who, "b", 5), order(who, "worse", "nothing"), order(who, "c", 5)]
        )
        letters = await rewards.get("rewards/dead-letters")
        assert [letter["outcome"] for letter in letters["items"]] == ["waiting"] * 2


async def test_rules_that_only_the_lost_database_had_are_asked_for(world: World) -> None:
    """What they decided is not decided otherwise: the service waits, and says what is missing and what to do."""
    live = world.databases.fresh()
    async with serving(live) as rewards:
        await rewards.publish()
        await world.journal([order(PEOPLE[0], "a", 5)])
        await world.caught_up(rewards)
    backup = world.databases.copy(live)
    async with serving(live) as rewards:
        await rewards.publish({**PROGRAMME, "earning": [*PROGRAMME["earning"], BONUS]})
        await world.journal([order(PEOPLE[0], "b", 5)])
        await world.caught_up(rewards)
    later = world.databases.copy(live)
    expected = await tables(live)
    async with running(create(backup)) as client:

        async def said() -> str:
            answer = await client.get("/readyz", params={"verbose": ""})
            return answer.text if answer.status_code == 503 and "rulebook" in answer.text else ""

        text = await eventually(said)
        assert "under rulebook 2, and the restored database knows up to 1" in text
        assert "restore a backup from after" in text
    assert len((await tables(backup))["entries"]) < len(expected["entries"])  # nothing was decided anew
    async with serving(later) as rewards:  # the way out that it names
        await world.caught_up(rewards)
        assert await tables(later) == expected


@asynccontextmanager
async def _restored(
    world: World, before: Sequence[Outgoing]
) -> AsyncIterator[tuple[Rewards, Callable[[Sequence[Outgoing]], Awaitable[None]]]]:
    """Rewards that has read `before` and is backed up; once it has been told what came `then`, a restored one, which has
    come out as the lost one."""
    live = world.databases.fresh()
    async with serving(live) as rewards:
        await rewards.publish()
        await world.journal(before)
        await world.caught_up(rewards)
    backup = world.databases.copy(live)
    async with AsyncExitStack() as stack:
        lost = await stack.enter_async_context(serving(live))
        restored = Rewards(lost.client, lost.database)

        async def then(records: Sequence[Outgoing]) -> None:
            await world.journal(records)
            await world.caught_up(lost)
            await stack.aclose()
            expected = await tables(live)
            service = await stack.enter_async_context(serving(backup))
            restored.client, restored.database = service.client, service.database
            await world.caught_up(restored)
            assert await tables(backup) == expected
            facts = [fact["id"] for fact in await restored.facts()]
            assert len(facts) == len(set(facts))

        yield restored, then
