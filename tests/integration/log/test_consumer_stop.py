"""A consumer is closed whatever becomes of its own `stop`."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from libs.common.contracts.profile import JOURNAL
from libs.common.log.kafka.connection import end_consumer
from libs.common.log.kafka.topics import ensure_topics, kafka_name
from libs.common.settings import Settings


async def cancelled() -> None:
    """As a fetch that is cancelled while it waits to be tried again."""
    raise asyncio.CancelledError


async def hanging() -> None:
    await asyncio.Event().wait()


async def deaf() -> None:
    """As what swallows its cancellation."""
    with contextlib.suppress(asyncio.CancelledError):
        await hanging()
    await asyncio.sleep(5)


@pytest.mark.parametrize("fetcher", [None, cancelled, hanging, deaf])
async def test_its_connections_are_closed(
    kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch, fetcher: Callable[[], Awaitable[None]] | None
) -> None:
    await ensure_topics(kafka_settings, [JOURNAL])
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_settings.kafka_bootstrap)
    await consumer.start()
    await consumer.end_offsets([KafkaPartition(kafka_name(kafka_settings, JOURNAL), 0)])
    connections = list(consumer._client._conns.values())
    assert any(each.connected() for each in connections)
    if fetcher:
        monkeypatch.setattr(consumer._fetcher, "close", fetcher)
    await end_consumer(consumer, timeout=1.0)
    assert not any(each.connected() for each in connections)
    monkeypatch.undo()
    await consumer._fetcher.close()
