"""Old segments go, whole, when every reader has passed them; nobody waits for it, and who holds it up is named."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.rewards import REWARDS
from libs.common.db.locks import Lock
from libs.common.db.pool import Database
from libs.common.errors import NotFound, Unavailable
from libs.common.log import retention, segments
from libs.common.log.append import append
from libs.common.log.maintenance import LogMaintenance
from libs.common.log.positions import Positions
from libs.common.log.postgres import PostgresReader
from libs.common.log.reader import TopicPartition
from libs.common.log.segments import Segment, droppable, missing
from libs.common.observability.telemetry import Meter
from libs.common.settings import Settings
from tests.integration.log.conftest import Running
from tests.integration.log.logs import PARTITIONS, START, key_in, numbered, read, values
from tests.support import eventually

SIZE = 50
WHERE = TopicPartition(REWARDS, 1)


class House:
    """Rewards' database, and its housekeeping by hand."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings.model_copy(update={"segment_records": SIZE})
        self.database = database
        self.meter = Meter("rewards")
        self.keeping = LogMaintenance("rewards", self)

    async def say(self, numbers: range, partition: int = WHERE.partition) -> None:
        async with self.database.transaction() as tx:
            await append(tx, REWARDS, numbered(key_in(partition), numbers), PARTITIONS)

    async def segments(self) -> list[tuple[int, int]]:
        async with self.database.connection() as connection:
            return [(each.first, each.end) for each in await segments.existing(connection, REWARDS)]

    async def stand(self, next: int, reader: str = "profile/fold", partitions: range = range(PARTITIONS)) -> None:
        """Let a reader stand at `next`, as its own service notes it."""
        async with self.database.connection() as connection:
            await connection.execute(
                "INSERT INTO log.readers (reader, topic, partition, next)"
                " SELECT $1, $2, p, $3 FROM unnest($4::smallint[]) p"
                " ON CONFLICT (reader, topic, partition) DO UPDATE SET next = excluded.next",
                reader,
                REWARDS,
                next,
                list(partitions),
            )

    async def age(self, days: int) -> None:
        """Let all that is there have been appended so many days earlier."""
        async with self.database.connection() as connection:
            await connection.execute(
                f'UPDATE log."{REWARDS}" SET appended_at = appended_at - $1::interval', timedelta(days=days)
            )


@pytest.fixture
async def house(settings: Settings, database: Database) -> House:
    """With one small segment, as if the installation had begun with such."""
    async with database.connection() as connection:
        await connection.execute(f'DROP TABLE log."{REWARDS}.0"')
    house = House(settings, database)
    await house.keeping.start()
    await house.keeping.stop()
    await house.keeping.round()
    return house


async def test_segments_are_made_ahead_and_dropped_behind_the_last_reader(house: House) -> None:
    for partition in range(PARTITIONS):
        for begin in range(0, 240, 40):
            await house.say(range(begin, begin + 40), partition)
            await house.keeping.round()
    assert await house.segments() == [(first, first + SIZE) for first in range(0, 350, SIZE)]
    await house.age(8)
    await house.say(range(240, 241))
    await house.stand(240)
    await house.stand(120, partitions=range(2, 3))
    assert (await house.keeping.round())[1] == [f"{REWARDS}.0", f"{REWARDS}.50"]
    reader = PostgresReader(house.database, [REWARDS])
    await reader.start()
    records, _ = await read(reader, WHERE, 141, START._replace(next=100))
    assert values(records) == list(range(100, 241))
    assert (await reader.lag({WHERE: START._replace(next=239)}))[WHERE].records == 2
    await reader.stop()


async def test_young_records_stay_and_the_journal_for_ever(house: House) -> None:
    await house.say(range(60))
    await house.keeping.round()
    await house.stand(60)
    await house.age(6)
    assert (await house.keeping.round())[1] == []
    async with house.database.connection() as connection:
        later = datetime.now(UTC) + timedelta(days=1000)
        assert await retention.expirable(connection, JOURNAL, house.settings, later) == ([], [])


async def test_a_reader_that_holds_old_records_up_is_named_until_it_is_given_up(house: House) -> None:
    for partition in range(PARTITIONS):
        await house.say(range(60), partition)
    await house.keeping.round()
    await house.age(8)
    assert (await house.keeping.round())[1] == []  # profile, which reads it, was never heard of
    check = await house.keeping.check()
    assert check.ok
    assert "profile/fold has 480 unread records of rewards.facts" in check.detail
    assert b'rapport_log_pinned_segments{reader="profile/fold",topic="rewards.facts"} 1.0' in house.meter.text()
    async with house.database.connection() as connection:
        with pytest.raises(NotFound):
            await retention.expire(connection, "accounting/fold")
        await retention.expire(connection, "profile/fold")
        assert (await house.keeping.round())[1] == [f"{REWARDS}.0"]
        assert "(expired)" in (await retention.listed(connection))[0]
    assert (await house.keeping.check()).detail == ""
    assert b'rapport_log_pinned_segments{reader="profile/fold",topic="rewards.facts"} 0.0' in house.meter.text()


