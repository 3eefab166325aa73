"""A record counts once: within a batch, across batches, restarts and weeks; and a dead-lettered one not at all."""

from datetime import UTC, timedelta

import msgspec

from libs.common.contracts.ingest import EVENTS
from libs.common.db.pool import Database
from libs.common.settings import Settings
from services.profile import dedup_partitions
from services.profile.dedup_partitions import Housekeeping
from services.profile.handler import Profile as Handler
from services.profile.settings import Settings as ProfileSettings
from services.profile.store import week_of
from tests.client import append_to, is_caught_up
from tests.integration.profile.service import NOON, Profile, apply, batch_of, event, serving, started
from tests.support import eventually

ORDER = {"order_id": "o1", "revenue": 29.33}


async def test_duplicates_are_dropped_and_counted_also_after_a_restart(profile_settings: ProfileSettings) -> None:
    order = event(user="u1", message="m1", event="Order Completed", properties=ORDER)
    async with serving(profile_settings) as profile:
        await profile.tell(order, order)
        await profile.tell(order)
    async with serving(profile_settings) as profile:
        await profile.tell(order, event(user="u1", message="m2", source="/apps/other"))
        assert len(await profile.records()) == 2
        totals = await profile.summary()
        assert (totals["duplicates"], totals["events"]) == (3, 2)
        assert totals["duplicates_by_source"] == {"/apps/test": 3}


async def test_one_messageid_for_an_order_and_its_refund_is_two_events(profile: Profile) -> None:
    await profile.tell(
        event(user="u1", message="o1", event="Order Completed", properties=ORDER),
        event(user="u1", message="o1", event="Order Refunded", properties=ORDER),
    )
    assert len(await profile.records()) == 2


async def test_a_retry_four_weeks_later_is_a_duplicate(database: Database) -> None:
    handler = Handler(UTC, 8)
    for week in range(5):
        late = event(user="u1", message="m1", received=NOON + timedelta(weeks=week))
        outgoing = await apply(database, handler, batch_of(3, [late]))
        assert len(outgoing) == (week == 0)


async def test_weeks_are_made_ahead_and_dropped_after_five(settings: Settings, database: Database) -> None:
    async with started(settings) as part:
        await append_to(database, EVENTS, event(user="u1", message="m1", received=NOON))
        await eventually(lambda: is_caught_up(database, "profile"))
        housekeeping = Housekeeping(part)
        assert await housekeeping.keep(NOON + timedelta(weeks=5)) == []
        assert await housekeeping.keep(NOON + timedelta(weeks=6)) == [dedup_partitions.table_of(week_of(NOON))]
        rows = await database.pool.fetch("SELECT relname FROM pg_class WHERE relname ~ '^dedup_keys_.*[0-9]$'")
        weeks = {dedup_partitions.table_of(week_of(NOON + timedelta(weeks=week))) for week in (5, 6, 7)}
        assert {row["relname"] for row in rows} == weeks
        # an event of the week whose table was just dropped
        await append_to(database, EVENTS, event(user="u1", message="m2", received=NOON))
        await eventually(lambda: is_caught_up(database, "profile"))
        assert await database.pool.fetchval('SELECT count(*) FROM log."profile.journal"') == 2


async def test_only_poison_is_dead_lettered_and_its_mended_replay_is_no_duplicate(profile: Profile) -> None:
    poison = event(user="u1", message="m1", event="Order Completed", properties={"order_id": "o1", "revenue": "abc"})
    await profile.tell(event(user="u1", message="m0"), poison, event(user="u1", message="m2"))
    assert [record["data"]["messageId"] for record in await profile.records()] == ["m0", "m2"]
    (letter,) = (await profile.get("profile/dead-letters"))["items"]
    assert "revenue" in letter["error"]
    await profile.post(f"profile/dead-letters/{letter['id']}/replay", status=409)
    mended = {**msgspec.json.decode(poison.value)["data"], "properties": ORDER}
    await profile.post(f"profile/dead-letters/{letter['id']}/replay", {"data": mended})
    last = (await profile.records())[-1]
    assert (last["data"]["messageId"], last["data"]["customer"]["revenue"]) == ("m1", {"USD": 29.33})
    await profile.tell(event(user="u1", message="m1", event="Order Completed", properties=ORDER))
    assert len(await profile.records()) == 3


async def test_an_event_sent_again_under_another_anonymousid_blocks_no_partition(profile: Profile) -> None:
    """Two partitions bring it; in each it makes a customer of its own."""
    await profile.tell(event("page", device="a1", message="m1"))
    await profile.tell(event("page", device="b2", message="m1"))
    assert len({record["key"] for record in await profile.records()}) == 2
    await profile.tell(event("page", device="a3", message="m2"), event("page", device="b4", message="m2"))
    assert len({record["key"] for record in await profile.records()}) == 4
