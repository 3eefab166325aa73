"""Few records are inserted, many are copied: dense offsets in order from both, at the same time, and all or none."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

import asyncpg
import pytest

from libs.common.contracts.ingest import EVENTS
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.log.append import COPY_FROM, Outgoing, append, append_alone
from libs.common.log.notifier import Notifier
from libs.common.settings import Settings
from tests.integration.log.logs import PARTITIONS, WHEN

FEW, MANY = 7, COPY_FROM + 3


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = await Database.connect(settings, "suite")
    yield opened
    await opened.close()


def _records(count: int, says: str = "", key: str = "key") -> list[Outgoing]:
    return [Outgoing(f"{key} {number % 20}", f"{says} {number}".encode(), WHEN) for number in range(count)]


async def _rows(database: Database) -> list[tuple[int, int, str, bytes]]:
    async with database.connection() as tx:
        rows = await tx.fetch('SELECT partition, "offset", key, value FROM log."ingest.events" ORDER BY 1, 2')
    return [tuple(row) for row in rows]


async def test_both_ways_at_once_leave_dense_offsets_in_order(database: Database) -> None:
    sizes = [FEW, MANY, 1, MANY, FEW, COPY_FROM - 1, COPY_FROM] * 2
    await asyncio.gather(
        *(
            append_alone(database, Notifier(database), EVENTS, _records(size, f"{place}"), PARTITIONS)
            for place, size in enumerate(sizes)
        )
    )
    rows = await _rows(database)
    assert len(rows) == sum(sizes)
    offsets: defaultdict[int, list[int]] = defaultdict(list)
    said: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for partition, offset, key, value in rows:
        offsets[partition].append(offset)
        place, number = value.decode().split()
        said[place, key].append(int(number))
    assert all(found == list(range(len(found))) for found in offsets.values())
    assert all(numbers == sorted(numbers) for numbers in said.values())
    async with database.connection() as tx:
        heads = dict(await tx.fetch("SELECT partition, next FROM log.heads WHERE topic = $1 AND next > 0", EVENTS))
    assert heads == {partition: len(found) for partition, found in offsets.items()}


@pytest.mark.parametrize("count", [FEW, MANY])
async def test_all_or_none(database: Database, count: int) -> None:
    with pytest.raises(asyncpg.CharacterNotInRepertoireError):
        await append_alone(
            database, Notifier(database), EVENTS, [*_records(count), Outgoing("a\0b", b"{}", WHEN)], PARTITIONS
        )
    assert await _rows(database) == []
    async with database.connection() as tx:
        transaction = tx.transaction()
        await transaction.start()
        await append(tx, EVENTS, _records(count), PARTITIONS)
        await transaction.rollback()
    await append_alone(database, Notifier(database), EVENTS, _records(count), PARTITIONS)
    rows = await _rows(database)
    assert len(rows) == count
    assert min(offset for _, offset, _, _ in rows) == 0


@pytest.mark.parametrize("count", [FEW, MANY])
async def test_more_partitions_than_the_log_has(database: Database, count: int) -> None:
    with pytest.raises(Unavailable, match="partitions"):
        await append_alone(database, Notifier(database), EVENTS, _records(count), PARTITIONS * 2)
    assert await _rows(database) == []
