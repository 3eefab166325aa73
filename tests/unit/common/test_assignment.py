"""Stopping, whatever the database does meanwhile."""

import asyncio
from typing import cast

from libs.common.log.assignment import Assignment
from libs.common.log.ownership import Ownership
from libs.common.log.reader import TopicPartition


class Deaf:
    """As a connection that is being opened: a cancellation comes out of it as another error."""

    surplus: tuple[TopicPartition, ...] = ()

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def balance(self) -> set[TopicPartition]:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise TimeoutError from None
        return set()


async def test_it_stops_though_the_cancellation_is_swallowed() -> None:
    ownership, lost = Deaf(), list[Exception]()

    async def read(_: TopicPartition) -> None: ...

    assignment = Assignment(
        "test", cast(Ownership, ownership), [TopicPartition("profile.journal", 0)], read, lost.append
    )
    assignment.start()
    await ownership.asked.wait()
    async with asyncio.timeout(20):
        await assignment.stop()
    assert isinstance(lost[0], TimeoutError)
    assert assignment.dead() == []
