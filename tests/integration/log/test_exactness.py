"""A reader accepts exactly the next offset."""

import pytest

from libs.common.contracts.profile import JOURNAL
from libs.common.db.migrate import migrate
from libs.common.errors import Unavailable
from libs.common.log.kafka import KafkaReader, ensure_topics
from libs.common.log.reader import Gap, TopicPartition
from libs.common.settings import Settings
from tests.integration.log.logs import KafkaLog, Log, key_in, numbered, read, values
from tests.support import eventually

WHERE = TopicPartition(JOURNAL, 3)
KEY = key_in(3)


async def test_a_gap_is_told_and_waited_for_until_the_missing_records_come(log: Log) -> None:
    await log.append(numbered(KEY, range(10)))
    reader = await log.reader()
    _, position = await read(reader, WHERE, 10)
    await log.append_losing(numbered(KEY, range(10, 30)), 14, 17)
    records, position = await read(reader, WHERE, 4, position)
    assert values(records) == list(range(10, 14))

    async def found() -> Gap | None:
        assert await reader.fetch(WHERE, position, 500, 0.05) == []
        return reader.gaps.get(WHERE)

    assert await eventually(found) == Gap(14, 18)
    other = await log.reader()  # another process meets the same gap
    assert await other.fetch(WHERE, position, 500, 0.5) == []
    await log.heal()
    for healed in (reader, other):
        assert values((await read(healed, WHERE, 16, position))[0]) == list(range(14, 30))
        assert not healed.gaps


async def test_what_is_sent_twice_is_read_once(kafka_log: KafkaLog) -> None:
    await kafka_log.append(numbered(KEY, range(20)))
    reader = await kafka_log.reader()
    _, position = await read(reader, WHERE, 20)
    await kafka_log.set_back(WHERE.partition, 5)
    await eventually(lambda: sent(kafka_log, 35))
    await kafka_log.append(numbered(KEY, range(20, 25)))
    assert values((await read(reader, WHERE, 5, position))[0]) == list(range(20, 25))
    assert values((await read(await kafka_log.reader(), WHERE, 25))[0]) == list(range(25))


async def test_duplicates_at_the_end_are_no_lag(kafka_log: KafkaLog) -> None:
    await kafka_log.append(numbered(KEY, range(20)))
    reader = await kafka_log.reader()
    _, position = await read(reader, WHERE, 20)
    await kafka_log.set_back(WHERE.partition, 5)
    await eventually(lambda: sent(kafka_log, 35))

    async def caught_up() -> bool:
        assert await reader.fetch(WHERE, position, 500, 0.05) == []
        return (await reader.lag({WHERE: position}))[WHERE] == (0, 0.0)

    await eventually(caught_up)


async def sent(log: KafkaLog, count: int) -> bool:
    return log.forwarder.forwarded >= count


async def test_another_number_of_partitions_is_refused(settings: Settings, kafka_settings: Settings) -> None:
    await ensure_topics(kafka_settings, [JOURNAL])
    await ensure_topics(kafka_settings, [JOURNAL])
    other = kafka_settings.model_copy(update={"partitions": 5})
    with pytest.raises(Unavailable, match="has 8 partitions, RAPPORT_PARTITIONS says 5"):
        await ensure_topics(other, [JOURNAL])
    with pytest.raises(Unavailable, match="has 8 partitions, RAPPORT_PARTITIONS says 5"):
        await KafkaReader(other, [JOURNAL]).start()
    with pytest.raises(Unavailable, match="has 8 partitions, RAPPORT_PARTITIONS says 5"):
        await migrate(settings.model_copy(update={"partitions": 5}), ("log",))


async def test_a_topic_that_nobody_made_is_named(kafka_settings: Settings) -> None:
    with pytest.raises(Unavailable, match=f"no topic {kafka_settings.topic_prefix}{JOURNAL} yet"):
        await KafkaReader(kafka_settings, [JOURNAL]).start()
