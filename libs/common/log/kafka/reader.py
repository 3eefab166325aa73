"""Reading the log from Kafka: partitions are assigned, never subscribed to; the caller's position is the truth.

aiokafka keeps at most one fetched chunk of a partition, and fetches no more of it until that is taken: so a partition
that nobody asks for costs a bounded amount of memory, and holds up no other.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import structlog
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError, OffsetOutOfRangeError

from libs.common.log.kafka.connection import PATIENCE, Connection
from libs.common.log.kafka.partition_reader import Elsewhere, PartitionReader, Proof
from libs.common.log.kafka.topics import kafka_name
from libs.common.log.postgres import PostgresReader
from libs.common.log.reader import LARGEST_FETCH, Gap, Lag, Position, Reader, Record, TopicPartition
from libs.common.settings import Settings

logger = structlog.get_logger()

#: Records taken at once, first and then: as far as a fetch may go over LARGEST_FETCH bytes.
FIRST, CHUNK = 4, 32
#: A partition that was not asked for so long is another process's now.
UNWANTED = 10.0


class KafkaReader(Reader):
    """Reads topics from Kafka, and from `fallback` (the writing service's log) what Kafka no longer has.

    The fallback runs only while it is needed. Unless records are wanted `at_once`, Kafka gathers some first. `bases` are the
    offsets from which Kafka's own count on, where a topic was moved to Kafka.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        fallback: PostgresReader | None = None,
        *,
        patience: float = PATIENCE,
        at_once: bool = True,
        bases: Mapping[TopicPartition, int] = MappingProxyType({}),
    ) -> None:
        self._partition_readers = {
            TopicPartition(topic, partition): PartitionReader(
                TopicPartition(topic, partition),
                KafkaPartition(kafka_name(settings, topic), partition),
                bases.get(TopicPartition(topic, partition), 0),
            )
            for topic in topics
            for partition in range(settings.partitions)
        }
        partitions = [lane.partition for lane in self._partition_readers.values()]
        self._connection = Connection(settings, topics, partitions, self._waiting, self._lost, patience, at_once)
        self._fallback = fallback
        self._fallback_turn = asyncio.Lock()
        self._fallback_runs = False
        self._fallback_used = 0.0
        self._resting: asyncio.Task[None] | None = None
        self._behind: dict[TopicPartition, tuple[int, float]] = {}

    async def start(self) -> None:
        """Connect. Raises Unavailable when Kafka cannot be reached, or a topic is missing or of another installation."""
        await self._connection.start()

    async def stop(self) -> None:
        await self._connection.stop()
        if self._resting:
            await self._resting
        self._fallback_used = float("-inf")
        await self._rest()

    # -- reading ------------------------------------------------------------------------------------------------------
    async def fetch(self, where: TopicPartition, position: Position, limit: int, wait: float) -> list[Record]:
        lane = self._partition_readers[where]
        lane.wanted = time.monotonic()
        until = lane.wanted + wait
        async with lane.turn:
            while True:
                consumer = await self._connection.until(until)
                try:
                    if not lane.stands_at(position):
                        await self._seek(consumer, lane, position)
                    if not lane.records:
                        await self._fill(consumer, lane, limit, max(0.0, until - time.monotonic()))
                except (KafkaError, ConsumerStoppedError) as error:
                    logger.warning("kafka consumer fails", where=str(where), error=repr(error))
                    self._connection.give_up(consumer, repr(error))
                    raise self._connection.unavailable(error) from error
                if lane.records or time.monotonic() >= until:
                    return lane.records[:limit]
                await asyncio.sleep(0)

    async def _seek(self, consumer: Any, lane: PartitionReader, position: Position) -> None:
        """Go to the place before the hint, to see whether it is right, or else to the beginning."""
        lane.proof = Proof.NONE
        beginnings, ends = await self._connection.bounds(consumer, [lane.partition])
        beginning, end = beginnings[lane.partition], ends[lane.partition]
        older = 0
        if beginning == end and self._fallback:  # nothing here to compare with, but it may have had records
            older = (await (await self._older_reader()).lag({lane.where: position}))[lane.where].records
        if self._connection.consumer is not consumer:
            return
        if position.hint is not None and beginning < position.hint <= end:
            lane.aim(position, position.hint - 1, Proof.HINT)
        else:
            lane.aim(position, beginning, Proof.READING if older else Proof.BEGINNING)
            lane.older_until = position.next + older
        consumer.seek(lane.partition, lane.native)
        consumer.resume(lane.partition)

    async def _fill(self, consumer: Any, lane: PartitionReader, limit: int, wait: float) -> None:
        """Put records into the lane, if some come within `wait` seconds."""
        if lane.reads_older:
            await self._fill_older(lane, limit, wait)
            return
        size = taken = 0
        position = Position(lane.epoch, lane.next)
        while len(lane.records) < limit and size < LARGEST_FETCH:
            room = max(1, (LARGEST_FETCH - size) * taken // size) if size else FIRST
            most = min(room, CHUNK, limit - len(lane.records))
            try:
                fetched = await consumer.getmany(lane.partition, timeout_ms=int(wait * 1000), max_records=most)
                messages = fetched.get(lane.partition)
                if not messages or self._connection.consumer is not consumer:
                    return
                if lane.take(messages):
                    self._tell_gap(lane)
                if lane.native <= messages[-1].offset:  # a higher epoch leads back: it is read from there by itself
                    consumer.seek(lane.partition, lane.native)
                    return
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

    def _begin_at(self, consumer: Any, lane: PartitionReader, first: Record) -> None:
        """Kafka begins after the record expected: the fallback has what is missing, or it is a gap."""
        consumer.seek(lane.partition, first.native)
        lane.proof = Proof.READING
        lane.native = first.native
        if self._fallback:
            lane.older_until = first.offset
            logger.info("PostgreSQL is read for what Kafka no longer has", where=str(lane.where), until=first.offset)
        elif lane.miss(first.offset):
            self._tell_gap(lane)

    async def _fill_older(self, lane: PartitionReader, limit: int, wait: float) -> None:
        """Put records of the fallback into the lane. Where it has none, they are missing."""
        older = await self._older_reader()
        position = Position(0, lane.next)
        found = await older.fetch(lane.where, position, min(limit, lane.older_until - lane.next), wait)
        lane.accept([record._replace(native=lane.native - 1) for record in found])
        if not found and not (await older.lag({lane.where: position}))[lane.where].records:
            if lane.miss(lane.older_until):
                self._tell_gap(lane)
            lane.older_until = lane.next

    async def _older_reader(self) -> PostgresReader:
        if self._fallback is None:
            raise RuntimeError("there is no fallback")
        async with self._fallback_turn:
            if not self._fallback_runs:
                await self._fallback.start()
                self._fallback_runs = True
        self._fallback_used = time.monotonic()
        return self._fallback

    async def _rest(self) -> None:
        """Stop the fallback, unless it was used lately: it polls."""
        async with self._fallback_turn:
            if self._fallback and self._fallback_runs and time.monotonic() - self._fallback_used > UNWANTED:
                self._fallback_runs = False
                await self._fallback.stop()

    def _tell_gap(self, lane: PartitionReader) -> None:
        if lane.gap:
            expected, found = lane.gap
            logger.error("gap in the log", where=str(lane.where), expected=expected, found=found)

    @property
    def gaps(self) -> Mapping[TopicPartition, Gap]:
        return {where: lane.gap for where, lane in self._partition_readers.items() if lane.gap}

    # -- lag ----------------------------------------------------------------------------------------------------------
    async def lag(self, positions: Mapping[TopicPartition, Position]) -> dict[TopicPartition, Lag]:
        """How far each position is behind. Of partitions that others read, duplicates in Kafka are counted too.

        Seconds are those since the append of the oldest record that is here; where none is, since the lag was first seen.
        Raises Unavailable when Kafka does not answer within two seconds.
        """
        partitions = [self._partition_readers[where].partition for where in positions]
        beginnings, ends = await self._connection.bounds(self._connection.now(), partitions)
        return {
            where: self._lag(where, position, beginnings[partition], ends[partition])
            for (where, position), partition in zip(positions.items(), partitions, strict=True)
        }

    def _lag(self, where: TopicPartition, position: Position, beginning: int, end: int) -> Lag:
        lane = self._partition_readers[where]
        hinted = position.hint if position.hint and beginning <= position.hint <= end else beginning
        at, older = lane.ahead_of(position) or (hinted, 0)
        records = max(0, end - at) + older
        if not records:
            self._behind.pop(where, None)
            return Lag(0, 0.0)
        oldest = next((record for record in lane.records if record.offset == position.next), None)
        if oldest:
            return Lag(records, max(0.0, (datetime.now(UTC) - oldest.appended_at).total_seconds()))
        now = time.monotonic()
        at, since = self._behind.get(where, (-1, now))
        if at != position.next:
            since = now
        self._behind[where] = (position.next, since)
        return Lag(records, now - since)

    # -- what the connection asks -------------------------------------------------------------------------------------
    def _waiting(self, consumer: Any) -> dict[KafkaPartition, int]:
        """Which partitions wait for records of Kafka, and where; those that nobody wants any more are forgotten."""
        waiting = {}
        if self._fallback_runs and (self._resting is None or self._resting.done()):
            self._resting = asyncio.create_task(self._rest(), name="fallback's rest")
        for lane in self._partition_readers.values():
            if lane.proof is Proof.NONE:
                continue
            if lane.unwanted(time.monotonic() - UNWANTED):
                lane.forget()
                consumer.pause(lane.partition)
            elif not lane.records and not lane.reads_older:
                waiting[lane.partition] = lane.native
        return waiting

    def _lost(self) -> None:
        for lane in self._partition_readers.values():
            lane.forget()
