"""Profile's or triggers' own database is restored from an older backup, with Kafka as the log."""

import contextlib
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import SecretStr

from deploy.local.postgres import Postgres
from libs.common.db import Database
from libs.common.errors import Unavailable
from libs.common.fold.part import FoldPart
from libs.common.log import epochs
from libs.common.log.append import Outgoing, append
from libs.common.log.forward import Forwarder
from libs.common.log.kafka import Producer, ensure_topics
from libs.common.log.partition import partition_of
from libs.common.log.reader import Where
from libs.common.settings import Settings
from libs.common.topics import EVENTS, JOURNAL, REWARDS, TRIGGERS
from services.triggers.settings import Settings as TriggersSettings
from tests.integration.profile import said as profile
from tests.integration.profile.test_facts import badge
from tests.integration.triggers import service as triggers
from tests.support import eventually

pytestmark = pytest.mark.timeout(300)


class Databases:
    """One in use, and its backup."""

    def __init__(self, postgres: Postgres, settings: Settings) -> None:
        self._postgres = postgres
        self._settings = settings

    def make(self, template: str = "template_rapport") -> str:
        self._postgres.create_database(name := f"restored_{uuid.uuid4().hex}", template=template)
        return name

    def settings(self, name: str) -> Settings:
        return self._settings.model_copy(update={"database_url": SecretStr(self._postgres.dsn(name))})


@pytest.fixture
def databases(postgres: Postgres, template: str, kafka_settings: Settings) -> Databases:
    return Databases(postgres, kafka_settings)


async def caught_up(part: FoldPart) -> None:
    async def done() -> bool:
        with contextlib.suppress(Unavailable):  # Kafka is slow: asked again
            return all(lag.records == 0 for lag in (await part.fold.lag()).values())
        return False

    await eventually(done, within=60)


async def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    database = await Database.connect(settings, "look")
    try:
        return [tuple(row) for row in await database.pool.fetch(query)]
    finally:
        await database.close()


async def test_profile_writes_nothing_again_that_the_journal_has(
    databases: Databases, kafka_settings: Settings
) -> None:
    await ensure_topics(kafka_settings, [EVENTS])
    producer = Producer(kafka_settings)
    await producer.start()

    async def send(part: FoldPart, events: Sequence[Outgoing]) -> None:
        await producer.send(EVENTS, events)
        await caught_up(part)

        async def sent() -> bool:
            assert part._forwarder
            return (await part._forwarder.check()).lag[0].records == 0

        await eventually(sent, within=60)

    def events(name: str, count: int) -> list[Outgoing]:
        return [
            profile.said("identify" if number % 3 == 0 else "track", f"u{number % 20}", message=f"{name}{number}")
            for number in range(count)
        ]

    live = databases.make()
    async with profile.running(databases.settings(live)) as part:
        await send(part, events("before", 40))
    backup = databases.make(live)
    async with profile.running(databases.settings(live)) as part:
        await send(part, events("after", 60))
    query = f'SELECT partition, "offset", key, value FROM log."{JOURNAL}" ORDER BY 1, 2'
    expected = await rows(databases.settings(live), query)
    assert len(expected) == 100
    for _ in range(2):
        async with profile.running(databases.settings(backup)) as part:
            await caught_up(part)
        assert await rows(databases.settings(backup), query) == expected
    people = "SELECT id, state FROM profile.customers ORDER BY id"
    assert await rows(databases.settings(backup), people) == await rows(databases.settings(live), people)
    async with profile.running(databases.settings(backup)) as part:
        await send(part, [*events("after", 60), *events("later", 10)])
    assert len(await rows(databases.settings(backup), query)) == 110
    await producer.stop()


