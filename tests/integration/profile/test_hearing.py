"""Until when everything is heard: as far as the oldest record that profile has not read."""

from datetime import UTC, datetime, timedelta

from libs.common.db import Database
from libs.common.fold.heard import MARGIN, Hearing
from libs.common.fold.part import FoldPart
from libs.common.log.append import Outgoing, append
from libs.common.settings import Settings
from libs.common.topics import EVENTS, JOURNAL
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
