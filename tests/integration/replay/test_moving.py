"""From PostgreSQL's log to Kafka's, under load: nothing is lost, nothing counts twice, and the history is one."""

import shutil

import asyncpg
import pytest

from deploy.demo.api import Api
from deploy.local.platform import Platform
from deploy.local.ports import free_base
from libs.common.errors import Unavailable
from libs.common.log.move_to_kafka import closed, refuse_closed, refuse_unclosed
from tests.conftest import new_home
from tests.integration.replay.load import BIG, PROGRAMME, Shop, going_on
from tests.integration.replay.test_platform import rapport, replayed

pytestmark = pytest.mark.timeout(400)


async def counted(shop: Shop) -> dict[str, int]:
    """What profile has counted over all days."""
    connection = await asyncpg.connect(shop.platform.dsn)
    try:
        rows = await connection.fetch("SELECT counter, sum(count)::bigint FROM profile.counters GROUP BY 1")
        return {row[0]: row[1] for row in rows}
    finally:
        await connection.close()


async def neither_is_taken_for_the_other(platform: Platform, *, moved: bool) -> None:
    """Kafka is refused before the move, PostgreSQL after it, each with the sentence that
    says what to do."""
    connection = await asyncpg.connect(platform.dsn)
    try:
        if moved:
            await refuse_unclosed(connection)
            with pytest.raises(Unavailable, match="set RAPPORT_LOG=kafka"):
                refuse_closed(await closed(connection))
        else:
            refuse_closed(await closed(connection))
            with pytest.raises(Unavailable, match="run `rapport move-to-kafka` first"):
                await refuse_unclosed(connection)
    finally:
        await connection.close()


async def test_moved_under_load() -> None:
    home, base = new_home("rapport-move-"), free_base()
    try:
        async with Platform(home=home, port_base=base, fsync=False) as platform, Api(platform) as api:
            shop = Shop(platform, api, seed=3)
            await shop.post(shop.traffic(300))
            await shop.publish("rewards", "/v1/programmes", PROGRAMME)
            await shop.publish("triggers", "/v1/hooks", BIG)
            await neither_is_taken_for_the_other(platform, moved=False)
            platform.services["profile"].kill()  # so that some of PostgreSQL's part is read only after the move
            code, said = await rapport(shop, "move-to-kafka")
            assert code == 0, said
            assert "closed at" in said
            await neither_is_taken_for_the_other(platform, moved=True)
            await shop.refused()
        async with Platform(home=home, port_base=base, fsync=False, log="kafka") as platform, Api(platform) as api:
            shop.platform, shop.api = platform, api
            async with going_on(shop):
                await shop.post(shop.traffic(300))
                platform.services["profile"].kill()
            await shop.caught_up()
            counters = await counted(shop)
            assert counters["events"] == shop.sent
            code, said = await rapport(shop, "move-to-kafka")  # again changes nothing
            assert code == 0, said
            found = await replayed(shop)
            assert found["metrics"]["records"] >= shop.sent
    finally:
        shutil.rmtree(home, ignore_errors=True)
