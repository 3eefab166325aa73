"""Positions recorded later: together, after an outage, and not over another's."""

import pytest

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Database
from libs.common.log.offset_committer import OffsetCommitter
from libs.common.log.positions import FenceLost, Positions
from libs.common.log.reader import Position, TopicPartition
from tests.support import eventually

WHERES = [TopicPartition(JOURNAL, partition) for partition in range(3)]


@pytest.fixture
async def positions(database: Database) -> Positions:
    positions = Positions("profile", "forwarder")
    async with database.transaction() as tx:
        await positions.ensure(tx, WHERES)
    return positions


async def stored(database: Database, positions: Positions) -> list[int]:
    async with database.connection() as connection:
        found = await positions.all(connection)
    return [found[tp].next for tp in WHERES]


async def test_moves_are_recorded_a_little_later_each_from_where_it_began(
    database: Database, positions: Positions
) -> None:
    recorder = OffsetCommitter(database, positions)
    for tp in WHERES[:2]:
        recorder.note(tp, Position(0, 0), Position(0, 4))
        recorder.note(tp, Position(0, 4), Position(0, 9))
    assert await stored(database, positions) == [0, 0, 0]

    async def recorded() -> bool:
        return await stored(database, positions) == [9, 9, 0]

    await eventually(recorded)
    recorder.note(WHERES[2], Position(0, 0), Position(0, 2))
    await recorder.stop()
    assert await stored(database, positions) == [9, 9, 2]


async def test_one_that_stands_elsewhere_is_lost_and_the_others_are_recorded(
    database: Database, positions: Positions
) -> None:
    recorder = OffsetCommitter(database, positions)
    async with database.transaction() as tx:  # an operator, or another process
        await positions.advance(tx, {WHERES[1]: (Position(0, 0), Position(0, 1))})
    for tp in WHERES:
        recorder.note(tp, Position(0, 0), Position(0, 7))
    await recorder.record()
    assert await stored(database, positions) == [7, 1, 7]
    recorder.note(WHERES[0], Position(0, 7), Position(0, 8))
    with pytest.raises(FenceLost, match="was no longer at 7"):
        recorder.note(WHERES[1], Position(0, 7), Position(0, 8))
    recorder.note(WHERES[1], Position(0, 1), Position(0, 3))  # it has read its position again
    await recorder.stop()
    assert await stored(database, positions) == [8, 3, 7]


async def test_what_could_not_be_recorded_is_kept(database: Database, positions: Positions) -> None:
    recorder = OffsetCommitter(database, positions)
    recorder.note(WHERES[0], Position(0, 0), Position(0, 5))
    await database.pool.expire_connections()
    async with database.transaction() as tx:
        await tx.execute("ALTER TABLE profile.positions RENAME TO away")
    with pytest.raises(Exception, match="positions"):
        await recorder.record()
    recorder.note(WHERES[0], Position(0, 5), Position(0, 6))
    async with database.transaction() as tx:
        await tx.execute("ALTER TABLE profile.away RENAME TO positions")
    await recorder.stop()
    assert await stored(database, positions) == [6, 0, 0]
