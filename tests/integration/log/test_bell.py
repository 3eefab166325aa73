"""The bell: who is told, of what, and when."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from libs.common.db import Database, Tx, begun
from libs.common.log.bell import PAUSE, channel, partitions
from libs.common.topics import EVENTS, JOURNAL, REWARDS
from tests.support import eventually


class Ear:
    """What was heard of each topic, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def hear(self, _: object, __: int, channel: str, payload: object) -> None:
        self.heard.append((channel, str(payload)))

    def of(self, topic: str) -> list[str]:
        return [payload for at, payload in self.heard if at == channel(topic)]

    def told(self, topic: str) -> set[int]:
        """The partitions."""
        return {each for payload in self.of(topic) for each in partitions(payload) or ()}


@pytest.fixture
async def ear(database: Database) -> AsyncIterator[Ear]:
    listening, session = Ear(), await database.session("rapport-test-ear")
    for topic in (EVENTS, JOURNAL, REWARDS):
        await session.add_listener(channel(topic), listening.hear)
    yield listening
    await session.close()


async def test_who_is_waited_for_is_told_of_the_partitions_and_others_are_not_woken(
    database: Database, ear: Ear
) -> None:
    database.bell.ring(REWARDS, [5])
    async with database.connection() as connection:
        await database.bell.tell(connection, JOURNAL, [3, 0])

    async def told() -> bool:
        return bool(ear.of(JOURNAL))

    await eventually(told)
    assert ear.heard == [(channel(JOURNAL), "0,3")]
    assert (partitions("0,3"), partitions("")) == ([0, 3], None)


async def test_many_commits_are_told_of_together_and_none_is_missed(database: Database, ear: Ear) -> None:
    async def commit(partition: int) -> None:
        async with database.connection() as connection:
            await database.bell.tell(connection, EVENTS, [partition])

    for turn in range(20):
        await asyncio.gather(*(commit(8 * turn + each) for each in range(8)))

    async def told() -> bool:
        return ear.told(EVENTS) == set(range(160))

    await eventually(told)
    assert len(ear.heard) == len(ear.of(EVENTS)) < 160


async def test_a_ring_during_a_notification_is_heard(database: Database, ear: Ear) -> None:
    for partition in range(40):  # some fall into the pause, some into the notification
        database.bell.ring(EVENTS, [partition])
        await asyncio.sleep(0.001 * (partition % 7))

    async def all_told() -> bool:
        return ear.told(EVENTS) == set(range(40))

    await eventually(all_told)


async def test_news_that_were_told_with_a_commit_are_not_told_again(database: Database, ear: Ear) -> None:
    async with database.connection() as connection:
        await database.bell.tell(connection, EVENTS, [0])
        database.bell.ring(EVENTS, [1])
        await asyncio.sleep(0)  # what tells of it a little later has begun to wait
        time.sleep(2 * PAUSE)  # noqa: ASYNC251 - and is due, but this goes first
        await database.bell.tell(connection, EVENTS, [2])

    async def all_told() -> bool:
        return ear.told(EVENTS) == {0, 1, 2}

    await eventually(all_told)
    await asyncio.sleep(4 * PAUSE)
    assert ear.of(EVENTS) == ["0", "1,2"]
    assert database.bell._task
    await database.bell._task


async def test_who_is_told_with_the_commit_finds_what_was_committed(database: Database, ear: Ear) -> None:
    await database.pool.execute("CREATE TABLE news (number int)")
    for number in range(20):
        async with database.connection() as connection, begun(connection):
            await connection.execute("INSERT INTO news VALUES ($1)", number)
            await database.bell.commit(connection, EVENTS, [number])
        assert await database.pool.fetchval("SELECT count(*) FROM news") == number + 1
        await asyncio.sleep(0.003)

    async def all_told() -> bool:
        return ear.told(EVENTS) == set(range(20))

    await eventually(all_told)


async def test_what_fails_before_its_commit_is_rolled_back_and_nobody_is_told(database: Database, ear: Ear) -> None:
    await database.pool.execute("CREATE TABLE news (number int)")

    async def fail(connection: Tx) -> None:
        async with begun(connection):
            await connection.execute("INSERT INTO news VALUES (1)")
            raise RuntimeError

    async with database.connection() as connection:
        with pytest.raises(RuntimeError):
            await fail(connection)
        assert not connection.is_in_transaction()
        async with begun(connection):
            await connection.execute("INSERT INTO news VALUES (2)")
            await database.bell.commit(connection, EVENTS, [])
    assert [row[0] for row in await database.pool.fetch("SELECT number FROM news")] == [2]
    await asyncio.sleep(0.05)
    assert not ear.heard