async def test_a_service_says_how_far_its_own_readers_are(house: House) -> None:
    positions = Positions("rewards", "fold")
    async with house.database.transaction() as tx:
        await positions.ensure(tx, [TopicPartition(JOURNAL, partition) for partition in range(PARTITIONS)])
        await tx.execute("UPDATE rewards.positions SET next = 7")
    await house.keeping.round()
    async with house.database.connection() as connection:
        rows = await connection.fetch("SELECT reader, topic, partition, next FROM log.readers ORDER BY partition")
        assert [tuple(row) for row in rows] == [("rewards/fold", JOURNAL, p, 7) for p in range(PARTITIONS)]
        await retention.expire(connection, "rewards/fold")
        await house.keeping.round()
        assert await connection.fetchval("SELECT bool_and(expired_at IS NOT NULL) FROM log.readers")
        await connection.execute("UPDATE rewards.positions SET next = 8")
        await house.keeping.round()  # it goes on: it is taken back
        assert await connection.fetchval("SELECT bool_and(expired_at IS NULL) FROM log.readers")


async def test_idle_readers_and_open_transactions_hold_nobody_up(house: House) -> None:
    """One that has read the newest segment and idles: the oldest goes, and an append meanwhile takes no time."""
    for partition in range(PARTITIONS):
        await house.say(range(60), partition)
    await house.keeping.round()
    await house.age(8)
    await house.stand(60)
    idle = await asyncpg.connect(house.settings.dsn)
    await idle.execute("BEGIN")
    await idle.fetch(f'SELECT * FROM log."{REWARDS}" WHERE partition = 0 AND "offset" >= 55 AND "offset" < 60')
    with pytest.raises(asyncpg.LockNotAvailableError):  # it waits for the idle one for a second, and lets go
        await asyncio.gather(house.keeping.round(), house.say(range(60, 61), 0))
    await house.say(range(61, 62), 0)
    await idle.execute("ROLLBACK")
    await idle.close()
    assert (await house.keeping.round())[1] == [f"{REWARDS}.0"]
    assert await house.segments() == [(50, 100), (100, 150), (150, 200)]


async def test_where_no_segment_is_nothing_is_lost_and_nothing_is_poison(house: House) -> None:
    with pytest.raises(Unavailable, match="has no segment for its next offsets yet"):
        await house.say(range(200))
    await house.say(range(90))
    await house.keeping.round()
    await house.say(range(90, 180))
    async with house.database.connection() as connection:
        rows = await connection.fetch(f'SELECT value FROM log."{REWARDS}" ORDER BY "offset"')
    assert [int(row[0]) for row in rows] == list(range(180))


async def test_it_works_by_itself_and_another_process_leaves_it_the_work(house: House, running: Running) -> None:
    await running(house.keeping)

    async def ahead() -> bool:
        return (await house.segments())[-1][1] > 100

    await house.say(range(30))
    await eventually(ahead)
    assert not house.keeping.died()
    async with house.database.connection() as connection:
        await connection.execute("SELECT pg_advisory_lock($1, hashtext($2))", Lock.LOG_MAINTENANCE, REWARDS)
        await house.say(range(30, 90))
        assert await LogMaintenance("rewards", house).round() == ([], [])


async def test_it_leaves_the_pools_connections_as_they_were(house: House) -> None:
    """Also when a round fails half way: a statement of somebody else must not wait for a second only."""
    async with house.database.connection() as connection:
        usual = await connection.fetchval("SHOW lock_timeout")
        await connection.execute("ALTER TABLE log.readers RENAME TO gone")
    for _ in range(2):
        with pytest.raises(asyncpg.UndefinedTableError):
            await house.keeping.round()
    async with house.database.connection() as connection:
        await connection.execute("ALTER TABLE log.gone RENAME TO readers")
    await house.keeping.round()
    connections = [await house.database.pool.acquire() for _ in range(house.settings.pool_size)]
    assert {await connection.fetchval("SHOW lock_timeout") for connection in connections} == {usual}
    held = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    assert await connections[0].fetchval(held) == 0
    for connection in connections:
        await house.database.pool.release(connection)


async def test_old_answers_to_commands_are_forgotten(house: House) -> None:
    async with house.database.connection() as connection:
        await connection.execute(
            "INSERT INTO rewards.commands (key, customer, digest, answer, answered_at)"
            " SELECT n::text, gen_random_uuid(), '', '', now() - n * interval '12 days' FROM generate_series(1, 9) n"
        )
        await house.keeping.forget()
        assert await connection.fetchval("SELECT array_agg(key ORDER BY key) FROM rewards.commands") == ["1", "2"]


def test_a_slow_partition_gets_its_segment_again() -> None:
    there = [Segment(400, 500, ""), Segment(500, 600, "")]
    assert missing(there, [420, 130], 100) == [(100, 200), (200, 300), (300, 400), (600, 700)]
    heads = {TopicPartition(REWARDS, 0): 1000, TopicPartition(REWARDS, 1): 130}
    every = [Segment(first, first + 100, "") for first in range(0, 1200, 100)]
    past = [each.first for each in droppable(every, heads, heads, 100)]
    assert past == [0, 400, 500, 600, 700, 800, 900]
