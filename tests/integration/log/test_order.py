"""Nothing lost, nothing twice, in order: whoever writes, however slowly, and however many read."""

import asyncio
from collections import defaultdict

from libs.common.contracts.profile import JOURNAL
from libs.common.log.append import Outgoing, append
from libs.common.log.reader import Record
from tests.integration.log.logs import PARTITIONS, WHEN, WHERES, Log, key_in, numbered, read, values

KEYS = [key_in(partition, number) for partition in range(PARTITIONS) for number in range(2)]
WRITERS = 6
TURNS = 12


async def write(log: Log, writer: int) -> None:
    """One record for every key in each transaction; every third is slow, every fifth fails at its end."""
    for turn in range(TURNS):
        records = [Outgoing(key, b"%d %d" % (writer, turn), WHEN) for key in KEYS]
        async with log.database.transaction() as tx:
            await append(tx, JOURNAL, records, PARTITIONS)
            if (writer + turn) % 3 == 0:
                await tx.execute("SELECT pg_sleep(0.02)")
        if turn % 5 == writer % 5:
            try:
                async with log.database.transaction() as tx:
                    await append(tx, JOURNAL, numbered(KEYS[0], range(3)), PARTITIONS)
                    await tx.execute("SELECT 1 / 0")
            except ArithmeticError:
                raise
            except Exception as error:
                assert "division by zero" in str(error)  # noqa: PT017


async def everything(log: Log, count: int) -> list[Record]:
    reader = await log.reader()
    each = await asyncio.gather(*(read(reader, tp, count) for tp in WHERES))
    assert not reader.gaps
    return [record for records, _ in each for record in records]


async def test_concurrent_slow_failing_and_idle_writers_lose_nothing(log: Log) -> None:
    idle = await log.database.session("idle", idle_in_transaction_session_timeout="0", transaction_timeout="0")
    idle_transaction = idle.transaction()
    await idle_transaction.start()
    await idle.fetchval("SELECT pg_current_xact_id()")
    count = len(KEYS) // PARTITIONS * WRITERS * TURNS
    readers = [asyncio.create_task(everything(log, count)) for _ in range(2)]
    await asyncio.gather(*(write(log, writer) for writer in range(WRITERS)))
    first, second = await asyncio.gather(*readers)
    assert [record[:5] for record in first] == [record[:5] for record in second]

    turns: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for record in first:
        writer, turn = map(int, record.value.split())
        turns[record.key, writer].append(turn)
    assert set(turns) == {(key, writer) for key in KEYS for writer in range(WRITERS)}
    assert all(order == list(range(TURNS)) for order in turns.values())
    await idle_transaction.rollback()
    await idle.close()


async def test_a_reader_begins_where_its_position_says(log: Log) -> None:
    await log.append(numbered(KEYS[0], range(50)))
    reader = await log.reader()
    some, position = await read(reader, WHERES[0], 20)
    another = await log.reader()
    rest, end = await read(another, WHERES[0], 30, position)
    assert values(some + rest) == list(range(50))
    again, _ = await read(reader, WHERES[0], 50)
    assert values(again) == list(range(50))
    assert await another.fetch(WHERES[0], end, 10, 0.05) == []
    await log.append(numbered(KEYS[0], range(50, 51)))
    assert values((await read(another, WHERES[0], 1, end))[0]) == [50]


async def test_a_position_without_or_with_a_wrong_hint_finds_its_place(log: Log) -> None:
    await log.append(numbered(KEYS[0], range(30)))
    _, position = await read(await log.reader(), WHERES[0], 12)
    for hint in (None, 0, 3, 12, 13, 25, 30, 31, 9_900):
        reader = await log.reader()
        records, _ = await read(reader, WHERES[0], 18, position._replace(hint=hint))
        assert values(records) == list(range(12, 30))
        assert not reader.gaps
