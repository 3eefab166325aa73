"""Points are lost at the end of their time: once, the oldest first, and not before everything until then was heard."""

import uuid
from datetime import UTC, datetime, timedelta

import msgspec

from deploy.local.postgres import Postgres
from libs.common.contracts.profile import JOURNAL, WATERMARK
from libs.common.db.pool import Database
from libs.common.fold.watermark import watermarks
from libs.common.log.append import append
from libs.common.log.kafka.compacted_topic import CompactedTopicWriter
from libs.common.replay.run import compared
from libs.common.settings import Settings as CommonSettings
from services.rewards.replay import replayable
from services.rewards.settings import Settings
from tests.integration.backups import Databases, caught_up, journal_sent
from tests.integration.rewards.service import ANN, BEN, PROGRAMME, Rewards, merge, order, refund, serving
from tests.support import eventually, keep_open

YEAR = {**PROGRAMME, "points": {"expire_after_days": 365}}
EARNED = datetime(2024, 3, 1, 15, tzinfo=UTC)
LOST = datetime(2025, 3, 2, tzinfo=UTC)  # the end of the last day
LONG_AGO, NOW = LOST - timedelta(hours=2), datetime(2026, 1, 1, tzinfo=UTC)


async def hear(rewards: Rewards, until: datetime) -> None:
    """What profile says: everything received until then is in the journal."""
    await rewards.database.pool.execute("UPDATE log.heads SET watermark = $2 WHERE topic = $1", JOURNAL, until)


async def points(rewards: Rewards, customer: str = ANN) -> int:
    return int((await rewards.get(f"customers/{customer}/points"))["balance"])


async def becomes(rewards: Rewards, balance: int, customer: str = ANN) -> None:
    async def is_so() -> bool:
        return await points(rewards, customer) == balance

    await eventually(is_so)


async def test_points_are_lost_once_at_the_end_of_their_last_day(rewards: Rewards, rewards_settings: Settings) -> None:
    await rewards.publish(YEAR)
    await rewards.journal(
        order(ANN, "old", 50, time=EARNED),
        order(ANN, "new", 20, time=EARNED + timedelta(days=300)),
        order(BEN, "bens", 10, time=EARNED),
    )
    await hear(rewards, LOST)
    await becomes(rewards, 40)
    await becomes(rewards, 0, BEN)
    (lost,) = [fact for fact in await rewards.facts() if fact["type"] == "points.expired.v1" and fact["subject"] == ANN]
    assert (lost["data"], lost["time"]) == (
        {"points": 100, "balance": 40, "until": "2025-03-02T00:00:00Z"},
        "2025-03-02T00:00:00Z",
    )
    line = (await rewards.get(f"customers/{ANN}/statement"))["items"][0]
    assert (line["kind"], line["points"], line["balance"]) == ("expired", -100, 40)
    summary = await rewards.get("rewards/summary")
    assert (summary["points_issued"], summary["points_expired"], summary["balance"]) == (160, 120, 40)
    assert (await rewards.get("rewards/summary", until="2025-03-01"))["points_expired"] == 0
    await rewards.check()
    due = await rewards.database.pool.fetch("SELECT customer, due FROM rewards.timers")
    assert [tuple(row) for row in due] == [(uuid.UUID(ANN), LOST + timedelta(days=300))]
    found = await compared(replayable(rewards_settings), rewards_settings, rewards_settings)
    assert (found.equal, found.differing) == (True, 0)  # put back in its place
    await hear(rewards, NOW)
    await becomes(rewards, 0)


async def test_two_hours_behind_nothing_is_lost_yet(rewards: Rewards) -> None:
    """First profile is behind; then it has heard all, but rewards has not read the refund that it heard."""
    await rewards.publish(YEAR)
    await rewards.journal(order(ANN, "a", 50, time=EARNED), order(BEN, "b", 1, time=EARNED - timedelta(days=1)))
    await hear(rewards, LONG_AGO)
    await becomes(rewards, 0, BEN)  # it does fire what was due before
    assert await points(rewards) == 100
    async with rewards.database.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await keep_open(connection)
        await connection.execute("SELECT 1 FROM rewards.positions WHERE reader = 'fold' FOR UPDATE")
        await rewards.append(refund(ANN, "a"), order(BEN, "c", 7, time=LONG_AGO))
        await hear(rewards, LOST)
        await rewards.database.pool.execute(  # of another partition, that stands where it should: the timers have looked
            "INSERT INTO rewards.timers SELECT gen_random_uuid(), 'points expire', p, $1 FROM generate_series(0, 7) p",
            LOST,
        )

        async def looked() -> bool:
            left = await rewards.database.pool.fetchval("SELECT count(*) FROM rewards.timers WHERE due = $1", LOST)
            return bool(left < 8)

        await eventually(looked)
        assert await points(rewards) == 100
        await transaction.rollback()
    await rewards.caught_up()
    assert await points(rewards) == 0
    facts = [fact["type"] for fact in await rewards.facts() if fact["subject"] == ANN]
    assert "points.reversed.v1" in facts
    assert "points.expired.v1" not in facts  # there was nothing left to lose


async def test_what_was_lost_is_not_taken_a_second_time_and_moves_with_a_merge(rewards: Rewards) -> None:
    await rewards.publish(YEAR)
    await rewards.journal(order(ANN, "a", 50, time=EARNED), order(BEN, "b", 5, time=EARNED))
    assert (await rewards.adjust(ANN, -30)).status_code == 201
    await rewards.journal(*merge(BEN, ANN))
    await hear(rewards, LOST)
    await becomes(rewards, 0, BEN)
    await rewards.journal(refund(BEN, "a"))
    assert await points(rewards, BEN) == -30  # what was spent is owed, what was lost is not
    await rewards.check()


async def test_with_a_database_of_its_own_it_hears_of_it_over_kafka(
    kafka_settings: CommonSettings, database: Database, postgres: Postgres
) -> None:
    """`database` is profile's; what stands in rewards' own says nothing of it."""
    profile, writer = database, CompactedTopicWriter(kafka_settings, WATERMARK)
    own = Databases(postgres, kafka_settings, Settings).fresh()

    async def hear_there(until: datetime) -> None:
        await profile.pool.execute("UPDATE log.heads SET watermark = $2 WHERE topic = $1", JOURNAL, until)
        async with profile.connection() as tx:
            await writer.write(msgspec.json.encode(await watermarks(tx)))

    async with journal_sent(profile, kafka_settings), serving(own) as rewards:
        await rewards.publish(YEAR)
        async with profile.transaction() as tx:
            bought = [order(ANN, "old", 50, time=EARNED), order(BEN, "b", 1, time=EARNED - timedelta(days=1))]
            await append(tx, JOURNAL, bought, own.partitions)
        await caught_up(profile, "rewards", own)
        await hear(rewards, NOW)
        await hear_there(LONG_AGO)
        await becomes(rewards, 0, BEN)
        assert await points(rewards) == 100
        await hear_there(LOST)
        await becomes(rewards, 0)
    await writer.stop()
