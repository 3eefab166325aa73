"""Reading the log from Kafka: partitions are assigned, never subscribed to; the caller's position is the truth.

aiokafka keeps at most one fetched chunk of a partition, and fetches no more of it until that is taken: so a partition
that nobody asks for costs a bounded amount of memory, and holds up no other.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError, OffsetOutOfRangeError

from libs.common.errors import Unavailable
from libs.common.log.kafka_group import GroupPositions
from libs.common.log.kafka_lane import Elsewhere, Lane, Proof
from libs.common.log.kafka_topics import AWAY, LARGEST_BATCH, check_topics, kafka_name
from libs.common.log.postgres import PostgresReader
from libs.common.log.reader import LARGEST_FETCH, Gap, Lag, Position, Reader, Record, Where
from libs.common.settings import Settings

logger = structlog.get_logger()

#: Records taken at once, first and then: as far as a fetch may go over LARGEST_FETCH bytes.
FIRST, CHUNK = 4, 32
#: A consumer that gets nothing for so long though there is something, or no answer at all, is made anew.
PATIENCE = 15.0
WATCH = 1.0
ANSWER = 2.0
#: A partition that was not asked for so long is another process's now.
UNWANTED = 10.0


class KafkaReader(Reader):
    """Reads topics from Kafka, and from `fallback` (the writing service's log) what Kafka no longer has.

    `name` names the group to which positions are told, for tools that show lag. The fallback is started when it is needed.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        fallback: PostgresReader | None = None,
        *,
        name: str = "reader",
        patience: float = PATIENCE,
    ) -> None:
        self._settings = settings
        self._topics = list(topics)
        self._patience = patience
        self._lanes = {
            where: Lane(where, TopicPartition(kafka_name(settings, topic), partition))
            for topic in topics
            for partition in range(settings.partitions)
            for where in [Where(topic, partition)]
        }
        self._fallback = fallback
        self._fallback_started = asyncio.Lock()
        self._reading_older = False
        self._group = GroupPositions(
            settings, f"rapport-{settings.topic_prefix}{name}", [lane.partition for lane in self._lanes.values()]
        )
        self._consumer: Any = None
        self._connected = asyncio.Event()
        self._problem = "it was not started"
        self._answered = 0.0
        self._silent: dict[Where, tuple[int, float]] = {}
        self._behind: dict[Where, tuple[int, float]] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    # -- life ---------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Connect. Raises Unavailable when Kafka cannot be reached, or a topic is missing or of another installation."""
        await self._connect()
        self._keeper = asyncio.create_task(self._keep(), name="kafka reader")
        self._group.start()

    async def stop(self) -> None:
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._group.stop()
        self._drop("it was stopped")
        await asyncio.gather(*self._closing)
        if self._fallback and self._reading_older:
            await self._fallback.stop()

    async def _connect(self) -> None:
        await check_topics(self._settings, self._topics)
        consumer = AIOKafkaConsumer(
            **self._settings.kafka_options(),
            client_id="rapport",
            group_id=None,
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=LARGEST_BATCH,
            request_timeout_ms=15_000,
            metadata_max_age_ms=2_000,
        )
        try:
            async with asyncio.timeout(self._patience):
                await consumer.start()
        except BaseException as error:
            await consumer.stop()
            if isinstance(error, AWAY):
                raise self._unavailable(error) from error
            raise
        partitions = [lane.partition for lane in self._lanes.values()]
        consumer.assign(partitions)
        for partition in partitions:  # a place of its own, so that it asks no group for one; nothing is read from it
            consumer.seek(partition, 0)
        consumer.pause(*partitions)
        self._consumer = consumer
        self._answered = time.monotonic()
        self._connected.set()

    def _drop(self, problem: str) -> None:
        """Give the consumer up; the keeper makes another. What was fetched is sought again."""
        consumer, self._consumer, self._problem = self._consumer, None, problem
        self._connected.clear()
        self._silent.clear()
        for lane in self._lanes.values():
            lane.proof = Proof.NONE
        if consumer is not None:
            task = asyncio.create_task(_close(consumer), name="kafka consumer's end")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    # -- reading ------------------------------------------------------------------------------------------------------
    async def fetch(self, where: Where, position: Position, limit: int, wait: float) -> list[Record]:
        lane = self._lanes[where]
        lane.wanted = time.monotonic()
        until = lane.wanted + wait
        if position.hint is not None:
            self._group.note(lane.partition, position.hint)
        async with lane.turn:
            while True:
                consumer = await self._consumer_until(until)
                try:
                    if not lane.stands_at(position):
                        await self._seek(consumer, lane, position)
                    if not lane.records:
                        await self._fill(consumer, lane, limit, max(0.0, until - time.monotonic()))
                except (KafkaError, ConsumerStoppedError) as error:
                    if self._consumer is consumer:
                        logger.warning("kafka consumer given up", where=str(where), error=repr(error))
                        self._drop(repr(error))
                    raise self._unavailable(error) from error
                if lane.records or time.monotonic() >= until:
                    return lane.records[:limit]
                await asyncio.sleep(0)

    async def _consumer_until(self, until: float) -> Any:
        if self._consumer is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    await self._connected.wait()
            if self._consumer is None:
                raise Unavailable(f"Kafka cannot be read: {self._problem}")
        return self._consumer

    async def _seek(self, consumer: Any, lane: Lane, position: Position) -> None:
        """Go to the place before the hint, to see whether it is right, or else to the beginning."""
        lane.proof = Proof.NONE
        try:
            async with asyncio.timeout(ANSWER):
                beginning = (await consumer.beginning_offsets([lane.partition]))[lane.partition]
                end = (await consumer.end_offsets([lane.partition]))[lane.partition]
        except AWAY as error:
            raise self._unavailable(error) from error
        older = 0
        if beginning == end and self._fallback:  # nothing here to compare with, but it may have had records
            older = (await (await self._older_reader()).lag({lane.where: position}))[lane.where].records
        if self._consumer is not consumer:
            return
        if position.hint is not None and beginning < position.hint <= end:
            lane.aim(position, position.hint - 1, Proof.HINT)
        else:
            lane.aim(position, beginning, Proof.READING if older else Proof.BEGINNING)
            lane.older_until = position.next + older
        consumer.seek(lane.partition, lane.native)
        consumer.resume(lane.partition)

    async def _fill(self, consumer: Any, lane: Lane, limit: int, wait: float) -> None:
        """Put records into the lane, if some come within `wait` seconds."""
        if lane.reads_older:
            await self._fill_older(lane, limit, wait)
            return
        size = taken = 0
        position = Position(0, lane.next)
        while len(lane.records) < limit and size < LARGEST_FETCH:
            room = max(1, (LARGEST_FETCH - size) * taken // size) if size else FIRST
            most = min(room, CHUNK, limit - len(lane.records))
            try:
                fetched = await consumer.getmany(lane.partition, timeout_ms=int(wait * 1000), max_records=most)
                messages = fetched.get(lane.partition)
                if not messages or self._consumer is not consumer:
                    return
                if gap := lane.take(messages):
                    logger.error("gap in the log", where=str(lane.where), expected=gap.expected, found=gap.found)
            except OffsetOutOfRangeError:
                await self._seek(consumer, lane, position)
                return
            except Elsewhere as elsewhere:
                if lane.proof is Proof.BEGINNING:
                    self._begin_at(consumer, lane, elsewhere.first)
                else:
                    await self._seek(consumer, lane, position)
                return
            size += sum(len(message.value) for message in messages)
            taken += len(messages)
            wait = 0

    def _begin_at(self, consumer: Any, lane: Lane, first: Record) -> None:
        """Kafka begins after the record expected: the fallback has what is missing, or it is a gap."""
        consumer.seek(lane.partition, first.native)
        lane.proof = Proof.READING
        lane.native = first.native
        if self._fallback:
            lane.older_until = first.offset
            logger.info("PostgreSQL is read for what Kafka no longer has", where=str(lane.where), until=first.offset)
        else:
            self._missing(lane, first.offset)

    async def _fill_older(self, lane: Lane, limit: int, wait: float) -> None:
        """Put records of the fallback into the lane. Where it has none, they are missing."""
        older = await self._older_reader()
        position = Position(0, lane.next)
        found = await older.fetch(lane.where, position, min(limit, lane.older_until - lane.next), wait)
        lane.accept([record._replace(native=lane.native - 1) for record in found])
        if not found and not (await older.lag({lane.where: position}))[lane.where].records:
            until, lane.older_until = lane.older_until, lane.next
            self._missing(lane, until)

    def _missing(self, lane: Lane, until: int) -> None:
        lane.gap = Gap(lane.next, until)
        logger.error("gap in the log", where=str(lane.where), expected=lane.next, found=until)

    async def _older_reader(self) -> PostgresReader:
        if self._fallback is None:
            raise RuntimeError("there is no fallback")
        async with self._fallback_started:
            if not self._reading_older:
                await self._fallback.start()
                self._reading_older = True
        return self._fallback

    @property
    def gaps(self) -> Mapping[Where, Gap]:
        return {where: lane.gap for where, lane in self._lanes.items() if lane.gap}

    # -- lag ----------------------------------------------------------------------------------------------------------
    async def lag(self, positions: Mapping[Where, Position]) -> dict[Where, Lag]:
        """How far each position is behind. Of partitions that others read, duplicates in Kafka are counted too.

        Seconds are those since the append of the oldest record that is here; where none is, since the lag was first seen.
        """
        if self._consumer is None:
            raise Unavailable(f"Kafka cannot be read: {self._problem}")
        partitions = [self._lanes[where].partition for where in positions]
        try:
            async with asyncio.timeout(ANSWER):
                ends = await self._consumer.end_offsets(partitions)
                beginnings = await self._consumer.beginning_offsets(partitions)
        except AWAY as error:
            raise self._unavailable(error) from error
        return {
            where: self._lag(where, position, beginnings[partition], ends[partition])
            for (where, position), partition in zip(positions.items(), partitions, strict=True)
        }

    def _lag(self, where: Where, position: Position, beginning: int, end: int) -> Lag:
        lane = self._lanes[where]
        known = beginning if not position.hint or not beginning <= position.hint <= end else position.hint
        at, older = lane.ahead_of(position) or (known, 0)
        records = max(0, end - at) + older
        now = time.monotonic()
        if not records:
            self._behind.pop(where, None)
            return Lag(0, 0.0)
        oldest = next((record for record in lane.records if record.offset == position.next), None)
        if oldest:
            return Lag(records, max(0.0, (datetime.now(UTC) - oldest.appended_at).total_seconds()))
        since = self._behind.get(where)
        if since is None or since[0] != position.next:
            since = self._behind[where] = (position.next, now)
        return Lag(records, now - since[1])

    # -- watching -----------------------------------------------------------------------------------------------------
    async def _keep(self) -> None:
        """Keep a consumer that works."""
        while True:
            await asyncio.sleep(WATCH)
            try:
                if self._consumer is None:
                    await self._connect()
                    logger.info("kafka consumer made anew")
                else:
                    await self._watch(self._consumer)
            except Unavailable as error:
                if error.detail != self._problem:
                    logger.warning("kafka cannot be read", error=error.detail)
                self._problem = error.detail

    async def _watch(self, consumer: Any) -> None:
        """Give the consumer up when it gets nothing though there is something, or no answer; forget what is not wanted."""
        now = time.monotonic()
        for topic in self._topics:
            if not consumer.partitions_for_topic(kafka_name(self._settings, topic)):
                self._drop(f"the topic {kafka_name(self._settings, topic)} is gone")
                return
        waiting = []
        for lane in self._lanes.values():
            if lane.proof is not Proof.NONE and lane.unwanted(now - UNWANTED):
                lane.proof = Proof.NONE
                lane.records = []
                consumer.pause(lane.partition)
            elif lane.proof is not Proof.NONE and not lane.records and not lane.reads_older:
                waiting.append(lane)
        if not waiting:
            self._answered = now
            return
        try:
            async with asyncio.timeout(ANSWER):
                ends = await consumer.end_offsets([lane.partition for lane in waiting])
        except AWAY as error:
            if now - self._answered > self._patience:
                self._drop(f"no answer: {error!r}")
            return
        self._answered = now
        for lane in waiting:
            silent_at, since = self._silent.get(lane.where, (-1, now))
            if ends[lane.partition] <= lane.native:
                self._silent.pop(lane.where, None)
            elif silent_at != lane.native:
                self._silent[lane.where] = (lane.native, now)
            elif now - since > self._patience:
                logger.error("kafka consumer hangs", where=str(lane.where), native=lane.native)
                self._drop("it hung")
                return

    def _unavailable(self, error: BaseException) -> Unavailable:
        return Unavailable(f"Kafka cannot be read ({self._settings.kafka_bootstrap}): {error!r}")


async def _close(consumer: Any) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await consumer.stop()
