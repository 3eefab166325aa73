"""Rulebooks: each record is folded under exactly the one that was in force at its position, as the log of them says."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.rewards import REWARDS
from libs.common.db.pipeline import AnyTx
from libs.common.db.pool import Database, Tx
from libs.common.fold import rulebooks
from libs.common.fold.batch import Batch, Outcome
from libs.common.fold.transactions import Fetch, Transactions
from libs.common.log.notifier import Notifier
from libs.common.log.positions import Positions
from libs.common.log.reader import Position, Record, TopicPartition
from tests.integration.fold.toy import Running
from tests.integration.fold.world import CUSTOMERS, did, journal
from tests.support import eventually


async def publish(database: Database, content: bytes = b"{}") -> int:
    async with database.transaction() as tx:
        return await rulebooks.publish(tx, "toy", content, "anna")


async def test_publishing_races_with_batches(running: Running, toy: Database) -> None:
    numbers = []
    for batch in range(15):
        await journal(toy, *(did(customer, f"{batch}-{customer}") for customer in CUSTOMERS))
        numbers.append(await publish(toy))
    await eventually(running.caught_up)
    assert numbers == list(range(1, 16))
    async with toy.connection() as tx:
        log = await tx.fetch("SELECT number, partition, next FROM toy.rulebook_positions ORDER BY number")
        made = await tx.fetch(f'SELECT value FROM log."{REWARDS}"')
    since: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, partition, next in log:
        since[partition].append((next, number))
    assert len(made) == 5 * len(CUSTOMERS)
    for (value,) in made:
        partition, position, rulebook, _ = map(int, msgspec.json.decode(value)["stamp"].split("/"))
        assert rulebook == max((number for next, number in since[partition] if next <= position), default=0)


async def test_many_publish_at_once_and_before_anybody_reads(toy: Database) -> None:
    """No positions are there to be locked: the numbers are dense all the same, and who starts takes the newest."""
    numbers = await asyncio.gather(*(publish(toy) for _ in range(6)))
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
    async with Running(toy), toy.connection() as tx:
        assert await tx.fetchval("SELECT array_agg(DISTINCT rulebook) FROM toy.positions") == [6]


async def test_publishing_races_with_the_first_start(toy: Database) -> None:
    """Whoever comes first: the positions that are made then have the rulebook that was published."""
    async with toy.transaction() as tx:
        await rulebooks.publish(tx, "toy", b"{}", "anna")
        starting = asyncio.create_task(Running(toy).__aenter__())
        await eventually(lambda: _waits(toy))
    service = await starting
    async with toy.connection() as tx:
        assert await tx.fetchval("SELECT array_agg(DISTINCT rulebook) FROM toy.positions") == [1]
    await service.__aexit__()


async def test_two_transactions_that_both_read_under_an_old_rulebook_both_read_again(toy: Database) -> None:
    """What one of them finds out is not to be taken by the other for what it has read under."""
    await publish(toy)
    positions, both = Positions("toy", "fold"), asyncio.Barrier(2)
    read: list[tuple[TopicPartition, int]] = []

    class Reading:
        """Notes under which rulebook a partition was read; the first time only when the other has read too."""

        async def apply(self, tx: AnyTx, batches: Sequence[Batch]) -> Outcome:
            first = batches[0].tp not in {tp for tp, _ in read}
            read.append((batches[0].tp, batches[0].rulebook))
            if first:
                await both.wait()
            return Outcome()

        async def skip(self, tx: Tx, record: Record) -> None: ...

    tps = [TopicPartition(JOURNAL, 0), TopicPartition(JOURNAL, 1)]
    async with toy.transaction() as tx:
        await positions.ensure(tx, tps, 1)
    transactions = Transactions("toy", toy, positions, Reading(), REWARDS, Notifier(toy))
    now = datetime.now(UTC)
    fetches = [Fetch(tp, Position(0, 0), [Record(*tp, 0, "key", b"{}", now, 0)]) for tp in tps]
    await asyncio.gather(*(transactions.alone(batch) for batch in fetches))
    assert all([rulebook for at, rulebook in read if at == tp] == [0, 1] for tp in tps)


async def _waits(database: Database) -> bool:
    async with database.connection() as tx:
        return bool(await tx.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
