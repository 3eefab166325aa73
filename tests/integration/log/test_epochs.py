"""PostgreSQL restored from an older backup, alone: its service does not start; or a new epoch begins, and readers follow it."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fastapi import FastAPI

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import encode
from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.log import epochs
from libs.common.log.append import Outgoing, append
from libs.common.log.forward import Forwarder
from libs.common.log.kafka import KafkaReader
from libs.common.log.kafka.tail import refuse_behind
from libs.common.log.reader import Position, Record, TopicPartition, after, contiguous
from libs.common.log.rewind import rewind
from libs.common.settings import Settings
from services.connections import SETTINGS
from services.profile import app as profile
from services.rewards import app as rewards
from tests.integration.log.logs import PARTITIONS, START, WHEN, key_in, read
from tests.support import eventually

WHERE = TopicPartition(REWARDS, 4)
CREATE: dict[str, Callable[..., FastAPI]] = {"profile": profile.create, "rewards": rewards.create}
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
    reader = KafkaReader(house.settings, [REWARDS])
    await reader.start()
    yield reader
    await reader.stop()


async def test_a_database_that_is_behind_its_topic_is_refused(house: House) -> None:
    for partition in range(PARTITIONS):
        await house.say(words(f"{partition}-", range(partition * 300)), partition)
    await eventually(house.sent)
    await refuse_behind(house.database, house.settings, "rewards", REWARDS)  # level with Kafka
    await house.restore(700, 650)
    with pytest.raises(Unavailable, match="the database of rewards is older than its topic in Kafka") as refused:
        await refuse_behind(house.database, house.settings, "rewards", REWARDS)
    said = refused.value.detail
    assert "rewards.facts/3 ends before 700, Kafka has records up to 899" in said
    assert "rewards.facts/2 " not in said
    assert "restore the databases of all services to one moment" in said
    assert "`rapport epoch rewards`" in said
    async with house.database.transaction() as tx:
        for partition in range(PARTITIONS):
            await epochs.begin(tx, TopicPartition(REWARDS, partition))
    await refuse_behind(house.database, house.settings, "rewards", REWARDS)


async def test_behind_a_rewind_it_is_seen_too(house: House) -> None:
    await house.say(words("a", range(900)))
    await eventually(house.sent)
    assert house.forwarder
    await rewind(house.settings, "rewards", 100, WHERE.partition)
    await eventually(lambda: resent(house, 900 + 800))
    await refuse_behind(house.database, house.settings, "rewards", REWARDS)
    await house.restore(200, 200)
    with pytest.raises(Unavailable, match="ends before 200, Kafka has records up to 899"):
        await refuse_behind(house.database, house.settings, "rewards", REWARDS)


async def resent(house: House, count: int) -> bool:
    return house.forwarder is not None and house.forwarder.forwarded >= count


@pytest.mark.parametrize(("service", "topic"), [("rewards", REWARDS), ("profile", JOURNAL)])
async def test_a_service_whose_database_is_behind_does_not_start_and_says_what_to_do(
    kafka_settings: Settings, database: Database, service: str, topic: str
) -> None:
    forwarder = Forwarder(database, kafka_settings, service, topic)
    await forwarder.start()
    async with database.transaction() as tx:
        await append(tx, topic, [Outgoing(key_in(4), fact(word), WHEN) for word in words("a", range(60))], PARTITIONS)

    async def sent() -> bool:
        return (await forwarder.check()).lag[0].records == 0

    await eventually(sent)
    await forwarder.stop()
    async with database.transaction() as tx:
        await tx.execute(f'DELETE FROM log."{topic}" WHERE "offset" >= 40')
        await tx.execute("UPDATE log.heads SET next = least(next, 40) WHERE topic = $1", topic)
        await tx.execute(f"UPDATE {service}.positions SET next = least(next, 40) WHERE reader = 'forwarder'")
    app = CREATE[service](SETTINGS[service](**kafka_settings.model_dump()))
    asking = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
    async with app.router.lifespan_context(app), asking as client:

        async def refused() -> bool:
            answer = await client.get("/readyz?verbose")
            return answer.status_code == 503 and f"`rapport epoch {service}`" in answer.text

        await eventually(refused)
        assert (await client.get("/livez")).status_code == 200


async def test_readers_follow_a_new_epoch(house: House, reader: KafkaReader) -> None:
    await house.say(words("a", range(60)))
    await eventually(house.sent)
    _, position = await read(reader, WHERE, 60)
    await house.restore(48, 48)
    async with house.database.transaction() as tx:
        assert await epochs.begin(tx, WHERE) == 1
    await house.run()
    await house.say(words("b", range(8)))
    records, position = await follow(reader, position, 8)
    assert said(records) == [fact(f"b{number}") for number in range(8)]
    assert position[:2] == (1, 56)
    await rewind(house.settings, "rewards", 0, WHERE.partition)  # older epochs' records are sent under theirs
    await house.say(["c"])
    records, position = await follow(reader, position, 1)
    assert (said(records), position[:2]) == ([fact("c")], (1, 57))
    fresh = KafkaReader(house.settings, [REWARDS])
    await fresh.start()
    records, position = await follow(fresh, Position(1, 48), 9)
    assert said(records) == [*(fact(f"b{number}") for number in range(8)), fact("c")]
    await fresh.stop()


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
