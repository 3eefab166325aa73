"""Until when everything is heard: as far as the oldest record that profile has not read."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import JOURNAL, WATERMARK
from libs.common.contracts.registry import TOPIC_NAMES
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.fold.service import ConsumerService
from libs.common.fold.watermark import MARGIN, Watermark, WatermarkWriter, published_watermarks, watermarks
from libs.common.log.append import Outgoing, append
from libs.common.log.kafka import ensure_topics
from libs.common.log.kafka.compacted_topic import CompactedTopicWriter
from libs.common.log.kafka.producer import Producer
from libs.common.log.kafka.topics import _admin, kafka_name
from libs.common.settings import Settings
from services.profile.handler import Profile
from tests.support import eventually, keep_open


async def test_it_moves_when_all_is_read_and_waits_for_the_oldest_unread(
    settings: Settings, database: Database
) -> None:
    part = ConsumerService("profile", settings, Profile(settings.zone))
    await part.start()
    placed = WatermarkWriter(part)

    async def heard() -> set[datetime]:
        rows = await database.pool.fetch("SELECT watermark FROM log.heads WHERE topic = $1", JOURNAL)
        return {row[0] for row in rows}

    assert await heard() == {None}
    now = datetime.now(UTC)

    async def all_read() -> bool:
        return await placed.round(now) == now - MARGIN

    await eventually(all_read)
    assert await heard() == {now - MARGIN}
    async with database.pool.acquire() as connection, connection.transaction():
        await keep_open(connection)
        await connection.execute("SELECT 1 FROM profile.positions WHERE reader = 'fold' FOR UPDATE")
        async with database.transaction() as tx:
            await append(tx, EVENTS, [Outgoing("a1", b"{}", now)], settings.partitions)
            await tx.execute(f'UPDATE log."{EVENTS}" SET appended_at = $1', now + timedelta(minutes=5))
        later = now + timedelta(hours=2)
        until = await placed.round(later)
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
    with pytest.raises(Unavailable, match=f"no topic .*{WATERMARK} yet"):
        await published_watermarks(kafka_settings)
    placed = WatermarkWriter(part)
    await placed.start()
    async with database.transaction() as tx:
        await append(tx, JOURNAL, [Outgoing("a1", b"{}", datetime.now(UTC))], kafka_settings.partitions)
    later, stand = datetime.now(UTC) + timedelta(hours=1), list[Watermark]()

    async def told() -> bool:
        """Its own rounds may tell of an older time in between: so again and again."""
        await placed.round(later)
        async with database.connection() as tx:
            stand[:] = await watermarks(tx)
        return {mark.until for mark in stand} == {later - MARGIN} and await published_watermarks(
            kafka_settings
        ) == stand

    await eventually(told)
    assert sum(mark.head for mark in stand) == 1
    await placed.stop()
    await part.stop()


async def test_what_was_told_before_a_restore_is_told_anew_though_an_input_is_still_unread(
    kafka_settings: Settings, database: Database
) -> None:
    await ensure_topics(kafka_settings, TOPIC_NAMES)
    part, now = ConsumerService("profile", kafka_settings, Profile(kafka_settings.zone)), datetime.now(UTC)
    await part.start()
    writer, producer = CompactedTopicWriter(kafka_settings, WATERMARK), Producer(kafka_settings)
    await database.pool.execute("UPDATE log.heads SET watermark = $2 WHERE topic = $1", JOURNAL, now)
    async with database.pool.acquire() as connection, connection.transaction():
        await keep_open(connection)
        await connection.execute("SELECT 1 FROM profile.positions WHERE reader = 'fold' FOR UPDATE")
        await producer.send(EVENTS, [Outgoing("a1", b"{}", now)])

        async def unread() -> bool:
            await writer.write(msgspec.json.encode([Watermark(0, 0, now + timedelta(days=1))]))
            begun = WatermarkWriter(
                part
            )  # anew each time: the reader may learn of the record later than the first round
            begun._writer = writer
            return await begun.round(now) is None

        await eventually(unread)
        assert {mark.until for mark in await published_watermarks(kafka_settings)} == {now}
    await producer.stop()
    await writer.stop()
    await part.stop()


async def test_what_another_release_told_is_not_taken_for_silence(kafka_settings: Settings) -> None:
    writer = CompactedTopicWriter(kafka_settings, WATERMARK)
    await writer.write(b'{"until": "now"}')
    with pytest.raises(Unavailable, match="of another release"):
        await published_watermarks(kafka_settings)
    await writer.stop()


async def tells(writer: CompactedTopicWriter) -> bool:
    await writer.write(b"[]")
    return True


async def test_a_topic_that_was_deleted_is_made_again(kafka_settings: Settings) -> None:
    writer = CompactedTopicWriter(kafka_settings, WATERMARK)
    deadline, writer._producer._deadline = writer._producer._deadline, 5.0
    await eventually(lambda: tells(writer))
    async with _admin(kafka_settings) as admin:
        await admin.delete_topics([kafka_name(kafka_settings, WATERMARK)])

    async def refused() -> bool:
        """The broker takes messages for a moment after it has said that the topic is deleted."""
        try:
            await writer.write(b"[]")
        except Unavailable:
            return True
        return False

    await eventually(refused)
    writer._producer._deadline = deadline
    await eventually(lambda: tells(writer))
    assert await published_watermarks(kafka_settings) == []
    await writer.stop()
