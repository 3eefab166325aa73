"""Keeps one aiokafka consumer connected: replaces it if it hangs, does not answer, or its topic was deleted.

Consumers can hang silently after a broker's restart, and never use the bootstrap addresses again. So this module checks
whether they receive records.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from libs.common.errors import Unavailable
from libs.common.log.kafka.topics import (
    CONNECT_TIMEOUT,
    KAFKA_ERRORS,
    LARGEST_BATCH,
    RETRY_MS,
    check_topics,
    kafka_name,
)
from libs.common.settings import Settings

logger = structlog.get_logger()

#: A consumer is replaced if it receives no records for HANG_TIMEOUT seconds although there are some, or no answer for
#: SILENCE_TIMEOUT seconds. So all readers continue within ten seconds after Kafka is back.
HANG_TIMEOUT, SILENCE_TIMEOUT = 6.0, 4.0
CHECK_EVERY = 1.0
ANSWER_TIMEOUT = 2.0
#: Unless records are wanted at once, Kafka waits for so many bytes, at most 0.1 s.
MANY_BYTES = 100_000


class Connection:
    """The consumer of some partitions, all paused at first. `consumer` is None while Kafka is unavailable.

    `waiting` gives the partitions that wait for records, each with its offset. `lost` is called when the consumer, and
    all that it has fetched, is discarded.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        partitions: Sequence[KafkaPartition],
        waiting: Callable[[Any], Mapping[KafkaPartition, int]],
        lost: Callable[[], None],
        hang_timeout: float,
        at_once: bool,
    ) -> None:
        self._settings = settings
        self._at_once = at_once
        self._topics = list(topics)
        self._partitions = list(partitions)
        self._waiting = waiting
        self._lost = lost
        self._hang_timeout = hang_timeout
        self.consumer: Any = None
        self._connected = asyncio.Event()
        self._problem = "it was not started"
        self._answered = 0.0
        self._waiting_since: dict[KafkaPartition, tuple[int, float]] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect. Raises Unavailable if Kafka cannot be reached, or if `check_topics` does."""
        await self._connect()
        self._keeper = asyncio.create_task(self._keep_connected(), name="kafka consumer")

    async def stop(self) -> None:
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self.give_up(self.consumer, "it was stopped")
        await asyncio.gather(*self._closing)

    async def until(self, deadline: float) -> Any:
        """The consumer; waits for it until `deadline` (time.monotonic). Raises Unavailable if there is none by then."""
        if self.consumer is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._connected.wait()
        return self.now()

    def now(self) -> Any:
        """The consumer. Raises Unavailable if there is none."""
        if self.consumer is None:
            raise Unavailable(f"Kafka cannot be read: {self._problem}")
        return self.consumer

    async def bounds(
        self, consumer: Any, partitions: Sequence[KafkaPartition]
    ) -> tuple[dict[KafkaPartition, int], dict[KafkaPartition, int]]:
        """The beginnings and ends of partitions. Raises Unavailable without an answer within ANSWER_TIMEOUT seconds."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                beginnings, ends = await asyncio.gather(
                    consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
                )
        except KAFKA_ERRORS as error:
            raise self.unavailable(error) from error
        return beginnings, ends

    def give_up(self, consumer: Any, problem: str) -> None:
        """Discard the consumer if it is still in use; another one is connected later. Does not block."""
        if consumer is None or consumer is not self.consumer:
            return
        self.consumer, self._problem = None, problem
        self._connected.clear()
        self._waiting_since.clear()
        self._lost()
        task = asyncio.create_task(end_consumer(consumer), name="kafka consumer's end")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def unavailable(self, error: BaseException) -> Unavailable:
        return Unavailable(f"Kafka cannot be read ({self._settings.kafka_bootstrap}): {error!r}")

    async def _connect(self) -> None:
        await check_topics(self._settings, self._topics)
        consumer = AIOKafkaConsumer(
            **self._settings.kafka_options(),
            client_id="rapport",
            group_id=None,
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_min_bytes=1 if self._at_once else MANY_BYTES,
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=LARGEST_BATCH,
            request_timeout_ms=15_000,
            retry_backoff_ms=RETRY_MS,
            metadata_max_age_ms=2_000,
        )
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await consumer.start()
        except BaseException as error:
            await end_consumer(consumer)
            if isinstance(error, KAFKA_ERRORS):
                raise self.unavailable(error) from error
            raise
        consumer.assign(self._partitions)
        for partition in self._partitions:  # with a position, it does not ask a group for one
            consumer.seek(partition, 0)
        consumer.pause(*self._partitions)
        self.consumer = consumer
        self._answered = time.monotonic()
        self._connected.set()

    async def _keep_connected(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY)
            try:
                if self.consumer is not None:
                    await self._check(self.consumer)
                    continue
                await self._connect()
                logger.info("kafka consumer replaced", problem=self._problem)
            except Unavailable as error:
                if error.detail != self._problem:
                    logger.warning("cannot read from kafka", error=error.detail)
                self._problem = error.detail

    async def _check(self, consumer: Any) -> None:
        """Discard the consumer if it receives no records although there are some, or no answer, or if a topic was
        deleted."""
        now = time.monotonic()
        for topic in self._topics:
            if not consumer.partitions_for_topic(kafka_name(self._settings, topic)):
                self.give_up(consumer, f"the topic {kafka_name(self._settings, topic)} was deleted")
                return
        waiting = self._waiting(consumer)
        try:
            ends = (await self.bounds(consumer, list(waiting)))[1] if waiting else {}
        except Unavailable as error:
            if now - self._answered > min(self._hang_timeout, SILENCE_TIMEOUT):
                self.give_up(consumer, error.detail)
            return
        self._answered = now
        self._waiting_since = {
            partition: (native, self._since(partition, native, now))
            for partition, native in waiting.items()
            if ends[partition] > native
        }
        for partition, (native, since) in self._waiting_since.items():
            if now - since > self._hang_timeout:
                logger.error(
                    "kafka consumer hangs", topic=partition.topic, partition=partition.partition, native=native
                )
                self.give_up(consumer, "it hung")
                return

    def _since(self, partition: KafkaPartition, native: int, now: float) -> float:
        """Since when the partition has waited at this offset although there are records."""
        before = self._waiting_since.get(partition)
        return before[1] if before and before[0] == native else now


async def end_consumer(consumer: Any, timeout: float = 5.0) -> None:
    """Close a consumer, even if its own `stop` fails or takes over `timeout` seconds. Does not raise what that raises.

    aiokafka's `stop` may wait for an unavailable coordinator. It may also raise CancelledError by itself, if it cancels
    a fetch that is about to be retried; then it leaves connections open.
    """
    stopping = asyncio.create_task(consumer.stop(), name="kafka consumer's stop")
    try:
        await asyncio.wait([stopping], timeout=timeout)
    finally:
        finished = stopping.done() and not stopping.cancelled()
        error = stopping.exception() if finished else None
        if error:
            logger.warning("kafka consumer did not stop", error=repr(error))
        if error or not finished:
            stopping.cancel()
            await consumer._client.close()
