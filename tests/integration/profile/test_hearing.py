"""Until when everything is heard: as far as the oldest record that profile has not read."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import HEARD, JOURNAL
from libs.common.contracts.registry import TOPIC_NAMES
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.fold.heard import MARGIN, Hearing, Mark, marks, marks_told
from libs.common.fold.service import ConsumerService
from libs.common.log.append import Outgoing, append
from libs.common.log.kafka import ensure_topics
from libs.common.log.kafka_newest import Teller
from libs.common.log.kafka_producer import Producer
from libs.common.log.kafka_topics import _admin, kafka_name
from libs.common.settings import Settings
from services.profile.handler import Profile
from tests.support import eventually, keep_open


async def test_it_moves_when_all_is_read_and_waits_for_the_oldest_unread(
    settings: Settings, database: Database
) -> None:
    part = ConsumerService("profile", settings, Profile(settings.zone))
    await part.start()
    hearing = Hearing(part)

    async def heard() -> set[datetime]:
        rows = await database.pool.fetch("SELECT heard_until FROM log.heads WHERE topic = $1", JOURNAL)
        return {row[0] for row in rows}

    assert await heard() == {None}
    now = datetime.now(UTC)

    async def all_read() -> bool:
        return await hearing.round(now) == now - MARGIN

    await eventually(all_read)
    assert await heard() == {now - MARGIN}
    async with database.pool.acquire() as connection, connection.transaction():
        await keep_open(connection)
        await connection.execute("SELECT 1 FROM profile.positions WHERE reader = 'fold' FOR UPDATE")
        async with database.transaction() as tx:
            await append(tx, EVENTS, [Outgoing("a1", b"{}", now)], settings.partitions)
            await tx.execute(f'UPDATE log."{EVENTS}" SET appended_at = $1', now + timedelta(minutes=5))
        later = now + timedelta(hours=2)
        until = await hearing.round(later)
        assert until is not None
        assert until <= later - MARGIN
        lag = max((await part.fold.lag()).values(), key=lambda lag: lag.records)
        assert lag.records == 1
        assert await heard() == {until}
    await part.stop()


async def test_over_kafka_it_tells_what_stands_at_the_heads(kafka_settings: Settings, database: Database) -> None:
    await ensure_topics(kafka_settings, TOPIC_NAMES)
    part = ConsumerService("profile", kafka_settings, Profile(kafka_settings.zone))
    await part.start()
    with pytest.raises(Unavailable, match=f"no topic .*{HEARD} yet"):
        await marks_told(kafka_settings)
    hearing = Hearing(part)
    await hearing.start()
    async with database.transaction() as tx:
        await append(tx, JOURNAL, [Outgoing("a1", b"{}", datetime.now(UTC))], kafka_settings.partitions)
    later, stand = datetime.now(UTC) + timedelta(hours=1), list[Mark]()

    async def told() -> bool:
        """Its own rounds may tell of an older time in between: so again and again."""
        await hearing.round(later)
        async with database.connection() as tx:
            stand[:] = await marks(tx)
        return {mark.until for mark in stand} == {later - MARGIN} and await marks_told(kafka_settings) == stand

    await eventually(told)
    assert sum(mark.head for mark in stand) == 1
    await hearing.stop()
    await part.stop()


async def test_what_was_told_before_a_restore_is_told_anew_though_an_input_is_still_unread(
    kafka_settings: Settings, database: Database
) -> None:
    await ensure_topics(kafka_settings, TOPIC_NAMES)
    part, now = ConsumerService("profile", kafka_settings, Profile(kafka_settings.zone)), datetime.now(UTC)
    await part.start()
    teller, producer = Teller(kafka_settings, HEARD), Producer(kafka_settings)
    await database.pool.execute("UPDATE log.heads SET heard_until = $2 WHERE topic = $1", JOURNAL, now)
    async with database.pool.acquire() as connection, connection.transaction():
        await keep_open(connection)
        await connection.execute("SELECT 1 FROM profile.positions WHERE reader = 'fold' FOR UPDATE")
        await producer.send(EVENTS, [Outgoing("a1", b"{}", now)])

        async def unread() -> bool:
            await teller.tell(msgspec.json.encode([Mark(0, 0, now + timedelta(days=1))]))
            begun = Hearing(part)  # anew each time: the reader may learn of the record later than the first round
            begun._teller = teller
            return await begun.round(now) is None

        await eventually(unread)
        assert {mark.until for mark in await marks_told(kafka_settings)} == {now}
    await producer.stop()
    await teller.stop()
    await part.stop()


async def test_what_another_release_told_is_not_taken_for_silence(kafka_settings: Settings) -> None:
    teller = Teller(kafka_settings, HEARD)
    await teller.tell(b'{"until": "now"}')
    with pytest.raises(Unavailable, match="of another release"):
        await marks_told(kafka_settings)
    await teller.stop()


async def tells(teller: Teller) -> bool:
    await teller.tell(b"[]")
    return True


async def test_a_topic_that_was_deleted_is_made_again(kafka_settings: Settings) -> None:
    teller = Teller(kafka_settings, HEARD)
    deadline, teller._producer._deadline = teller._producer._deadline, 5.0
    await eventually(lambda: tells(teller))
    async with _admin(kafka_settings) as admin:
        await admin.delete_topics([kafka_name(kafka_settings, HEARD)])

    async def refused() -> bool:
        """The broker takes messages for a moment after it has said that the topic is deleted."""
        try:
            await teller.tell(b"[]")
        except Unavailable:
            return True
        return False

    await eventually(refused)
    teller._producer._deadline = deadline
    await eventually(lambda: tells(teller))
    assert await marks_told(kafka_settings) == []
    await teller.stop()
