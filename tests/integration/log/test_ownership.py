"""A partition has one reader at a time; where two think they are it, the fence lets one commit."""

import signal
from collections import defaultdict

import asyncpg
import pytest

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Database
from libs.common.log.ownership import Ownership
from libs.common.log.positions import FenceLost, Positions
from libs.common.log.reader import Position
from libs.common.settings import Settings
from tests.integration.log.children import Copier
from tests.integration.log.conftest import Running, Start
from tests.integration.log.logs import PARTITIONS, WHERES, Log, PostgresLog, install, key_in, numbered, read, values
from tests.support import eventually

KEYS = [key_in(partition) for partition in range(PARTITIONS)]


async def copied(log: Log, count: int) -> bool:
    async with log.database.connection() as connection:
        return bool(await connection.fetchval("SELECT count(*) = $1 FROM suite.copies", count))


@pytest.mark.parametrize("point", ["copier.fetched", "copier.copied"])
async def test_a_frozen_owner_is_replaced_and_commits_nothing_when_it_wakes(log: Log, child: Start, point: str) -> None:
    """Stopped between reading and its transaction it meets the fence; inside, its transaction is gone."""
    for key in KEYS:
        await log.append(numbered(key, range(30)))
    frozen = await child("copy", log.settings, f"{point}=stop:4")
    await eventually(frozen.stopped)
    async with Copier(log.settings, log.database):
        await eventually(lambda: copied(log, 30 * PARTITIONS))
        frozen.process.send_signal(signal.SIGCONT)
        await frozen.says("fenced" if point == "copier.fetched" else "away")
        for key in KEYS:
            await log.append(numbered(key, range(30, 45)))
        await eventually(lambda: copied(log, 45 * PARTITIONS))
    async with log.database.connection() as connection:
        rows = await connection.fetch('SELECT partition, "offset", value FROM suite.copies ORDER BY ctid')
    each = defaultdict(list)
    for partition, offset, value in rows:
        each[partition].append((offset, int(value)))
    assert all(sorted(found) == [(number, number) for number in range(45)] for found in each.values())
    assert len(each) == PARTITIONS


async def test_the_fence_lets_one_of_two_advance(settings: Settings, database: Database) -> None:
    await install(settings)
    positions = Positions("suite", "copier")
    tp = WHERES[0]
    async with database.transaction() as tx:
        await positions.ensure(tx, WHERES)
        await positions.ensure(tx, WHERES)
    start = Position(0, 0)
    async with database.transaction() as tx:
        assert await positions.advance(tx, {tp: (start, Position(0, 10, 12))}) == 0
    with pytest.raises(FenceLost):
        async with database.transaction() as tx:
            await positions.advance(tx, {tp: (start, Position(0, 7, 7))})
    with pytest.raises(FenceLost):
        async with database.transaction() as tx:
            await positions.advance(tx, {tp: (Position(1, 10), Position(1, 11))})
    async with database.connection() as connection:
        assert (await positions.load(connection, tp)).position == Position(0, 10, 12)
        assert (await positions.all(connection))[WHERES[1]] == start


async def test_living_processes_share_and_the_dead_leave_at_once(database: Database) -> None:
    one, two = (Ownership(database, "suite/share", WHERES) for _ in range(2))
    assert await one.balance() == set(WHERES)
    assert await two.balance() == set()
    await one.balance()
    for tp in list(one.surplus):
        await one.give_back(tp)
    assert len(await two.balance()) == len(await one.balance()) == PARTITIONS // 2
    assert two.owned.isdisjoint(one.owned)
    two.forget()  # as a killed process does

    async def took_over() -> bool:
        return await one.balance() == set(WHERES)

    await eventually(took_over)
    await one.close()


async def test_a_writer_frozen_before_its_commit_holds_others_up_for_seconds_only(
    settings: Settings, database: Database, child: Start, running: Running
) -> None:
    log = await running(PostgresLog(settings, database))
    await log.append(numbered(KEYS[0], range(5)))
    frozen = await child("append", settings, "appended=stop:1")

    await eventually(frozen.stopped)

    async def appended() -> bool:
        try:
            await log.append(numbered(KEYS[0], range(5, 10)))
        except asyncpg.LockNotAvailableError:
            return False
        return True

    await eventually(appended)
    frozen.process.send_signal(signal.SIGCONT)
    await frozen.says("away")
    records, end = await read(await log.reader(), WHERES[0], 10)
    assert values(records) == list(range(10))
    async with database.connection() as connection:
        query = "SELECT next FROM log.heads WHERE topic = $1 AND partition = 0"
        assert await connection.fetchval(query, JOURNAL) == end.next
