"""What Kafka has lost for good, a rewound forwarder sends again; nobody is restarted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from structlog.testing import capture_logs

from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database
from libs.common.errors import Invalid
from libs.common.log.append import append
from libs.common.log.forward import Forwarder
from libs.common.log.kafka import KafkaReader
from libs.common.log.reader import Gap, TopicPartition
from libs.common.log.rewind import Rewound, rewind
from libs.common.settings import Settings
from tests.integration.log.conftest import Running
from tests.integration.log.logs import PARTITIONS, START, delete_topic, key_in, numbered, read, values
from tests.support import eventually

ROOT = Path(__file__).parents[3]
WHERE = TopicPartition(REWARDS, 4)


@pytest.fixture
async def forwarder(kafka_settings: Settings, database: Database, running: Running) -> Forwarder:
    """Rewards' own, running."""
    return await running(Forwarder(database, kafka_settings, "rewards", REWARDS))


@pytest.fixture
async def reader(forwarder: Forwarder, kafka_settings: Settings, running: Running) -> KafkaReader:
    """As profile's with a database of its own: what Kafka lacks it can find nowhere else."""
    return await running(KafkaReader(kafka_settings, [REWARDS]))


async def say(database: Database, numbers: range, partition: int = WHERE.partition) -> None:
    async with database.transaction() as tx:
        await append(tx, REWARDS, numbered(key_in(partition), numbers), PARTITIONS)


async def gap(reader: KafkaReader, tp: TopicPartition = WHERE) -> Gap | None:
    assert await reader.fetch(tp, START, 500, 0.05) == []
    return reader.gaps.get(tp)


async def test_retention_lost_records_and_the_operators_command_brings_them_back(
    kafka_settings: Settings, database: Database, forwarder: Forwarder, reader: KafkaReader
) -> None:
    await say(database, range(40))
    await eventually(lambda: all_sent(forwarder))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_settings.kafka_bootstrap)
    await admin.start()
    lost = KafkaPartition(kafka_settings.topic_prefix + REWARDS, WHERE.partition)
    await admin.delete_records({lost: RecordsToDelete(25)})
    await admin.close()
    assert await eventually(lambda: gap(reader)) == Gap(0, 25)
    said = rapport(kafka_settings, "rewind", "rewards", "--to", "0", "--partition", str(WHERE.partition))
    assert (said.stdout.strip(), said.stderr, said.returncode) == (f"{WHERE}: from 40 back to 0", "", 0)
    assert values((await read(reader, WHERE, 40))[0]) == list(range(40))
    assert not reader.gaps


async def test_a_topic_deleted_under_everybody_is_made_anew_and_filled_again(
    kafka_settings: Settings, database: Database, forwarder: Forwarder, reader: KafkaReader
) -> None:
    for partition in range(PARTITIONS):
        await say(database, range(20), partition)
    await eventually(lambda: all_sent(forwarder))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_settings.kafka_bootstrap)
    await admin.start()
    await delete_topic(admin, kafka_settings.topic_prefix + REWARDS)
    await admin.close()
    for partition in range(PARTITIONS):
        await say(database, range(20, 30), partition)
    await eventually(lambda: all_sent(forwarder))
    _, late = await read(reader, WHERE, 10, START._replace(next=20))
    assert await eventually(lambda: gap(reader)) == Gap(0, 20)
    rewound = await rewind(kafka_settings, "rewards", 0)
    assert rewound == [Rewound(TopicPartition(REWARDS, partition), 30, 0) for partition in range(PARTITIONS)]
    await say(database, range(30, 35))
    for partition in range(PARTITIONS):
        assert values((await read(reader, TopicPartition(REWARDS, partition), 30))[0]) == list(range(30))
    assert values((await read(reader, WHERE, 5, late))[0]) == list(range(30, 35))
    assert not reader.gaps


async def test_only_backwards_and_only_what_there_is(
    kafka_settings: Settings, database: Database, forwarder: Forwarder
) -> None:
    await say(database, range(30))
    await eventually(lambda: all_sent(forwarder))
    assert await rewind(kafka_settings, "rewards", 31, WHERE.partition) == [Rewound(WHERE, 30, 30)]
    async with database.connection() as connection:
        await connection.execute('DELETE FROM log."rewards.facts" WHERE "offset" < 7')
    assert await rewind(kafka_settings, "rewards", 3, WHERE.partition) == [Rewound(WHERE, 30, 7)]
    with pytest.raises(Invalid):
        await rewind(kafka_settings, "rewards", 0, PARTITIONS)
    with pytest.raises(Invalid, match="triggers has no forwarder"):
        await rewind(kafka_settings, "triggers", 0)


async def test_a_forwarder_finishes_the_batch_begun_and_outlives_any_error(
    kafka_settings: Settings, database: Database, forwarder: Forwarder, reader: KafkaReader
) -> None:
    """Its position is taken away under it: an error of no kind that it knows, and nothing else stops."""
    await say(database, range(10))
    await eventually(lambda: all_sent(forwarder))
    async with database.connection() as connection:
        await connection.execute(
            "CREATE TABLE rewards.taken AS SELECT * FROM rewards.positions WHERE reader = 'forwarder'"
        )
        await connection.execute("DELETE FROM rewards.positions WHERE reader = 'forwarder'")
    with capture_logs() as logged:
        await say(database, range(10, 20))

        async def stumbled() -> bool:
            return sum("LookupError" in str(line.get("error")) for line in logged) > 2

        await eventually(stumbled)
    assert not forwarder.died()
    async with database.connection() as connection:
        await connection.execute("INSERT INTO rewards.positions SELECT * FROM rewards.taken")
    assert values((await read(reader, WHERE, 20))[0]) == list(range(20))


async def all_sent(forwarder: Forwarder) -> bool:
    return (await forwarder.check()).lag[0].records == 0


def rapport(settings: Settings, *words: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "RAPPORT_DATABASE_URL": settings.dsn}
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", *words], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
