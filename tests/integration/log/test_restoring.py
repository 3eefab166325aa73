"""PostgreSQL restored from an older backup: what Kafka has is taken back; what it has lost, too, begins a new epoch."""

from collections.abc import AsyncIterator

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import encode
from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.log import epochs
from libs.common.log.append import Outgoing, append
from libs.common.log.forward import Forwarder
from libs.common.log.kafka import KafkaReader
from libs.common.log.reader import Position, Record, Where, after, contiguous
from libs.common.log.restoring import take_back
from libs.common.log.rewind import rewind
from libs.common.settings import Settings
from tests.integration.log.logs import PARTITIONS, START, WHEN, key_in, read
from tests.support import eventually

WHERE = Where(REWARDS, 4)
_ROWS = f'SELECT "offset", key, time, value FROM log."{REWARDS}" WHERE partition = $1 ORDER BY "offset"'


class House:
    """Rewards' database and its forwarder; `restore` sets it back to an older state, as a backup does."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.forwarder: Forwarder | None = None

    async def run(self) -> None:
        self.forwarder = Forwarder(self.database, self.settings, "rewards", REWARDS)
        await self.forwarder.start()

    async def stop(self) -> None:
        if self.forwarder:
            await self.forwarder.stop()
            self.forwarder = None

    async def say(self, words: list[str], partition: int = WHERE.partition) -> None:
        records = [Outgoing(key_in(partition), fact(word), WHEN) for word in words]
        async with self.database.transaction() as tx:
            await append(tx, REWARDS, records, PARTITIONS)

    async def sent(self) -> bool:
        assert self.forwarder
        return (await self.forwarder.check()).lag[0].records == 0

    async def restore(self, head: int, sent: int) -> None:
        await self.stop()
        async with self.database.transaction() as tx:
            await tx.execute(f'DELETE FROM log."{REWARDS}" WHERE "offset" >= $1', head)
            await tx.execute("UPDATE log.heads SET next = least(next, $2) WHERE topic = $1", REWARDS, head)
            await tx.execute("UPDATE rewards.positions SET next = least(next, $1) WHERE reader = 'forwarder'", sent)

    async def rows(self, partition: int = WHERE.partition) -> list[tuple[object, ...]]:
        async with self.database.connection() as connection:
            return [tuple(row) for row in await connection.fetch(_ROWS, partition)]


def fact(word: str) -> bytes:
    return encode(id=word, source="/rewards", type="points.credited.v1", time=WHEN, recordedtime=WHEN, data={"w": word})


def words(name: str, numbers: range) -> list[str]:
    return [f"{name}{number}" for number in numbers]


def said(records: list[Record]) -> list[bytes]:
    return [record.value for record in records]


@pytest.fixture
async def house(kafka_settings: Settings, database: Database) -> AsyncIterator[House]:
    house = House(kafka_settings, database)
    await house.run()
    yield house
    await house.stop()


@pytest.fixture
async def reader(house: House) -> AsyncIterator[KafkaReader]:
    """As profile's with a database of its own."""
    reader = KafkaReader(house.settings, [REWARDS], name="suite")
    await reader.start()
    yield reader
    await reader.stop()


async def test_what_kafka_has_is_taken_back_under_the_same_offsets_and_not_sent_again(
    house: House, reader: KafkaReader
) -> None:
    for partition in range(PARTITIONS):
        await house.say(words(f"{partition}-", range(partition * 300)), partition)
    await eventually(house.sent)
    before = [await house.rows(partition) for partition in range(PARTITIONS)]
    await house.restore(700, 650)
    assert await take_back(house.database, house.settings, "rewards", REWARDS) == sum(
        partition * 300 - 700 for partition in range(3, PARTITIONS)
    )
    assert [await house.rows(partition) for partition in range(PARTITIONS)] == before
    assert await take_back(house.database, house.settings, "rewards", REWARDS) == 0
    async with house.database.connection() as connection:
        marks = await connection.fetch("SELECT partition, first FROM log.imported ORDER BY partition")
        assert [tuple(mark) for mark in marks] == [(partition, 700) for partition in range(3, PARTITIONS)]
    await house.run()
    await house.say(["next"])
    records, _ = await read(reader, WHERE, 1201)
    assert said(records[-2:]) == [fact("4-1199"), fact("next")]
    assert records[-1].native == 1200  # nothing was sent twice


async def test_a_rewound_tail_is_looked_through_too(house: House) -> None:
    await house.say(words("a", range(900)))
    await eventually(house.sent)
    assert house.forwarder
    await rewind(house.settings, "rewards", 100, WHERE.partition)
    await eventually(lambda: resent(house, 900 + 800))
    before = await house.rows()
    await house.restore(200, 200)
    assert await take_back(house.database, house.settings, "rewards", REWARDS) == 700
    assert await house.rows() == before


async def resent(house: House, count: int) -> bool:
    return house.forwarder is not None and house.forwarder.forwarded >= count


