"""Until when everything is heard: as far as the oldest record that profile has not read."""

from datetime import UTC, datetime, timedelta

import pytest

from libs.common.db import Database
from libs.common.errors import Unavailable
from libs.common.fold.heard import MARGIN, Hearing, marks, marks_told
from libs.common.fold.part import FoldPart
from libs.common.log.append import Outgoing, append
from libs.common.log.kafka import ensure_topics
from libs.common.settings import Settings
from libs.common.topics import EVENTS, HEARD, JOURNAL, NAMES
from services.profile.handler import Profile
from tests.support import eventually


async def test_it_moves_when_all_is_read_and_waits_for_the_oldest_unread(
    settings: Settings, database: Database
) -> None:
    part = FoldPart("profile", settings, Profile(settings.zone))
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
    await ensure_topics(kafka_settings, NAMES)
    part = FoldPart("profile", kafka_settings, Profile(kafka_settings.zone))
    await part.start()
    with pytest.raises(Unavailable, match=f"no topic .*{HEARD} yet"):
        await marks_told(kafka_settings)
    hearing = Hearing(part)
    await hearing.start()
    async with database.transaction() as tx:
        await append(tx, JOURNAL, [Outgoing("a1", b"{}", datetime.now(UTC))], kafka_settings.partitions)
    later = datetime.now(UTC) + timedelta(hours=1)

    async def all_read() -> bool:
        return await hearing.round(later) == later - MARGIN

    await eventually(all_read)
    async with database.connection() as tx:
        wanted = await marks(tx)
    assert sum(mark.head for mark in wanted) == 1
    assert {mark.until for mark in wanted} == {later - MARGIN}
    assert await marks_told(kafka_settings) == wanted
    await hearing.stop()
    await part.stop()
