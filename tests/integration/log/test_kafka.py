"""What only Kafka does: it forgets, it is written to directly, it dies and comes back."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from deploy.local.kafka import Kafka
from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import LARGEST
from libs.common.db.pool import Database
from libs.common.errors import TooLarge, Unavailable
from libs.common.log.append import Outgoing
from libs.common.log.kafka import KafkaReader, Producer, ensure_topics
from libs.common.log.postgres import PostgresReader
from libs.common.log.reader import Gap, Reader, TopicPartition, after
from libs.common.settings import Settings
from tests.integration.log.conftest import Running, Start
from tests.integration.log.logs import (
    PARTITIONS,
    START,
    WHEN,
    WHERES,
    KafkaLog,
    delete_topic,
    key_in,
    numbered,
    read,
    values,
)
from tests.support import eventually, freeze

WHERE = TopicPartition(JOURNAL, 2)
KEY = key_in(2)


@pytest.fixture
async def admin(kafka_settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_settings.kafka_bootstrap)
    await client.start()
    yield client
    await client.close()


@pytest.fixture
async def producer(kafka_settings: Settings, running: Running) -> Producer:
    await ensure_topics(kafka_settings, [EVENTS])
    return await running(Producer(kafka_settings))


def partition_in_kafka(settings: Settings, tp: TopicPartition) -> KafkaPartition:
    return KafkaPartition(settings.topic_prefix + tp.topic, tp.partition)


async def forget(log: KafkaLog, admin: AIOKafkaAdminClient, before: int) -> None:
    """What retention does."""
    await eventually(log.forwarded)
    await admin.delete_records({partition_in_kafka(log.settings, WHERE): RecordsToDelete(before)})


# -- forgetting -------------------------------------------------------------------------------------------------------
async def test_what_kafka_no_longer_has_is_read_from_postgresql(
    kafka_log: KafkaLog, admin: AIOKafkaAdminClient, database: Database, running: Running
) -> None:
    await kafka_log.append(numbered(KEY, range(60)))
    reader = await running(KafkaReader(kafka_log.settings, [JOURNAL], PostgresReader(database, [JOURNAL])))
    _, early = await read(reader, WHERE, 10)
    await forget(kafka_log, admin, 40)
    new = await running(KafkaReader(kafka_log.settings, [JOURNAL], PostgresReader(database, [JOURNAL])))
    assert values((await read(new, WHERE, 60, limit=7))[0]) == list(range(60))
    assert values((await read(new, WHERE, 50, early))[0]) == list(range(10, 60))
    await forget(kafka_log, admin, 60)
    records, end = await read(new, WHERE, 60)
    assert values(records) == list(range(60))
    await kafka_log.append(numbered(KEY, range(60, 70)))
    assert values((await read(new, WHERE, 10, end))[0]) == list(range(60, 70))
    assert values((await read(reader, WHERE, 60, early))[0]) == list(range(10, 70))
    assert not new.gaps
    assert not reader.gaps


async def test_without_postgresql_what_kafka_no_longer_has_is_a_gap(
    kafka_log: KafkaLog, admin: AIOKafkaAdminClient
) -> None:
    await kafka_log.append(numbered(KEY, range(30)))
    await forget(kafka_log, admin, 20)
    reader = await kafka_log.reader()
    await expect_gap(reader, Gap(0, 20))
    await kafka_log.set_back(WHERE.partition, 0)
    assert values((await read(reader, WHERE, 30))[0]) == list(range(30))
    assert not reader.gaps


async def test_a_fallback_that_has_not_got_it_either_is_a_gap(
    kafka_log: KafkaLog, admin: AIOKafkaAdminClient, database: Database, running: Running
) -> None:
    await kafka_log.append(numbered(KEY, range(30)))
    await forget(kafka_log, admin, 20)
    reader = await running(KafkaReader(kafka_log.settings, [JOURNAL], PostgresReader(database, [EVENTS])))
    await expect_gap(reader, Gap(0, 20))


async def expect_gap(reader: Reader, gap: Gap) -> None:
    async def found() -> Gap | None:
        assert await reader.fetch(WHERE, START, 500, 0.05) == []
        return reader.gaps.get(WHERE)

    assert await eventually(found) == gap


async def test_a_topic_made_anew_is_read_on(kafka_log: KafkaLog, admin: AIOKafkaAdminClient) -> None:
    await kafka_log.append(numbered(KEY, range(20)))
    reader = await kafka_log.reader()
    _, position = await read(reader, WHERE, 20)
    await delete_topic(admin, kafka_log.settings.topic_prefix + JOURNAL)
    await ensure_topics(kafka_log.settings, [JOURNAL])
    await kafka_log.append(numbered(KEY, range(20, 40)))  # as many as were read: the new end is the old position
    await eventually(kafka_log.forwarded)
    await kafka_log.append(numbered(KEY, range(40, 50)))
    for each in (reader, await kafka_log.reader()):
        assert values((await read(each, WHERE, 30, position))[0]) == list(range(20, 50))
        assert not each.gaps


# -- written to directly ----------------------------------------------------------------------------------------------
async def test_many_senders_keep_the_order_of_each_key(
    producer: Producer, kafka_settings: Settings, running: Running
) -> None:
    keys = [key_in(partition) for partition in range(PARTITIONS)]
    sending = [
        producer.send(
            EVENTS, [Outgoing(key, b"%d" % (turn * 20 + number), WHEN) for key in keys for number in range(20)]
        )
        for turn in range(30)
    ]
    await asyncio.gather(*sending)
    reader = await running(KafkaReader(kafka_settings, [EVENTS]))
    for partition in range(PARTITIONS):
        records, end = await read(reader, TopicPartition(EVENTS, partition), 600)
        assert values(records) == list(range(600))
        assert end == (0, 600, 600)


async def test_the_producer_refuses_what_is_too_large_and_sends_what_is_just_not(
    producer: Producer, kafka_settings: Settings, running: Running
) -> None:
    key = key_in(0)
    largest = [Outgoing(key, os.urandom(LARGEST), WHEN) for _ in range(3)]
    with pytest.raises(TooLarge):
        await producer.send(EVENTS, [*largest, Outgoing(key, b"x" * (LARGEST + 1), WHEN)])
    await producer.send(EVENTS, largest)
    reader = await running(KafkaReader(kafka_settings, [EVENTS]))
    records, _ = await read(reader, TopicPartition(EVENTS, 0), 3)
    assert [record.value for record in records] == [record.value for record in largest]


# -- dying ------------------------------------------------------------------------------------------------------------
async def test_a_forwarder_killed_between_sending_and_recording_doubles_nothing(
    kafka_settings: Settings, database: Database, child: Start, running: Running
) -> None:
    log = await running(KafkaLog(kafka_settings, database))
    await log.forwarder.stop()
    for tp in WHERES:
        await log.append(numbered(key_in(tp.partition), range(30)))
    killed = await child("forward", kafka_settings, "forwarder.sent=kill:3")
    assert await asyncio.wait_for(killed.process.wait(), 60) == -signal.SIGKILL
    log.forwarder = type(log.forwarder)(database, kafka_settings, "suite", JOURNAL)
    await log.forwarder.start()
    reader = await log.reader()
    for tp in WHERES:
        await log.append(numbered(key_in(tp.partition), range(30, 40)))
        assert values((await read(reader, tp, 40))[0]) == list(range(40))
    assert not reader.gaps


async def test_a_consumer_that_hangs_is_made_anew(
    kafka_log: KafkaLog, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    getmany, asked, hanging = AIOKafkaConsumer.getmany, set[AIOKafkaConsumer](), set[AIOKafkaConsumer]()

    async def hang(consumer: Any, *partitions: Any, timeout_ms: int = 0, **options: Any) -> Any:
        """A consumer that hangs goes on to answer, but gives nothing."""
        asked.add(consumer)
        if consumer not in hanging:
            return await getmany(consumer, *partitions, timeout_ms=timeout_ms, **options)
        await asyncio.sleep(timeout_ms / 1000)
        return {}

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", hang)
    reader = await running(KafkaReader(kafka_log.settings, [JOURNAL], hang_timeout=0.5))
    await kafka_log.append(numbered(KEY, range(5)))
    _, position = await read(reader, WHERE, 5)
    hanging |= asked
    await kafka_log.append(numbered(KEY, range(5, 9)))
    assert values((await read(reader, WHERE, 4, position))[0]) == [5, 6, 7, 8]
    assert asked > hanging


async def test_a_broker_that_does_not_answer_is_unavailable_and_then_all_goes_on(
    producer: Producer, kafka_settings: Settings, own_kafka: Kafka, running: Running
) -> None:
    settings = kafka_settings.model_copy(update={"kafka_bootstrap": own_kafka.bootstrap})
    await ensure_topics(settings, [EVENTS])
    impatient = await running(Producer(settings, deadline=2.0))
    reader = await running(KafkaReader(settings, [EVENTS]))
    await eventually(lambda: sends(impatient, numbered(key_in(0), range(1))))
    assert own_kafka.pid
    await freeze(own_kafka.pid)
    try:
        with pytest.raises(Unavailable, match="did not acknowledge within 2 s"):
            await impatient.send(EVENTS, numbered(key_in(0), range(100, 200)))
        with pytest.raises(Unavailable):
            await reader.lag({TopicPartition(EVENTS, 0): START})
    finally:
        os.kill(own_kafka.pid, signal.SIGCONT)
    await eventually(lambda: sends(impatient, numbered(key_in(0), range(1, 2))))
    records, position = await read(reader, TopicPartition(EVENTS, 0), 1)
    while values(records)[-1] != 1:  # what was not acknowledged may have been written all the same
        batch = await reader.fetch(TopicPartition(EVENTS, 0), position, 500, 0.5)
        position = after(position, batch)
        records += batch


async def sends(producer: Producer, records: list[Outgoing]) -> bool:
    try:
        await producer.send(EVENTS, records)
    except Unavailable:
        return False
    return True


async def test_a_broker_killed_and_restarted_loses_nothing_and_nobody_is_restarted(
    kafka_settings: Settings, database: Database, own_kafka: Kafka, running: Running
) -> None:
    settings = kafka_settings.model_copy(update={"kafka_bootstrap": own_kafka.bootstrap})
    log = await running(KafkaLog(settings, database))
    await ensure_topics(settings, [EVENTS])
    producer = await running(Producer(settings, deadline=5.0))
    reader, events = await log.reader(), await running(KafkaReader(settings, [EVENTS]))
    await log.append(numbered(KEY, range(10)))
    _, position = await read(reader, WHERE, 10)
    acknowledged = [0]
    await producer.send(EVENTS, numbered(KEY, range(1)))
    own_kafka.kill()
    own_kafka.launch()
    starting = asyncio.create_task(asyncio.to_thread(own_kafka.wait_ready))
    for number in range(1, 200):
        await log.append(numbered(KEY, range(9 + number, 10 + number)))
        if await sends(producer, numbered(KEY, range(number, number + 1))):
            acknowledged.append(number)
            if starting.done():
                break
    await starting
    records, _ = await read(reader, WHERE, number, position)
    assert values(records) == list(range(10, 10 + number))
    written, _ = await read(events, TopicPartition(EVENTS, 2), len(acknowledged))
    found = values(written)
    position = START
    while found[-1] != acknowledged[-1]:
        batch = await events.fetch(TopicPartition(EVENTS, 2), after(position, written), 500, 0.5)
        written += batch
        found += values(batch)
    assert found == sorted(found)
    assert set(acknowledged) <= set(found)
    assert len(set(found)) == len(found)
