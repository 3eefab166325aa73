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
        partitions = [reader.partition for reader in self._partition_readers.values()]
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
    async def fetch(self, tp: TopicPartition, position: Position, limit: int, wait: float) -> list[Record]:
        reader = self._partition_readers[tp]
        reader.wanted = time.monotonic()
        until = reader.wanted + wait
        async with reader.lock:
            while True:
                consumer = await self._connection.until(until)
                try:
                    if not reader.is_at(position):
                        await self._seek(consumer, reader, position)
                    if not reader.records:
                        await self._fill(consumer, reader, limit, max(0.0, until - time.monotonic()))
                except (KafkaError, ConsumerStoppedError) as error:
                    logger.warning("kafka consumer fails", topic_partition=str(tp), error=repr(error))
                    self._connection.give_up(consumer, repr(error))
                    raise self._connection.unavailable(error) from error
                if reader.records or time.monotonic() >= until:
                    return reader.records[:limit]
                await asyncio.sleep(0)

    async def _seek(self, consumer: Any, reader: PartitionReader, position: Position) -> None:
        """Go to the place before the hint, to see whether it is right, or else to the beginning."""
        reader.proof = Proof.NONE
        beginnings, ends = await self._connection.bounds(consumer, [reader.partition])
        beginning, end = beginnings[reader.partition], ends[reader.partition]
        older = 0
        if beginning == end and self._fallback:  # nothing here to compare with, but it may have had records
            older = (await (await self._older_reader()).lag({reader.tp: position}))[reader.tp].records
        if self._connection.consumer is not consumer:
            return
        if position.hint is not None and beginning < position.hint <= end:
            reader.seek(position, position.hint - 1, Proof.HINT)
        else:
            reader.seek(position, beginning, Proof.READING if older else Proof.BEGINNING)
            reader.older_until = position.next + older
        consumer.seek(reader.partition, reader.native)
        consumer.resume(reader.partition)

    async def _fill(self, consumer: Any, reader: PartitionReader, limit: int, wait: float) -> None:
        """Read more records, if some come within `wait` seconds."""
        if reader.reads_older:
            await self._fill_older(reader, limit, wait)
            return
        size = taken = 0
        position = Position(reader.epoch, reader.next)
        while len(reader.records) < limit and size < LARGEST_FETCH:
            room = max(1, (LARGEST_FETCH - size) * taken // size) if size else FIRST
            most = min(room, CHUNK, limit - len(reader.records))
            try:
                fetched = await consumer.getmany(reader.partition, timeout_ms=int(wait * 1000), max_records=most)
                messages = fetched.get(reader.partition)
                if not messages or self._connection.consumer is not consumer:
                    return
                if reader.take(messages):
                    self._log_gap(reader)
                if reader.native <= messages[-1].offset:  # a higher epoch leads back: it is read from there by itself
                    consumer.seek(reader.partition, reader.native)
                    return
            except OffsetOutOfRangeError:
                await self._seek(consumer, reader, position)
                return
            except Elsewhere as elsewhere:
                if reader.proof is Proof.BEGINNING:
                    self._begin_at(consumer, reader, elsewhere.first)
                else:
                    await self._seek(consumer, reader, position)
                return
            size += sum(len(message.value) for message in messages)
            taken += len(messages)
            wait = 0

    def _begin_at(self, consumer: Any, reader: PartitionReader, first: Record) -> None:
        """Kafka begins after the record expected: the fallback has what is missing, or it is a gap."""
        consumer.seek(reader.partition, first.native)
        reader.proof = Proof.READING
        reader.native = first.native
        if self._fallback:
            reader.older_until = first.offset
            logger.info(
                "PostgreSQL is read for what Kafka no longer has", topic_partition=str(reader.tp), until=first.offset
            )
        elif reader.miss(first.offset):
            self._log_gap(reader)

    async def _fill_older(self, reader: PartitionReader, limit: int, wait: float) -> None:
        """Read records of the fallback. Where it has none, they are missing."""
        older = await self._older_reader()
        position = Position(0, reader.next)
        found = await older.fetch(reader.tp, position, min(limit, reader.older_until - reader.next), wait)
        reader.accept([record._replace(native=reader.native - 1) for record in found])
        if not found and not (await older.lag({reader.tp: position}))[reader.tp].records:
            if reader.miss(reader.older_until):
                self._log_gap(reader)
            reader.older_until = reader.next

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

    def _log_gap(self, reader: PartitionReader) -> None:
        if reader.gap:
            expected, found = reader.gap
            logger.error("gap in the log", topic_partition=str(reader.tp), expected=expected, found=found)

    @property
    def gaps(self) -> Mapping[TopicPartition, Gap]:
        return {tp: reader.gap for tp, reader in self._partition_readers.items() if reader.gap}

    # -- lag ----------------------------------------------------------------------------------------------------------
    async def lag(self, positions: Mapping[TopicPartition, Position]) -> dict[TopicPartition, Lag]:
        """How far each position is behind. Of partitions that others read, duplicates in Kafka are counted too.

        Seconds are those since the append of the oldest record that is here; where none is, since the lag was first seen.
        Raises Unavailable when Kafka does not answer within two seconds.
        """
        partitions = [self._partition_readers[tp].partition for tp in positions]
        beginnings, ends = await self._connection.bounds(self._connection.now(), partitions)
        return {
            tp: self._lag(tp, position, beginnings[partition], ends[partition])
            for (tp, position), partition in zip(positions.items(), partitions, strict=True)
        }

    def _lag(self, tp: TopicPartition, position: Position, beginning: int, end: int) -> Lag:
        reader = self._partition_readers[tp]
        hinted = position.hint if position.hint and beginning <= position.hint <= end else beginning
        at, older = reader.ahead_of(position) or (hinted, 0)
        records = max(0, end - at) + older
        if not records:
            self._behind.pop(tp, None)
            return Lag(0, 0.0)
        oldest = next((record for record in reader.records if record.offset == position.next), None)
        if oldest:
            return Lag(records, max(0.0, (datetime.now(UTC) - oldest.appended_at).total_seconds()))
        now = time.monotonic()
        at, since = self._behind.get(tp, (-1, now))
        if at != position.next:
            since = now
        self._behind[tp] = (position.next, since)
        return Lag(records, now - since)

    # -- what the connection asks -------------------------------------------------------------------------------------
    def _waiting(self, consumer: Any) -> dict[KafkaPartition, int]:
        """Which partitions wait for records of Kafka, and where; those that nobody wants any more are forgotten."""
        waiting = {}
        if self._fallback_runs and (self._resting is None or self._resting.done()):
            self._resting = asyncio.create_task(self._rest(), name="fallback's rest")
        for reader in self._partition_readers.values():
            if reader.proof is Proof.NONE:
                continue
            if reader.unwanted(time.monotonic() - UNWANTED):
                reader.forget()
                consumer.pause(reader.partition)
            elif not reader.records and not reader.reads_older:
                waiting[reader.partition] = reader.native
        return waiting

    def _lost(self) -> None:
        for reader in self._partition_readers.values():
            reader.forget()
