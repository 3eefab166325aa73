"""Sizes, memory, lag, cancelling."""

import asyncio
import os

import pytest

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import LARGEST
from libs.common.errors import TooLarge
from libs.common.log.append import Outgoing
from libs.common.log.reader import LARGEST_FETCH, Lag, Position, Record, TopicPartition, after
from tests.integration.log.logs import START, WHEN, Log, key_in, numbered, read, values
from tests.support import eventually

WHERE = TopicPartition(JOURNAL, 5)
KEY = key_in(5)


async def test_the_largest_record_passes_and_a_larger_one_is_refused_whole(log: Log) -> None:
    largest = Outgoing(KEY, os.urandom(LARGEST), WHEN)
    with pytest.raises(TooLarge, match="900,001 bytes"):
        await log.append([*numbered(KEY, range(2)), Outgoing(KEY, b"x" * (LARGEST + 1), WHEN)])
    await log.append([largest, *numbered(KEY, range(1))])
    records, _ = await read(await log.reader(), WHERE, 2)
    assert [record.value for record in records] == [largest.value, b"0"]


async def test_a_fetch_is_bounded_in_records_and_in_bytes(log: Log) -> None:
    many = [Outgoing(KEY, b"%d" % number * 300_000, WHEN) for number in range(10, 24)]
    await log.append(many)
    await log.append(numbered(KEY, range(700)))
    reader = await log.reader()
    position = START
    found: list[Record] = []
    while position.next < len(many):
        batch = await eventually(lambda at=position: reader.fetch(WHERE, at, 500, 1.0))  # type: ignore[misc]
        assert sum(len(record.value) for record in batch) <= LARGEST_FETCH + LARGEST
        again = await eventually(lambda at=position: reader.fetch(WHERE, at, 500, 1.0))  # type: ignore[misc]
        assert again[: len(batch)] == batch[: len(again)]
        found += batch
        position = after(position, batch)
    assert [record.value for record in found[: len(many)]] == [record.value for record in many]
    batch = await eventually(lambda: reader.fetch(WHERE, position, 500, 1.0))
    assert len(batch) <= 500


async def test_lag_in_records_and_in_seconds(log: Log) -> None:
    await log.append(numbered(KEY, range(30)))
    reader = await log.reader()
    await read(reader, WHERE, 30)

    async def lag(position: Position) -> Lag:
        return (await reader.lag({WHERE: position}))[WHERE]

    async def old() -> bool:
        assert await reader.fetch(WHERE, START, 500, 0.05)
        found = await lag(START)
        assert found.records == 30
        return found.seconds > 0.1

    await eventually(old)
    _, middle = await read(reader, WHERE, 10)
    assert (await lag(middle)).records == 20
    _, end = await read(reader, WHERE, 20, middle)
    assert await lag(end) == (0, 0.0)
    stranger = await log.reader()  # of a process that reads this partition not at all
    positions = {WHERE: middle, TopicPartition(JOURNAL, 0): START}
    lags = await stranger.lag(positions)
    assert [lags[tp].records for tp in positions] == [20, 0]


async def test_a_cancelled_fetch_loses_nothing(log: Log) -> None:
    reader = await log.reader()
    position = START
    found: list[Record] = []

    async def write() -> None:
        for number in range(0, 200, 4):
            await log.append(numbered(KEY, range(number, number + 4)))

    writing = asyncio.create_task(write())
    turns = 0
    while len(found) < 200:
        fetching = asyncio.create_task(reader.fetch(WHERE, position, 7, 1.0))
        turns += 1
        for _ in range(turns % 23):
            await asyncio.sleep(0)
        if turns % 4:
            fetching.cancel()
        try:
            batch = await fetching
        except asyncio.CancelledError:
            continue
        found += batch
        position = after(position, batch)
    await writing
    assert values(found) == list(range(200))
