"""The notifier: which readers are woken, for what, and when."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database, Tx, manual_transaction
from libs.common.log import wake_hints
from libs.common.log.notifier import URGENT_PAUSE, Notifier, Written, channel, partitions
from tests.support import eventually


class Listener:
    """What was heard of each topic, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def hear(self, _: object, __: int, channel: str, payload: object) -> None:
        self.heard.append((channel, str(payload)))

    def of(self, topic: str) -> list[str]:
        return [payload for at, payload in self.heard if at == channel(topic)]

    def told(self, topic: str) -> set[int]:
        """The partitions."""
        return {each for payload in self.of(topic) for each in partitions(payload)}


async def _await(database: Database, name: str) -> None:
    async with database.connection() as connection:
        await wake_hints.declare(connection, "rewards", [name])


async def _look(notifier: Notifier) -> None:
    """Until the notifier knows the hints."""
    names = notifier.hints
    assert names is not None

    async def known() -> bool:
        return not names.match({"Never Awaited"})

    await eventually(known)


def _orders(*numbers: int) -> Written:
    return {partition: {"Order Completed", "Product Viewed"} for partition in numbers}


def _views(*numbers: int) -> Written:
    return {partition: {"Product Viewed"} for partition in numbers}


@pytest.fixture
async def notifier(database: Database) -> AsyncIterator[Notifier]:
    notifier = Notifier(database)
    yield notifier
    await notifier.stop()


@pytest.fixture
async def listener(database: Database) -> AsyncIterator[Listener]:
    await _await(database, "Order Completed")
    listening, session = Listener(), await database.session("rapport-test-listen")
    for topic in (EVENTS, JOURNAL, REWARDS):
        await session.add_listener(channel(topic), listening.hear)
    yield listening
    await session.close()


async def test_who_is_waited_for_is_told_of_the_partitions_and_others_are_not_woken(
    database: Database, notifier: Notifier, listener: Listener
) -> None:
    notifier.notify_later(REWARDS, _orders(5))
    async with database.connection() as connection:
        await notifier.notify(connection, JOURNAL, _orders(3, 0))

    async def told() -> bool:
        return bool(listener.of(JOURNAL))

    await eventually(told)
    assert listener.heard == [(channel(JOURNAL), "0,3")]


async def test_nobody_is_woken_for_what_is_not_awaited_but_now_and_then(
    database: Database, notifier: Notifier, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.common.log.notifier.OTHER_PAUSE", 5.0)
    async with database.connection() as connection:
        await notifier.notify(connection, EVENTS, _views(0))  # nobody was told lately
        await _look(notifier)
        for partition in (1, 2, 3):
            await notifier.notify(connection, EVENTS, _views(partition))
        assert notifier.due_at is not None

    async def told() -> bool:
        return listener.told(EVENTS) == {0, 1, 2, 3}

    await eventually(told)
    assert listener.of(EVENTS) == ["0", "1,2,3"]


async def test_what_is_awaited_takes_along_what_is_not(
    database: Database, notifier: Notifier, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.common.log.notifier.OTHER_PAUSE", 60.0)
    async with database.connection() as connection:
        await notifier.notify(connection, EVENTS, _orders(0))
        await _look(notifier)
        await notifier.notify(connection, EVENTS, _views(1))
        await asyncio.sleep(URGENT_PAUSE)
        await notifier.notify(connection, EVENTS, _orders(2))

    async def told() -> bool:
        return listener.told(EVENTS) == {0, 1, 2}

    await eventually(told)
    assert listener.of(EVENTS) == ["0", "1,2"]
    assert notifier.due_at is None  # else the next deferred notification would come too early


async def test_what_is_awaited_is_looked_up_again(
    database: Database, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake_hints, "GOOD_FOR", 0.02)
    names = wake_hints.WakeHints(database.pool)
    assert names.match({"Level Finished"})  # nothing is known yet

    async def refused() -> bool:
        return not names.match({"Level Finished"})

    await eventually(refused)
    assert names.match({"Order Completed"})
    await _await(database, "Level Finished")

    async def now() -> bool:
        return names.match({"Level Finished"}) and not names.match({"Order Completed"})

    await eventually(now)
    await names.stop()


async def test_many_commits_are_told_of_together_and_none_is_missed(
    database: Database, notifier: Notifier, listener: Listener
) -> None:
    async def commit(partition: int) -> None:
        async with database.connection() as connection:
            await notifier.notify(connection, EVENTS, _orders(partition))

    for turn in range(20):
        await asyncio.gather(*(commit(8 * turn + each) for each in range(8)))

    async def told() -> bool:
        return listener.told(EVENTS) == set(range(160))

    await eventually(told)
    assert len(listener.heard) == len(listener.of(EVENTS)) < 160


async def test_a_wake_up_during_a_notification_is_heard(
    database: Database, notifier: Notifier, listener: Listener
) -> None:
    for partition in range(40):  # some fall into the pause, some into the notification
        notifier.notify_later(EVENTS, _orders(partition))
        await asyncio.sleep(0.001 * (partition % 7))

    async def all_told() -> bool:
        return listener.told(EVENTS) == set(range(40))

    await eventually(all_told)


async def test_news_that_were_told_with_a_commit_are_not_told_again(
    database: Database, notifier: Notifier, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.common.log.notifier.URGENT_PAUSE", 0.5)  # far longer than it takes to tell
    async with database.connection() as connection:
        await notifier.notify(connection, EVENTS, _orders(0))
        notifier.notify_later(EVENTS, _orders(1))
        await asyncio.sleep(0)  # what tells of it a little later has manual_transaction to wait
        time.sleep(0.6)  # noqa: ASYNC251 - and is due, but this goes first
        await notifier.notify(connection, EVENTS, _orders(2))

    async def all_told() -> bool:
        return listener.told(EVENTS) == {0, 1, 2}

    await eventually(all_told)
    await asyncio.sleep(4 * URGENT_PAUSE)
    assert listener.of(EVENTS) == ["0", "1,2"]
    assert notifier.due_at is None


async def test_who_is_told_with_the_commit_finds_what_was_committed(
    database: Database, notifier: Notifier, listener: Listener
) -> None:
    await database.pool.execute("CREATE TABLE news (number int)")
    for number in range(20):
        async with database.connection() as connection, manual_transaction(connection):
            await connection.execute("INSERT INTO news VALUES ($1)", number)
            await notifier.commit(connection, EVENTS, _orders(number))
        assert await database.pool.fetchval("SELECT count(*) FROM news") == number + 1
        await asyncio.sleep(0.003)

    async def all_told() -> bool:
        return listener.told(EVENTS) == set(range(20))

    await eventually(all_told)


async def test_what_fails_before_its_commit_is_rolled_back_and_nobody_is_told(
    database: Database, notifier: Notifier, listener: Listener
) -> None:
    await database.pool.execute("CREATE TABLE news (number int)")

    async def fail(connection: Tx) -> None:
        async with manual_transaction(connection):
            await connection.execute("INSERT INTO news VALUES (1)")
            raise RuntimeError

    async with database.connection() as connection:
        with pytest.raises(RuntimeError):
            await fail(connection)
        assert not connection.is_in_transaction()
        async with manual_transaction(connection):
            await connection.execute("INSERT INTO news VALUES (2)")
            await notifier.commit(connection, EVENTS, {})
    assert [row[0] for row in await database.pool.fetch("SELECT number FROM news")] == [2]
    await asyncio.sleep(0.05)
    assert not listener.heard
