"""One aiokafka consumer, kept alive: made anew when it hangs, or does not answer, or its topic is gone.

Consumers have hung after a broker's restart without a sign, and never ask the bootstrap addresses again: so what they get
is watched.
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
from libs.common.log.kafka.topics import AWAY, CONNECT, LARGEST_BATCH, RETRY_MS, check_topics, kafka_name
from libs.common.settings import Settings

logger = structlog.get_logger()

#: A consumer that gets nothing for so long though there is something, or no answer at all, is made anew: early enough for
#: everybody to read on ten seconds after Kafka is back.
PATIENCE, UNANSWERED = 6.0, 4.0
WATCH = 1.0
ANSWER = 2.0
#: Who need not be told at once gets so many bytes together, or what there is after 0.1 s.
MANY_BYTES = 100_000


class Connection:
    """The consumer of some partitions, all paused at first; `consumer` is None while Kafka is away.

    `waiting` says of each partition that waits for records at which offset; `lost` is called when the consumer is given
    up, with all that it had fetched.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        partitions: Sequence[KafkaPartition],
        waiting: Callable[[Any], Mapping[KafkaPartition, int]],
        lost: Callable[[], None],
        patience: float,
        at_once: bool,
    ) -> None:
        self._settings = settings
        self._at_once = at_once
        self._topics = list(topics)
        self._partitions = list(partitions)
        self._waiting = waiting
        self._lost = lost
        self._patience = patience
        self.consumer: Any = None
        self._made = asyncio.Event()
        self._problem = "it was not started"
        self._answered = 0.0
        self._silent: dict[KafkaPartition, tuple[int, float]] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect. Raises Unavailable when Kafka cannot be reached, or a topic is missing or of another installation."""
        await self._connect()
        self._keeper = asyncio.create_task(self._keep(), name="kafka consumer")

    async def stop(self) -> None:
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self.give_up(self.consumer, "it was stopped")
        await asyncio.gather(*self._closing)

    async def until(self, deadline: float) -> Any:
        """The consumer, waited for until `deadline` (time.monotonic). Raises Unavailable when there is none."""
        if self.consumer is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._made.wait()
        return self.now()

    def now(self) -> Any:
        """The consumer. Raises Unavailable when there is none."""
        if self.consumer is None:
            raise Unavailable(f"Kafka cannot be read: {self._problem}")
        return self.consumer

    async def bounds(
        self, consumer: Any, partitions: Sequence[KafkaPartition]
    ) -> tuple[dict[KafkaPartition, int], dict[KafkaPartition, int]]:
        """Where the partitions begin and end. Raises Unavailable when there is no answer within two seconds."""
        try:
            async with asyncio.timeout(ANSWER):
                beginnings, ends = await asyncio.gather(
                    consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
                )
        except AWAY as error:
            raise self.unavailable(error) from error
        return beginnings, ends

    def give_up(self, consumer: Any, problem: str) -> None:
        """Throw the consumer away, if it is still the one in use; another will be made."""
        if consumer is None or consumer is not self.consumer:
            return
        self.consumer, self._problem = None, problem
        self._made.clear()
        self._silent.clear()
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
            async with asyncio.timeout(CONNECT):
                await consumer.start()
        except BaseException as error:
            await end_consumer(consumer)
            if isinstance(error, AWAY):
                raise self.unavailable(error) from error
            raise
        consumer.assign(self._partitions)
        for partition in self._partitions:  # a place of its own, so that it asks no group for one
            consumer.seek(partition, 0)
        consumer.pause(*self._partitions)
        self.consumer = consumer
        self._answered = time.monotonic()
        self._made.set()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(WATCH)
            try:
                if self.consumer is not None:
                    await self._watch(self.consumer)
                    continue
                await self._connect()
                logger.info("kafka consumer made anew", problem=self._problem)
            except Unavailable as error:
                if error.detail != self._problem:
                    logger.warning("kafka cannot be read", error=error.detail)
                self._problem = error.detail

    async def _watch(self, consumer: Any) -> None:
        """Give the consumer up when it gets nothing though there is something, or no answer, or its topic is gone."""
        now = time.monotonic()
        for topic in self._topics:
            if not consumer.partitions_for_topic(kafka_name(self._settings, topic)):
                self.give_up(consumer, f"the topic {kafka_name(self._settings, topic)} is gone")
                return
        waiting = self._waiting(consumer)
        try:
            ends = (await self.bounds(consumer, list(waiting)))[1] if waiting else {}
        except Unavailable as error:
            if now - self._answered > min(self._patience, UNANSWERED):
                self.give_up(consumer, error.detail)
            return
        self._answered = now
        self._silent = {
            partition: (native, self._since(partition, native, now))
            for partition, native in waiting.items()
            if ends[partition] > native
        }
        for partition, (native, since) in self._silent.items():
            if now - since > self._patience:
                logger.error(
                    "kafka consumer hangs", topic=partition.topic, partition=partition.partition, native=native
                )
                self.give_up(consumer, "it hung")
                return

    def _since(self, partition: KafkaPartition, native: int, now: float) -> float:
        """Since when the partition has waited at this offset though there is more."""
        before = self._silent.get(partition)
        return before[1] if before and before[0] == native else now


async def end_consumer(consumer: Any, patience: float = 5.0) -> None:
    """Close it, whatever becomes of its own `stop`: that may wait for a coordinator that is away, and comes out as a
    cancellation, which nobody asked for, when it cancels a fetch that is about to be tried again. Then its connections are
    open still."""
    stopping = asyncio.create_task(consumer.stop(), name="kafka consumer's stop")
    try:
        await asyncio.wait([stopping], timeout=patience)
    finally:
        came_to_its_end = stopping.done() and not stopping.cancelled()
        error = stopping.exception() if came_to_its_end else None
        if error:
            logger.warning("kafka consumer did not stop", error=repr(error))
        if error or not came_to_its_end:
            stopping.cancel()
            await consumer._client.close()