async def test_where_the_tail_is_lost_a_new_epoch_begins_and_readers_follow_it(
    house: House, reader: KafkaReader
) -> None:
    await house.say(words("a", range(60)))
    await eventually(house.sent)
    _, position = await read(reader, WHERE, 60)
    admin = AIOKafkaAdminClient(bootstrap_servers=house.settings.kafka_bootstrap)
    await admin.start()
    lost = TopicPartition(house.settings.topic_prefix + REWARDS, WHERE.partition)
    await admin.delete_records({lost: RecordsToDelete(50)})
    await admin.close()
    await house.restore(40, 40)
    assert await take_back(house.database, house.settings, "rewards", REWARDS) == 0
    assert await take_back(house.database, house.settings, "rewards", REWARDS) == 0
    async with house.database.connection() as connection:
        assert await connection.fetch("SELECT epoch FROM log.epochs") == [(1,)]
    await house.run()
    await house.say(words("b", range(8)))
    records, position = await follow(reader, position, 8)
    assert said(records) == [fact(f"b{number}") for number in range(8)]
    assert position[:2] == (1, 48)
    await rewind(house.settings, "rewards", 0, WHERE.partition)  # older epochs' records are sent under theirs
    await house.say(["c"])
    records, position = await follow(reader, position, 1)
    assert (said(records), position[:2]) == ([fact("c")], (1, 49))
    fresh = KafkaReader(house.settings, [REWARDS], name="fresh")
    await fresh.start()
    records, position = await follow(fresh, Position(0, 40), 9)
    assert said(records) == [*(fact(f"b{number}") for number in range(8)), fact("c")]
    await fresh.stop()


async def test_where_the_journals_tail_is_lost_profile_does_not_go_on_by_itself(
    kafka_settings: Settings, database: Database
) -> None:
    """Its records would be bound to other customers than those whom the other services know."""
    where = Where(JOURNAL, WHERE.partition)
    forwarder = Forwarder(database, kafka_settings, "profile", JOURNAL)
    await forwarder.start()
    async with database.transaction() as tx:
        records = [Outgoing(key_in(where.partition), fact(word), WHEN) for word in words("a", range(60))]
        await append(tx, JOURNAL, records, PARTITIONS)

    async def sent() -> bool:
        return (await forwarder.check()).lag[0].records == 0

    await eventually(sent)
    await forwarder.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_settings.kafka_bootstrap)
    await admin.start()
    lost = TopicPartition(kafka_settings.topic_prefix + JOURNAL, where.partition)
    await admin.delete_records({lost: RecordsToDelete(50)})
    await admin.close()
    async with database.transaction() as tx:
        await tx.execute(f'DELETE FROM log."{JOURNAL}" WHERE "offset" >= 40')
        await tx.execute("UPDATE log.heads SET next = least(next, 40) WHERE topic = $1", JOURNAL)
        await tx.execute("UPDATE profile.positions SET next = least(next, 40) WHERE reader = 'forwarder'")
    with pytest.raises(
        Unavailable, match=r"no longer has records 40 to 49 of profile.journal.* newer backup of profile"
    ):
        await take_back(database, kafka_settings, "profile", JOURNAL)
    async with database.transaction() as tx:
        assert await epochs.begin(tx, where) == 1  # as `rapport epoch profile` does: an operator gives them up
    assert await take_back(database, kafka_settings, "profile", JOURNAL) == 0


async def test_an_epoch_is_followed_from_the_midst_of_what_was_read(house: House, reader: KafkaReader) -> None:
    await house.say(words("a", range(30)))
    await eventually(house.sent)
    await house.restore(20, 20)
    async with house.database.transaction() as tx:
        assert await epochs.begin(tx, WHERE) == 1
    await house.run()
    await house.say(words("b", range(25)))
    await eventually(house.sent)
    records, position = await follow(reader, START, 55)
    assert said(records) == [fact(word) for word in [*words("a", range(30)), *words("b", range(25))]]
    assert position[:2] == (1, 45)


async def follow(reader: KafkaReader, position: Position, count: int) -> tuple[list[Record], Position]:
    """`count` records, over epochs; each fetch is without a gap."""
    records: list[Record] = []

    async def enough() -> bool:
        nonlocal position
        found = await reader.fetch(WHERE, position, 10, 0.2)
        assert (
            [each.offset for each in found] == list(range(found[0].offset, found[0].offset + len(found)))
            if found
            else True
        )
        records.extend(found)
        position = after(position, found)
        return len(records) >= count

    await eventually(enough)
    return records, position


def test_only_the_first_of_a_higher_epoch_leads_there() -> None:
    def record(offset: int, epoch: int | None, since: int = 0) -> Record:
        return Record(*WHERE, offset, "k", b"", WHEN, offset, epoch, since)

    at = Position(0, 50)
    assert contiguous(at, [record(20, 1, 20)])[0] == [record(20, 1, 20)]
    assert contiguous(at, [record(21, 1, 20)]) == ([], (20, 21))  # its first is missing
    assert contiguous(at, [record(60, 1, 60)]) == ([], (50, 60))
    assert contiguous(Position(1, 30), [record(30, 0), record(30, 1, 20)])[0] == [record(30, 1, 20)]
    assert contiguous(at, [record(50, 0), record(20, 1, 20)])[0] == [record(50, 0)]  # it is taken by itself
    assert contiguous(Position(3, 50), [record(50, None)])[0] == [record(50, None)]
    assert after(Position(3, 50), [record(50, None)]).epoch == 3
