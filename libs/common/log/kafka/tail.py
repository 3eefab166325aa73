"""The end of a topic in Kafka: its newest message, and whether PostgreSQL is behind it (after a restore)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.log.kafka.connection import end_consumer
from libs.common.log.kafka.partition_reader import as_record
from libs.common.log.kafka.topics import KAFKA_ERRORS, LARGEST_BATCH, kafka_name
from libs.common.log.reader import Position, Record, TopicPartition
from libs.common.settings import Settings

#: How many of the last records to look at. After a rewind, the last ones do not have the highest offsets.
LOOK = 500
TIMEOUT = 30.0
_HEADS = "SELECT partition, epoch, next FROM log.heads WHERE topic = $1"


class Ahead(NamedTuple):
    """Kafka has records of a partition up to `last` that PostgreSQL does not have."""

    tp: TopicPartition
    last: int


async def refuse_behind(database: Database, settings: Settings, service: str, topic: str) -> None:
    """Raises Unavailable if Kafka has records of `topic`, in the current epoch, that PostgreSQL does not have.

    Then only this database was restored from an older backup. If the service continued, it would give out offsets again
    that Kafka's readers have already read. Changes nothing.
    """
    async with database.connection() as connection:
        heads = {row[0]: Position(row[1], row[2]) for row in await connection.fetch(_HEADS, topic)}
    if found := await ahead(settings, topic, heads):
        missing = ", ".join(
            f"{each.tp} ends before {heads[each.tp.partition].next}, Kafka has records up to {each.last}"
            for each in found
        )
        raise Unavailable(
            f"the database of {service} is older than its topic in Kafka ({missing}): restore the databases of all services"
            f" to one moment, or abandon these records and begin a new epoch with `rapport epoch {service}`"
        )


async def ahead(settings: Settings, topic: str, heads: Mapping[int, Position]) -> list[Ahead]:
    """The partitions of which Kafka has records at or after PostgreSQL's heads, in their epoch. Raises Unavailable."""
    found = []
    async with _consumer(settings, topic, list(heads)) as (consumer, partitions):
        beginnings, ends = await asyncio.gather(
            consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        )
        for partition in partitions:
            tp, head = TopicPartition(topic, partition.partition), heads[partition.partition]
            end = ends[partition]
            seen = await _read(consumer, tp, partition, max(beginnings[partition], end - LOOK), end)
            last = max((record.offset for record in seen if (record.epoch or 0) >= head.epoch), default=-1)
            if last >= head.next:
                found.append(Ahead(tp, last))
    return found


async def newest(settings: Settings, topic: str, partition: int, most: int) -> list[bytes]:
    """The values of a partition's last `most` messages, in their order; fewer if it has no more. Raises Unavailable."""
    async with _consumer(settings, topic, [partition]) as (consumer, (native,)):
        beginnings, ends = await asyncio.gather(consumer.beginning_offsets([native]), consumer.end_offsets([native]))
        first = max(beginnings[native], ends[native] - most)
        last = await _read(consumer, TopicPartition(topic, partition), native, first, ends[native])
    return [record.value for record in last]


@asynccontextmanager
async def _consumer(
    settings: Settings, topic: str, numbers: Sequence[int]
) -> AsyncIterator[tuple[Any, list[KafkaPartition]]]:
    """A consumer of some partitions, and these. Raises Unavailable for errors of Kafka and after TIMEOUT seconds."""
    partitions = [KafkaPartition(kafka_name(settings, topic), number) for number in sorted(numbers)]
    consumer = AIOKafkaConsumer(
        **settings.kafka_options(),
        client_id="rapport-tail",
        group_id=None,
        auto_offset_reset="none",
        enable_auto_commit=False,
        max_partition_fetch_bytes=LARGEST_BATCH,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            await consumer.start()
            consumer.assign(partitions)
            consumer.pause(*partitions)
            yield consumer, partitions
    except KAFKA_ERRORS as error:
        raise Unavailable(f"Kafka's tail of {topic} cannot be read ({settings.kafka_bootstrap}): {error!r}") from error
    finally:
        await end_consumer(consumer)


async def _read(consumer: Any, tp: TopicPartition, partition: KafkaPartition, first: int, end: int) -> list[Record]:
    """The records from `first` to before `end`; both are Kafka's offsets."""
    records: list[Record] = []
    if first >= end:
        return records
    consumer.seek(partition, first)
    consumer.resume(partition)
    while not records or records[-1].native < end - 1:
        fetched = await consumer.getmany(partition, timeout_ms=1000, max_records=end - first)
        records += [as_record(tp, message) for message in fetched.get(partition, ())]
    consumer.pause(partition)
    return [record for record in records if record.native < end]
