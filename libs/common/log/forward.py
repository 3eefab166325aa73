"""The forwarder copies a service's own topic from PostgreSQL to Kafka.

Each record carries its epoch and offset as headers. The forwarder stores its position a little after sending. If it
crashes between the two, it sends records again, and readers skip the duplicates. An operator can set the stored
position back to have records sent again; the forwarder reads it whenever it has nothing to send.
"""

import asyncio
import contextlib
from collections.abc import Mapping

import structlog

from libs.common.contracts.registry import notified_at_once
from libs.common.db.errors import UNAVAILABLE
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.log.append import Outgoing
from libs.common.log.assignment import Assignment
from libs.common.log.epochs import load as load_epochs
from libs.common.log.failures import is_poison
from libs.common.log.kafka.producer import Producer
from libs.common.log.kafka.topics import ensure_topics
from libs.common.log.offset_committer import OffsetCommitter
from libs.common.log.ownership import Ownership
from libs.common.log.positions import Positions
from libs.common.log.postgres import PostgresReader
from libs.common.log.reader import Lag, Position, Record, TopicPartition, after
from libs.common.runtime.backoff import Backoff
from libs.common.runtime.component import Check, ReaderLag
from libs.common.runtime.failpoints import failpoint
from libs.common.settings import Settings

logger = structlog.get_logger()

BATCH = 1000


class Forwarder:
    """Forwards its partitions of one topic, all concurrently, each in order."""

    name = "forwarder"

    def __init__(self, database: Database, settings: Settings, schema: str, topic: str) -> None:
        self._database = database
        self._settings = settings
        self._topic = topic
        self._tps = [TopicPartition(topic, partition) for partition in range(settings.partitions)]
        self._reader = PostgresReader(database, [topic], notified_at_once())
        self._producer = Producer(settings)
        self._positions = Positions(schema, "forwarder")
        self._committer = OffsetCommitter(database, self._positions)
        ownership = Ownership(database, f"{schema}/forwarder", self._tps)
        self._assignment = Assignment("forward", ownership, self._tps, self._run, self._lost, self._record)
        self.forwarded = 0

    async def start(self) -> None:
        """Create the topic if it is missing, and start. Raises Unavailable if Kafka is, and what asyncpg raises."""
        await ensure_topics(self._settings, [self._topic])
        async with self._database.transaction() as tx:
            await self._positions.ensure(tx, self._tps)
        await self._reader.start()
        self._assignment.start()

    async def stop(self) -> None:
        """Finish the batches in progress, then give the partitions back."""
        await self._assignment.stop()
        await self._committer.stop()
        await self._producer.stop()
        await self._reader.stop()
        await self._assignment.close()

    def died(self) -> str:
        """A sentence if a task has ended, which it never should; else empty."""
        dead = self._assignment.dead()
        return f"{', '.join(dead)} ended" if dead else ""

    async def lag(self) -> Mapping[TopicPartition, Lag]:
        """How far the stored positions of all partitions are behind, in this process and in others."""
        async with self._database.connection() as connection:
            positions = await self._positions.all(connection)
        return await self._reader.lag({tp: positions[tp] for tp in self._tps})

    async def check(self) -> Check:
        """Whether it runs without gaps, and how far it is behind."""
        lags = await self.lag()
        records, seconds = sum(lag.records for lag in lags.values()), max(lag.seconds for lag in lags.values())
        detail = self.died() or next(
            (
                f"records {gap.expected} to {gap.found - 1} of {tp} are missing from PostgreSQL: they cannot be forwarded"
                for tp, gap in self._reader.gaps.items()
            ),
            "",
        )
        return Check(not detail, detail, (ReaderLag(self.name, self._topic, records, seconds),))

    def _lost(self, error: Exception) -> None:
        logger.warning("partitions lost: PostgreSQL cannot be reached", error=repr(error))

    async def _record(self) -> None:
        with contextlib.suppress(*UNAVAILABLE):  # the next owner sends again what was not recorded
            await self._committer.record()

    async def _run(self, tp: TopicPartition) -> None:
        backoff = Backoff()
        while not self._assignment.is_left(tp):
            try:
                position = await self._read_position(tp)
                while not self._assignment.is_left(tp) and (
                    records := await self._reader.fetch(tp, position, BATCH, 1.0)
                ):
                    with self._assignment.batch(tp):
                        position = await self._forward(tp, position, records)
                    backoff.reset()
            except Exception as error:  # must not end; the next round reads the position again
                pause = backoff.pause()
                log = logger.error if is_poison(error) else logger.warning
                log("forwarding paused", topic_partition=str(tp), error=repr(error), pause=round(pause, 2))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._assignment.stopping.wait(), pause)
                with contextlib.suppress(Unavailable):  # an operator may have deleted it
                    await ensure_topics(self._settings, [self._topic])

    async def _read_position(self, tp: TopicPartition) -> Position:
        await self._committer.record()
        self._committer.forget(tp)
        async with self._database.connection() as connection:
            return (await self._positions.load(connection, tp)).position

    async def _forward(self, tp: TopicPartition, position: Position, records: list[Record]) -> Position:
        async with self._database.connection() as connection:
            epochs = await load_epochs(connection, tp)
        await self._producer.send(
            tp.topic,
            [Outgoing(record.key, record.value, record.appended_at) for record in records],
            [epochs.headers(record.offset) for record in records],
            tp.partition,
        )
        self.forwarded += len(records)
        failpoint("forwarder.sent")
        moved = after(position, records)
        self._committer.note(tp, position, moved)
        return moved
