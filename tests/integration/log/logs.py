"""The two logs under test: the topic of a service read from PostgreSQL, or forwarded to Kafka and read from there."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.ext.asyncio import create_async_engine

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.fold.tables import fold_tables
from libs.common.log.append import Outgoing, append
from libs.common.log.forward import Forwarder
from libs.common.log.kafka import KafkaReader
from libs.common.log.partition import partition_of
from libs.common.log.postgres import PostgresReader
from libs.common.log.reader import Position, Reader, Record, TopicPartition, after
from libs.common.log.tables import relation
from libs.common.settings import Settings
from tests.support import eventually

PARTITIONS = 8
START = Position(0, 0)
WHEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
WHERES = [TopicPartition(JOURNAL, partition) for partition in range(PARTITIONS)]

metadata = MetaData(schema="suite")
FOLD = fold_tables(metadata)
COPIES = Table(
    "copies",
    metadata,
    Column("partition", SmallInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("key", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    PrimaryKeyConstraint("partition", "offset"),
)


async def install(settings: Settings) -> None:
    """Make the schema of the suite: positions, and what the copier writes."""
    engine = create_async_engine(settings.dsn.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as connection:
        await connection.exec_driver_sql("CREATE SCHEMA suite")
        await connection.run_sync(metadata.create_all)
    await engine.dispose()


def key_in(partition: int, number: int = 0) -> str:
    """The key that is the `number`th of those that lie in a partition."""
    keys = (f"key-{n}" for n in range(10_000))
    return [key for key in (next(keys) for _ in range(400)) if partition_of(key, PARTITIONS) == partition][number]


def numbered(key: str, numbers: range) -> list[Outgoing]:
    return [Outgoing(key, b"%d" % number, WHEN) for number in numbers]


class Log:
    """Written in PostgreSQL; where and how it is read is for the subclasses to say."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self._readers: list[Reader] = []

    async def start(self) -> None:
        await install(self.settings)

    async def stop(self) -> None:
        for reader in self._readers:
            await reader.stop()

    async def append(self, records: Sequence[Outgoing]) -> None:
        async with self.database.transaction() as tx:
            await append(tx, JOURNAL, records, PARTITIONS)

    async def reader(self) -> Reader:
        """Another reader, started."""
        reader = make_reader(self.settings, self.database)
        await eventually(lambda: started(reader))
        self._readers.append(reader)
        return reader

    async def append_losing(self, records: Sequence[Outgoing], first: int, last: int) -> None:
        """Append records of one key, so that readers find those with the offsets first to last missing."""
        raise NotImplementedError

    async def heal(self) -> None:
        """Do what an operator does about the missing records."""
        raise NotImplementedError


class PostgresLog(Log):
    async def append_losing(self, records: Sequence[Outgoing], first: int, last: int) -> None:
        partition = partition_of(records[0].key, PARTITIONS)
        async with self.database.transaction() as tx:
            await append(tx, JOURNAL, records, PARTITIONS)
            await tx.execute(f"CREATE TABLE suite.lost AS SELECT * FROM {relation(JOURNAL)} LIMIT 0")
            await tx.execute(
                f"WITH lost AS (DELETE FROM {relation(JOURNAL)}"
                ' WHERE partition = $1 AND "offset" BETWEEN $2 AND $3 RETURNING *)'
                " INSERT INTO suite.lost SELECT * FROM lost",
                partition,
                first,
                last,
            )

    async def heal(self) -> None:
        async with self.database.transaction() as tx:
            await tx.execute(f"INSERT INTO {relation(JOURNAL)} SELECT * FROM suite.lost")


class KafkaLog(Log):
    async def start(self) -> None:
        await super().start()
        self.forwarder = Forwarder(self.database, self.settings, "suite", JOURNAL)
        await self.forwarder.start()

    async def stop(self) -> None:
        await super().stop()
        await self.forwarder.stop()

    async def forwarded(self) -> bool:
        """Whether everything appended is in Kafka."""
        return (await self.forwarder.check()).lag[0].records == 0

    async def append_losing(self, records: Sequence[Outgoing], first: int, last: int) -> None:
        partition = partition_of(records[0].key, PARTITIONS)
        async with self.database.connection() as connection:
            query = "SELECT next FROM log.heads WHERE topic = $1 AND partition = $2"
            head: int = await connection.fetchval(query, JOURNAL, partition)
        await self.append(records[: first - head])
        await eventually(self.forwarded)
        await self.forwarder.stop()
        await self.append(records[first - head :])
        await self.set_back(partition, last + 1)
        self._rewind = (partition, first)
        self.forwarder = Forwarder(self.database, self.settings, "suite", JOURNAL)
        await self.forwarder.start()

    async def heal(self) -> None:
        await self.set_back(*self._rewind)

    async def set_back(self, partition: int, next: int) -> None:
        """Set the forwarder's stored position, as an operator does."""
        async with self.database.connection() as connection:
            await connection.execute(
                "UPDATE suite.positions SET next = $2 WHERE reader = 'forwarder' AND partition = $1", partition, next
            )


class Part(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


async def started(part: Part) -> bool:
    """Start it; for `eventually`, as a slow Kafka is Unavailable."""
    await part.start()
    return True


async def delete_topic(admin: AIOKafkaAdminClient, name: str) -> None:
    """Delete it, and wait until it is gone: a while after Kafka's answer it still takes messages, which are lost with it."""
    await admin.delete_topics([name])

    async def gone() -> bool:
        return name not in await admin.list_topics()

    await eventually(gone)


def make_reader(settings: Settings, database: Database, patience: float = 15.0) -> Reader:
    """A reader of the journal, from the log that the settings name."""
    if settings.log == "kafka":
        return KafkaReader(settings, [JOURNAL], hang_timeout=patience)
    return PostgresReader(database, [JOURNAL])


async def read(
    reader: Reader,
    tp: TopicPartition,
    count: int,
    position: Position = START,
    within: float = 60.0,
    limit: int = 500,
) -> tuple[list[Record], Position]:
    """`count` records from `position` on, and the position behind them; AssertionError when they do not come."""
    deadline = time.monotonic() + within
    records: list[Record] = []
    while len(records) < count:
        assert time.monotonic() < deadline, f"{len(records)} of {count} records of {tp} after {within} s"
        try:
            batch = await reader.fetch(tp, position, min(limit, count - len(records)), 0.5)
        except Unavailable:
            continue
        records += batch
        position = after(position, batch)
    assert [record.offset for record in records] == list(range(records[0].offset, records[0].offset + count))
    return records, position


def values(records: Sequence[Record]) -> list[int]:
    return [int(record.value) for record in records]
