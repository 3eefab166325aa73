"""Positions told to a Kafka group: for tools that show lag. Nothing reads them back, and no failure here matters."""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common.log.kafka_ending import end_consumer
from libs.common.log.kafka_topics import AWAY
from libs.common.settings import Settings

logger = structlog.get_logger()

EVERY = 5.0
PATIENCE = 5.0


class GroupPositions:
    """Commits positions in the background, over a connection of its own, so that it never stands in a reader's way."""

    def __init__(
        self, settings: Settings, group: str, partitions: Sequence[TopicPartition], every: float = EVERY
    ) -> None:
        self._settings = settings
        self._group = group
        self._every = every
        self._partitions = list(partitions)
        self._noted: dict[TopicPartition, int] = {}
        self._consumer: Any = None
        self._task: asyncio.Task[None] | None = None

    def note(self, partition: TopicPartition, native: int) -> None:
        """Everything below `native` has been dealt with."""
        self._noted[partition] = native

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="kafka group")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._disconnect()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            noted, self._noted = self._noted, {}
            if not noted:
                continue
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._commit(noted)
            except AWAY as error:
                logger.debug("positions not told to Kafka", group=self._group, error=repr(error))
                self._noted = noted | self._noted
                await self._disconnect()

    async def _commit(self, positions: dict[TopicPartition, int]) -> None:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **self._settings.kafka_options(),
                client_id="rapport-lag",
                group_id=self._group,
                auto_offset_reset="none",
                enable_auto_commit=False,
            )
            await self._consumer.start()
            self._consumer.assign(self._partitions)
            for partition in self._partitions:
                self._consumer.seek(partition, 0)
            self._consumer.pause(*self._partitions)
        await self._consumer.commit(positions)

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await end_consumer(consumer, PATIENCE)
