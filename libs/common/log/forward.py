"""The forwarder: reads a service's own topic in PostgreSQL and feeds Kafka with it.

Each record carries its epoch and offset as headers. Between sending and recording the position it may die: then the
batch is sent twice, and readers pass over the duplicates. An operator who sets the stored position back makes it send
again from there; it looks at that position whenever it has nothing to send.
"""

import asyncio
import contextlib

import structlog

from libs.common.db import UNAVAILABLE, Database
from libs.common.errors import Unavailable
from libs.common.failpoints import failpoint
from libs.common.fold.failures import Backoff
from libs.common.log.append import Outgoing
from libs.common.log.kafka_producer import Producer
from libs.common.log.kafka_topics import ensure_topics
from libs.common.log.ownership import HEARTBEAT, Ownership
from libs.common.log.positions import FenceLost, Positions
from libs.common.log.postgres import PostgresReader
from libs.common.log.reader import Position, Record, Where, after
from libs.common.settings import Settings
from libs.common.web.health import Check, ReaderLag

logger = structlog.get_logger()

BATCH = 1000


class Forwarder:
    """Forwards the partitions that it owns of one topic, all at once, each in order."""

    name = "forwarder"

    def __init__(self, database: Database, settings: Settings, schema: str, topic: str) -> None:
        self._database = database
        self._settings = settings
        self._topic = topic
        self._wheres = [Where(topic, partition) for partition in range(settings.partitions)]
        self._reader = PostgresReader(database, [topic])
        self._producer = Producer(settings)
        self._positions = Positions(schema, "forwarder")
        self._ownership = Ownership(database, f"{schema}/forwarder", self._wheres)
        self._tasks: dict[Where, asyncio.Task[None]] = {}
        self._balancer: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.forwarded = 0

    async def start(self) -> None:
        """Make the topic if it is missing. Raises Unavailable when Kafka is away, and what asyncpg raises."""
        await ensure_topics(self._settings, [self._topic])
        async with self._database.transaction() as tx:
            await self._positions.ensure(tx, self._wheres)
        await self._reader.start()
        self._balancer = asyncio.create_task(self._balance(), name="forwarder balance")

    async def stop(self) -> None:
        """Finish the batches begun, then give the partitions back."""
        self._stopping.set()
        if self._balancer:
            self._balancer.cancel()
            await asyncio.gather(self._balancer, return_exceptions=True)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks.values(), timeout=5)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._producer.stop()
        await self._reader.stop()
        with contextlib.suppress(*UNAVAILABLE):
            await self._ownership.close()

    def died(self) -> str:
        """Which task ended that never should, in a sentence; empty while all is well."""
        tasks = [*self._tasks.values(), *([self._balancer] if self._balancer else [])]
        dead = [task.get_name() for task in tasks if task.done() and not self._stopping.is_set()]
        return f"{', '.join(dead)} ended" if dead else ""

    async def check(self) -> Check:
        """Whether it works, and how far the stored positions are behind, whoever owns the partitions."""
        async with self._database.connection() as connection:
            positions = await self._positions.all(connection)
        lags = await self._reader.lag({where: positions[where] for where in self._wheres})
        records, seconds = sum(lag.records for lag in lags.values()), max(lag.seconds for lag in lags.values())
        return Check(not self.died(), self.died(), (ReaderLag(self.name, self._topic, records, seconds),))

    async def _balance(self) -> None:
        while True:
            try:
                for where in await self._ownership.balance() - self._tasks.keys():
                    self._tasks[where] = asyncio.create_task(self._run(where), name=f"forward {where}")
                for where in self._ownership.surplus:
                    await self._release(where)
                    await self._ownership.give_back(where)
            except UNAVAILABLE as error:
                logger.warning("partitions lost: the database is away", error=repr(error))
                for where in list(self._tasks):
                    await self._release(where)
            await asyncio.sleep(HEARTBEAT)

    async def _release(self, where: Where) -> None:
        if task := self._tasks.pop(where, None):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, where: Where) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            try:
                async with self._database.connection() as connection:
                    position = (await self._positions.load(connection, where)).position
                while records := await self._reader.fetch(where, position, BATCH, wait=1.0):
                    position = await self._forward(where, position, records)
                    backoff.reset()
                    if self._stopping.is_set():
                        break
            except (Unavailable, FenceLost, *UNAVAILABLE) as error:
                pause = backoff.pause()
                logger.warning("forwarding paused", where=str(where), error=repr(error), pause=round(pause, 2))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)

    async def _forward(self, where: Where, position: Position, records: list[Record]) -> Position:
        epoch = str(position.epoch).encode()
        await self._producer.send(
            where.topic,
            [Outgoing(record.key, record.value, record.appended_at) for record in records],
            [(("epoch", epoch), ("offset", str(record.offset).encode())) for record in records],
            where.partition,
        )
        failpoint("forwarder.sent")
        moved = after(position, records)
        async with self._database.connection() as connection:
            await self._positions.advance(connection, where, position, moved)
        self.forwarded += len(records)
        return moved
