"""The bell: who is told at once, who later, and of what."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from libs.common.db import Database
from libs.common.log import bell
from libs.common.log.bell import AT_ONCE, LATER
from libs.common.topics import EVENTS, JOURNAL, REWARDS
from tests.support import eventually


class Ear:
    """What was heard on each channel, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def hear(self, _: object, __: int, channel: str, payload: object) -> None:
        self.heard.append((channel, str(payload)))

    def on(self, channel: str) -> list[str]:
        return [payload for at, payload in self.heard if at == channel]


@pytest.fixture
async def ear(database: Database) -> AsyncIterator[Ear]:
    listening, session = Ear(), await database.session("rapport-test-ear")
    for channel in (AT_ONCE, LATER):
        await session.add_listener(channel, listening.hear)
    yield listening
    await session.close()


async def test_what_somebody_waits_for_is_told_at_once_with_its_partitions(database: Database, ear: Ear) -> None:
    async with database.connection() as connection:
        await database.bell.tell(connection, JOURNAL, [3, 0])
    database.bell.ring(REWARDS, [5])

    async def both() -> bool:
        return bool(ear.on(LATER))

    await eventually(both)
    assert ear.on(AT_ONCE) == [f"{JOURNAL}:0,3"]
    assert ear.on(LATER) == [JOURNAL, REWARDS]
    assert ear.heard[0][0] == AT_ONCE
    assert bell.read(ear.on(AT_ONCE)[0]) == (JOURNAL, [0, 3])
    assert bell.read(REWARDS) == (REWARDS, None)


async def test_many_commits_are_told_of_together_and_none_is_missed(database: Database, ear: Ear) -> None:
    async def commit(partition: int) -> None:
        async with database.connection() as connection:
            await database.bell.tell(connection, EVENTS, [partition])

    for turn in range(20):
        await asyncio.gather(*(commit(8 * turn + each) for each in range(8)))

    async def told() -> bool:
        return {each for payload in ear.on(AT_ONCE) for each in bell.read(payload)[1] or ()} == set(range(160))

    await eventually(told)
    assert Counter(topic for topic, _ in map(bell.read, ear.on(AT_ONCE))).keys() == {EVENTS}
    assert len(ear.on(AT_ONCE)) < 160
    assert not ear.on(LATER)  # whoever reads events is told at once


async def test_a_ring_during_a_notification_is_heard(database: Database, ear: Ear) -> None:
    for partition in range(40):  # some fall into the pause, some into the notification
        database.bell.ring(EVENTS, [partition])
        await asyncio.sleep(0.001 * (partition % 7))

    async def all_told() -> bool:
        return {each for payload in ear.on(AT_ONCE) for each in bell.read(payload)[1] or ()} == set(range(40))

    await eventually(all_told)
