"""Profile's or triggers' own database is restored from an older backup, with Kafka as the log."""

import uuid
from collections.abc import Sequence

import pytest

from deploy.local.postgres import Postgres
from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.rewards import REWARDS
from libs.common.contracts.triggers import TRIGGERS
from libs.common.db.pool import Database
from libs.common.fold.part import FoldPart
from libs.common.log import epochs
from libs.common.log.append import Outgoing, append
from libs.common.log.forward import Forwarder
from libs.common.log.kafka import Producer, ensure_topics
from libs.common.log.partition import partition_of
from libs.common.log.reader import Where
from libs.common.settings import Settings
from services.triggers.settings import Settings as TriggersSettings
from tests.integration import backups
from tests.integration.backups import Databases, journal_sent, rows
from tests.integration.profile import said as profile
from tests.integration.profile.test_facts import badge
from tests.integration.triggers import service as triggers
from tests.support import eventually


@pytest.fixture
def databases(postgres: Postgres, template: str, kafka_settings: Settings) -> Databases[Settings]:
    return Databases(postgres, kafka_settings, Settings)


async def test_profile_writes_nothing_again_that_the_journal_has(
    databases: Databases[Settings], kafka_settings: Settings
) -> None:
    await ensure_topics(kafka_settings, [EVENTS])
    producer = Producer(kafka_settings)
    await producer.start()

    async def send(part: FoldPart, events: Sequence[Outgoing]) -> None:
        await producer.send(EVENTS, events)
        await profile.caught_up(part)

        async def sent() -> bool:
            assert part._forwarder
            return (await part._forwarder.check()).lag[0].records == 0

        await eventually(sent)

    def events(name: str, count: int) -> list[Outgoing]:
        return [
            profile.said("identify" if number % 3 == 0 else "track", f"u{number % 20}", message=f"{name}{number}")
            for number in range(count)
        ]

    live = databases.fresh()
    async with profile.running(live) as part:
        await send(part, events("before", 40))
    backup = databases.copy(live)
    async with profile.running(live) as part:
        await send(part, events("after", 60))
    query = f'SELECT partition, "offset", key, value FROM log."{JOURNAL}" ORDER BY 1, 2'
    expected = await rows(live, query)
    assert len(expected) == 100
    for _ in range(2):
        async with profile.running(backup) as part:
            await profile.caught_up(part)
        assert await rows(backup, query) == expected
    people = "SELECT id, state FROM profile.customers ORDER BY id"
    assert await rows(backup, people) == await rows(live, people)
    async with profile.running(backup) as part:
        await send(part, [*events("after", 60), *events("later", 10)])
    assert len(await rows(backup, query)) == 110
    await producer.stop()


async def test_triggers_sends_no_message_again(
    postgres: Postgres, template: str, kafka_settings: Settings, database: Database
) -> None:
    databases = Databases(postgres, kafka_settings, TriggersSettings)

    async def told(service: triggers.Triggers, records: Sequence[Outgoing], messages: int) -> None:
        async with database.transaction() as tx:
            await append(tx, JOURNAL, records, kafka_settings.partitions)

        async def done() -> bool:
            query = "SELECT count(*) FROM triggers.deliveries WHERE state = 'sent'"
            return bool(await service.database.pool.fetchval(query) == messages)

        await eventually(done)
        await backups.caught_up(database, "triggers", service.database.settings)

    people = [str(uuid.UUID(int=number, version=4)) for number in range(1, 9)]
    log = f'SELECT partition, "offset", key, value FROM log."{TRIGGERS}" ORDER BY 1, 2'
    messages = "SELECT customer, id, state FROM triggers.deliveries ORDER BY 1, 2"
    live = databases.fresh()
    async with journal_sent(database, kafka_settings):
        async with triggers.serving(live) as service:
            await service.hook()
            await told(service, [triggers.order(who, f"a-{who}") for who in people], 8)
        backup = databases.copy(live)
        async with triggers.serving(live) as service:
            await told(service, [triggers.order(who, f"b-{who}") for who in people], 16)
        expected = await rows(live, log), await rows(live, messages)
        async with triggers.serving(backup) as service:
            await service.database.pool.fetch("SELECT 1")
            assert (await rows(backup, log), await rows(backup, messages)) == expected
            await told(service, [triggers.order(people[0], "c")], 17)
            facts = [fact["id"] for fact in await service.facts()]
            assert len(facts) == len(set(facts)) == len(expected[0]) + 2


async def test_a_fold_follows_a_new_epoch(databases: Databases[Settings], kafka_settings: Settings) -> None:
    """Rewards' records behind the backup are lost for good; profile, which has read them, reads what comes in their place."""
    await ensure_topics(kafka_settings, [EVENTS])
    producer = Producer(kafka_settings)
    await producer.start()
    rewards = await Database.connect(databases.fresh(), "rewards")
    forwarder = Forwarder(rewards, kafka_settings, "rewards", REWARDS)
    await forwarder.start()
    async with profile.running(databases.fresh()) as part:
        await producer.send(EVENTS, [profile.said("identify", "u1", message="m1")])
        await eventually(lambda: profile.holder(part, "user:u1"))
        customer = str(await profile.holder(part, "user:u1"))
        where = Where(REWARDS, partition_of(customer, kafka_settings.partitions))

        async def journalled(numbers: range, total: int) -> None:
            async with rewards.transaction() as tx:
                await append(tx, REWARDS, [badge(customer, number) for number in numbers], kafka_settings.partitions)

            async def there() -> bool:
                records = await profile.journal(part)
                return len([record for record in records if record["type"] == "badge.earned.v1"]) == total

            await eventually(there)

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
