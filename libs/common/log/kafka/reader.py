"""Reads the log from Kafka. It assigns partitions and never subscribes; the caller passes its position.

aiokafka keeps at most one fetched chunk of a partition and fetches no more until that is taken. So a partition that no
caller reads uses little memory and does not delay others.
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

from libs.common.log.kafka.connection import HANG_TIMEOUT, Connection
from libs.common.log.kafka.partition_reader import PartitionReader, Proof, WrongPlace
from libs.common.log.kafka.topics import kafka_name
from libs.common.log.postgres import PostgresReader
from libs.common.log.reader import LARGEST_FETCH, Gap, Lag, Position, Reader, Record, TopicPartition
from libs.common.settings import Settings

logger = structlog.get_logger()

#: Records taken from the consumer at once: at first, and at most later. They bound the excess over LARGEST_FETCH.
FIRST, CHUNK = 4, 32
#: A partition that no caller has read for so many seconds belongs to another process now.
UNUSED = 10.0


class KafkaReader(Reader):
    """Reads topics from Kafka, and from `fallback` (the log in PostgreSQL) records that Kafka no longer has.

    The fallback runs only while it is needed. Unless `at_once`, Kafka waits for more records before it answers. `bases`
    are the offsets added to Kafka's own, for topics that were moved to Kafka.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        fallback: PostgresReader | None = None,
        *,
        hang_timeout: float = HANG_TIMEOUT,
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
        self._connection = Connection(settings, topics, partitions, self._waiting, self._lost, hang_timeout, at_once)
        self._fallback = fallback
        self._fallback_lock = asyncio.Lock()
        self._fallback_running = False
        self._fallback_used = 0.0
        self._stopping_fallback: asyncio.Task[None] | None = None
        self._behind: dict[TopicPartition, tuple[int, float]] = {}

    async def start(self) -> None:
        """Connect. Raises Unavailable if Kafka cannot be reached, or if `check_topics` does."""
        await self._connection.start()

    async def stop(self) -> None:
        await self._connection.stop()
        if self._stopping_fallback:
            await self._stopping_fallback
        self._fallback_used = float("-inf")
        await self._stop_unused_fallback()

    # -- reading ------------------------------------------------------------------------------------------------------
    async def fetch(self, tp: TopicPartition, position: Position, limit: int, wait: float) -> list[Record]:
        reader = self._partition_readers[tp]
        reader.requested_at = time.monotonic()
        until = reader.requested_at + wait
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
        """Seek to one before the hint, which proves the hint right or wrong; without a hint, to the beginning."""
        reader.proof = Proof.NONE
        beginnings, ends = await self._connection.bounds(consumer, [reader.partition])
        beginning, end = beginnings[reader.partition], ends[reader.partition]
        older = 0
        if beginning == end and self._fallback:  # Kafka has nothing to compare with, but may have had records
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
                if reader.native <= messages[-1].offset:  # a higher epoch leads back; the next fetch reads from there
                    consumer.seek(reader.partition, reader.native)
                    return
            except OffsetOutOfRangeError:
                await self._seek(consumer, reader, position)
                return
            except WrongPlace as wrong:
                if reader.proof is Proof.BEGINNING:
                    self._begin_at(consumer, reader, wrong.first)
                else:
                    await self._seek(consumer, reader, position)
                return
            size += sum(len(message.value) for message in messages)
            taken += len(messages)
            wait = 0

    def _begin_at(self, consumer: Any, reader: PartitionReader, first: Record) -> None:
        """Kafka begins after the expected record: read the missing ones from the fallback, or report a gap."""
        consumer.seek(reader.partition, first.native)
        reader.proof = Proof.READING
        reader.native = first.native
        if self._fallback:
            reader.older_until = first.offset
            logger.info(
                "reading from PostgreSQL what Kafka no longer has", topic_partition=str(reader.tp), until=first.offset
            )
        elif reader.miss(first.offset):
            self._log_gap(reader)

    async def _fill_older(self, reader: PartitionReader, limit: int, wait: float) -> None:
        """Read records from the fallback. If it has none, report a gap."""
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
        async with self._fallback_lock:
            if not self._fallback_running:
                await self._fallback.start()
                self._fallback_running = True
        self._fallback_used = time.monotonic()
        return self._fallback

    async def _stop_unused_fallback(self) -> None:
        """Stop the fallback if it was not used for UNUSED seconds, because it polls."""
        async with self._fallback_lock:
            if self._fallback and self._fallback_running and time.monotonic() - self._fallback_used > UNUSED:
                self._fallback_running = False
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
        """How far each position is behind. If another process reads it, also counts duplicates in Kafka.

        The age is that of the oldest unread record if it was fetched; else the time since this lag was first seen.
        Raises Unavailable if Kafka does not answer within two seconds.
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

    # -- callbacks of the connection----------------------------------------------------------------------------------
    def _waiting(self, consumer: Any) -> dict[KafkaPartition, int]:
        """The partitions that wait for records from Kafka, each with its offset. Pauses unused partitions."""
        waiting = {}
        if self._fallback_running and (self._stopping_fallback is None or self._stopping_fallback.done()):
            self._stopping_fallback = asyncio.create_task(self._stop_unused_fallback(), name="stop the fallback")
        for reader in self._partition_readers.values():
            if reader.proof is Proof.NONE:
                continue
            if reader.is_unused(time.monotonic() - UNUSED):
                reader.forget()
                consumer.pause(reader.partition)
            elif not reader.records and not reader.reads_older:
                waiting[reader.partition] = reader.native
        return waiting

    def _lost(self) -> None:
        for reader in self._partition_readers.values():
            reader.forget()
