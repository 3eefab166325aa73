"""What Kafka has of the services' topics: each record that PostgreSQL has must be there too, under the same offset."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

Place = tuple[str, int]


async def ends(bootstrap: str, places: list[Place]) -> dict[Place, int]:
    """How far each partition goes, in Kafka's own count."""
    async with _consumer(bootstrap) as consumer:
        found = await consumer.end_offsets([TopicPartition(*place) for place in places])
    return {(each.topic, each.partition): end for each, end in found.items()}


async def copied(bootstrap: str, since: Mapping[Place, int]) -> set[tuple[str, int, int]]:
    """(topic, partition, offset) of the records that came since; those that came twice, too."""
    until = await ends(bootstrap, list(since))
    found: set[tuple[str, int, int]] = set()
    async with _consumer(bootstrap) as consumer:
        behind = {place for place in since if since[place] < until[place]}
        consumer.assign([TopicPartition(*place) for place in behind])
        for place in behind:
            consumer.seek(TopicPartition(*place), since[place])
        while behind:
            for partition, messages in (await consumer.getmany(timeout_ms=1000)).items():
                place = (partition.topic, partition.partition)
                found |= {(*place, int(dict(message.headers)["offset"])) for message in messages}
                if messages[-1].offset >= until[place] - 1:
                    behind.discard(place)
    return found


@asynccontextmanager
async def _consumer(bootstrap: str) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False)
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()