async def test_triggers_sends_no_message_again(
    databases: Databases, kafka_settings: Settings, database: Database
) -> None:
    await ensure_topics(kafka_settings, [JOURNAL])
    forwarder = Forwarder(database, kafka_settings, "profile", JOURNAL)
    await forwarder.start()

    async def journal(service: triggers.Triggers, records: Sequence[Outgoing], messages: int) -> None:
        async with database.transaction() as tx:
            await append(tx, JOURNAL, records, kafka_settings.partitions)

        async def done() -> bool:
            sent = await service.database.pool.fetchval("SELECT count(*) FROM triggers.deliveries WHERE state = 'sent'")
            behind = await service.database.pool.fetchval(
                "SELECT sum(h.next - p.next) FROM log.heads h JOIN triggers.positions p USING (topic, partition)"
                " WHERE reader = 'forwarder'"
            )
            return bool(sent == messages and behind == 0)

        await eventually(done, within=60)

    def settings(name: str) -> TriggersSettings:
        return TriggersSettings(**databases.settings(name).model_dump())

    people = [str(uuid.UUID(int=number, version=4)) for number in range(1, 9)]
    live = databases.make()
    async with triggers.serving(settings(live)) as service:
        await service.hook()
        await journal(service, [triggers.order(who, f"a-{who}") for who in people], 8)
    backup = databases.make(live)
    async with triggers.serving(settings(live)) as service:
        await journal(service, [triggers.order(who, f"b-{who}") for who in people], 16)
    log = f'SELECT partition, "offset", key, value FROM log."{TRIGGERS}" ORDER BY 1, 2'
    messages = "SELECT customer, id, state FROM triggers.deliveries ORDER BY 1, 2"
    expected = await rows(settings(live), log), await rows(settings(live), messages)
    async with triggers.serving(settings(backup)) as service:
        await service.database.pool.fetch("SELECT 1")
        assert (await rows(settings(backup), log), await rows(settings(backup), messages)) == expected
        await journal(service, [triggers.order(people[0], "c")], 17)
        facts = [fact["id"] for fact in await service.facts()]
        assert len(facts) == len(set(facts)) == len(expected[0]) + 2
    await forwarder.stop()


async def test_a_fold_follows_a_new_epoch(databases: Databases, kafka_settings: Settings) -> None:
    """Rewards' records behind the backup are lost for good; profile, which has read them, reads what comes in their place."""
    await ensure_topics(kafka_settings, [EVENTS])
    producer = Producer(kafka_settings)
    await producer.start()
    rewards = await Database.connect(databases.settings(databases.make()), "rewards")
    forwarder = Forwarder(rewards, kafka_settings, "rewards", REWARDS)
    await forwarder.start()
    async with profile.running(databases.settings(databases.make())) as part:
        await producer.send(EVENTS, [profile.said("identify", "u1", message="m1")])
        await eventually(lambda: profile.holder(part, "user:u1"), within=60)
        customer = str(await profile.holder(part, "user:u1"))
        where = Where(REWARDS, partition_of(customer, kafka_settings.partitions))

        async def journalled(numbers: range, total: int) -> None:
            async with rewards.transaction() as tx:
                await append(tx, REWARDS, [badge(customer, number) for number in numbers], kafka_settings.partitions)

            async def there() -> bool:
                records = await profile.journal(part)
                return len([record for record in records if record["type"] == "badge.earned.v1"]) == total

            await eventually(there, within=60)

        await journalled(range(1, 6), 5)
        await forwarder.stop()
        async with rewards.transaction() as tx:  # restored, as it was after the third
            await tx.execute(f'DELETE FROM log."{REWARDS}" WHERE "offset" >= 3')
            await tx.execute("UPDATE log.heads SET next = 3 WHERE topic = $1 AND partition = $2", *where)
            await tx.execute("UPDATE rewards.positions SET next = least(next, 3) WHERE reader = 'forwarder'")
            assert await epochs.begin(tx, where) == 1
        forwarder = Forwarder(rewards, kafka_settings, "rewards", REWARDS)
        await forwarder.start()
        await journalled(range(10, 14), 9)
        async with part.read() as connection:
            assert (await part.fold.positions.load(connection, where)).position[:2] == (1, 7)
    await forwarder.stop()
    await rewards.close()
    await producer.stop()
