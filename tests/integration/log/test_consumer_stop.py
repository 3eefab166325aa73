"""A consumer is closed whatever becomes of its own `stop`."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher

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
    connections, fetchers = list[AIOKafkaConnection](), list[Fetcher]()
    connect = AIOKafkaConnection.connect

    async def connected(connection: AIOKafkaConnection) -> Any:
        connections.append(connection)
        return await connect(connection)

    async def close(stopping: Fetcher) -> None:
        fetchers.append(stopping)
        assert fetcher
        await fetcher()

    await ensure_topics(kafka_settings, [JOURNAL])
    monkeypatch.setattr(AIOKafkaConnection, "connect", connected)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_settings.kafka_bootstrap)
    await consumer.start()
    await consumer.end_offsets([KafkaPartition(kafka_name(kafka_settings, JOURNAL), 0)])
    assert any(each.connected() for each in connections)
    if fetcher:
        monkeypatch.setattr(Fetcher, "close", close)
    await end_consumer(consumer, timeout=1.0)
    assert not any(each.connected() for each in connections)
    monkeypatch.undo()
    for each in fetchers:
        await each.close()
