"""The watermark: it stands at the oldest record that profile has not read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import JOURNAL, WATERMARK
from libs.common.contracts.registry import TOPIC_NAMES
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.fold.watermark import MARGIN, Watermark, WatermarkWriter, published_watermarks, watermarks
from libs.common.log.append import Outgoing, append
from libs.common.log.kafka import ensure_topics
from libs.common.log.kafka.compacted_topic import CompactedTopicWriter
from libs.common.log.kafka.producer import Producer
from libs.common.log.kafka.topics import admin_client, kafka_name
from libs.common.settings import Settings
from tests.client import append_to
from tests.integration.profile.service import started
from tests.support import eventually, keep_open


@asynccontextmanager
async def running(writer: WatermarkWriter) -> AsyncIterator[WatermarkWriter]:
    await writer.start()
    try:
        yield writer
    finally:
        await writer.stop()


async def test_it_moves_when_all_is_read_and_waits_for_the_oldest_unread(
    settings: Settings, database: Database
) -> None:
    async def stored() -> set[datetime]:
        rows = await database.pool.fetch("SELECT watermark FROM log.heads WHERE topic = $1", JOURNAL)
        return {row[0] for row in rows}

    async with started(settings) as part:
        writer = WatermarkWriter(part)
        assert await stored() == {None}
        now = datetime.now(UTC)

        async def all_read() -> bool:
            return await writer.round(now) == now - MARGIN

        await eventually(all_read)
        assert await stored() == {now - MARGIN}
        async with database.pool.acquire() as connection, connection.transaction():
            await keep_open(connection)
            await connection.execute("SELECT 1 FROM profile.positions WHERE reader = 'fold' FOR UPDATE")
            async with database.transaction() as tx:
                await append(tx, EVENTS, [Outgoing("a1", b"{}", now)], settings.partitions)
                await tx.execute(f'UPDATE log."{EVENTS}" SET appended_at = $1', now + timedelta(minutes=5))
            later = now + timedelta(hours=2)
            until = await writer.round(later)
            assert until is not None
            assert until <= later - MARGIN
            lag = max((await part.fold.lag()).values(), key=lambda lag: lag.records)
            assert lag.records == 1
            assert await stored() == {until}


async def test_over_kafka_it_publishes_what_stands_at_the_heads(kafka_settings: Settings, database: Database) -> None:
    await ensure_topics(kafka_settings, TOPIC_NAMES)
    async with started(kafka_settings) as part:
        with pytest.raises(Unavailable, match=f"no topic .*{WATERMARK} yet"):
            await published_watermarks(kafka_settings)
        async with running(WatermarkWriter(part)) as writer:
            await append_to(database, JOURNAL, Outgoing("a1", b"{}", datetime.now(UTC)))
            later, stored = datetime.now(UTC) + timedelta(hours=1), list[Watermark]()

            async def published() -> bool:
                """Its own rounds may publish an earlier time in between: so again and again."""
                await writer.round(later)
                async with database.connection() as tx:
                    stored[:] = await watermarks(tx)
                return {mark.until for mark in stored} == {later - MARGIN} and await published_watermarks(
                    kafka_settings
                ) == stored

            await eventually(published)
            assert sum(mark.head for mark in stored) == 1


async def test_what_was_published_before_a_restore_is_replaced_though_an_input_is_still_unread(
    kafka_settings: Settings, database: Database
) -> None:
    await ensure_topics(kafka_settings, TOPIC_NAMES)
    restored = datetime.now(UTC) + timedelta(days=1)  # later than the writer's own rounds can move it
    publisher, producer = CompactedTopicWriter(kafka_settings, WATERMARK), Producer(kafka_settings)
    async with started(kafka_settings) as part:
        await database.pool.execute("UPDATE log.heads SET watermark = $2 WHERE topic = $1", JOURNAL, restored)
        async with database.pool.acquire() as connection, connection.transaction():
            await keep_open(connection)
            await connection.execute("SELECT 1 FROM profile.positions WHERE reader = 'fold' FOR UPDATE")
            await producer.send(EVENTS, [Outgoing("a1", b"{}", datetime.now(UTC))])

            async def unread() -> bool:
                """With a new writer each time, because the reader may learn of the record after the first round."""
                await publisher.write(msgspec.json.encode([Watermark(0, 0, restored + timedelta(days=1))]))
                async with running(WatermarkWriter(part)) as writer:
                    return await writer.round(restored) is None

            await eventually(unread)
            assert {mark.until for mark in await published_watermarks(kafka_settings)} == {restored}
        await producer.stop()
        await publisher.stop()


async def test_a_message_of_another_release_is_unavailable(kafka_settings: Settings) -> None:
    writer = CompactedTopicWriter(kafka_settings, WATERMARK)
    await writer.write(b'{"until": "now"}')
    with pytest.raises(Unavailable, match="from another release"):
        await published_watermarks(kafka_settings)
    await writer.stop()


async def test_a_topic_that_was_deleted_is_made_again(kafka_settings: Settings) -> None:
    writer = CompactedTopicWriter(kafka_settings, WATERMARK, deadline=5.0)

    async def writes() -> bool:
        await writer.write(b"[]")
        return True

    async def refused() -> bool:
        """The broker takes messages for a moment after it has said that the topic is deleted."""
        try:
            await writer.write(b"[]")
        except Unavailable:
            return True
        return False

    await eventually(writes)
    async with admin_client(kafka_settings) as admin:
        await admin.delete_topics([kafka_name(kafka_settings, WATERMARK)])
    await eventually(refused)
    await eventually(writes)
    assert await published_watermarks(kafka_settings) == []
    await writer.stop()
