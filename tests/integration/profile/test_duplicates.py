"""A record counts once: within a batch, across batches, restarts and weeks; and a dead-lettered one not at all."""

from datetime import UTC, timedelta

import msgspec
import pytest

from libs.common.db.pool import Database
from libs.common.errors import Conflict
from libs.common.settings import Settings
from services.profile import dedup_partitions, queries
from services.profile.dedup_partitions import Housekeeping
from services.profile.handler import Profile
from services.profile.store import week_of
from tests.integration.profile.said import NOON, apply, batch_of, journal, running, said, tell

ORDER = {"order_id": "o1", "revenue": 29.33}


async def test_duplicates_are_dropped_and_counted_also_after_a_restart(settings: Settings) -> None:
    order = said(user="u1", message="m1", event="Order Completed", properties=ORDER)
    async with running(settings) as part:
        await tell(part, order, order)
        await tell(part, order)
    async with running(settings) as part:
        await tell(part, order, said(user="u1", message="m2", source="/apps/other"))
        assert len(await journal(part)) == 2
        async with part.read() as tx:
            totals = await queries.summary(tx)
        assert (totals["duplicates"], totals["events"]) == (3, 2)
        assert totals["duplicates_by_source"] == {"/apps/test": 3}


async def test_one_messageid_for_an_order_and_its_refund_is_two_events(settings: Settings) -> None:
    async with running(settings) as part:
        await tell(
            part,
            said(user="u1", message="o1", event="Order Completed", properties=ORDER),
            said(user="u1", message="o1", event="Order Refunded", properties=ORDER),
        )
        assert len(await journal(part)) == 2


async def test_a_retry_four_weeks_later_is_a_duplicate(database: Database) -> None:
    profile = Profile(UTC)
    for week in range(5):
        late = said(user="u1", message="m1", received=NOON + timedelta(weeks=week))
        outgoing = await apply(database, profile, batch_of(3, [late]))
        assert len(outgoing) == (week == 0)


async def test_weeks_are_made_ahead_and_dropped_after_five(settings: Settings) -> None:
    async with running(settings) as part:
        await tell(part, said(user="u1", message="m1"))
        housekeeping = Housekeeping(part)
        assert await housekeeping.keep(NOON + timedelta(weeks=5)) == []
        assert await housekeeping.keep(NOON + timedelta(weeks=6)) == [dedup_partitions.table_of(week_of(NOON))]
        async with part.read() as tx:
            tables = {
                row[0] for row in await tx.fetch("SELECT relname FROM pg_class WHERE relname ~ '^dedup_keys_.*[0-9]$'")
            }
        assert tables == {dedup_partitions.table_of(week_of(NOON + timedelta(weeks=week))) for week in (5, 6, 7)}
        await tell(part, said(user="u1", message="m2"))  # of a week that was dropped behind our back
        assert len(await journal(part)) == 2


async def test_poison_goes_to_the_dead_letters_alone_and_its_mended_replay_is_no_duplicate(settings: Settings) -> None:
    poison = said(user="u1", message="m1", event="Order Completed", properties={"order_id": "o1", "revenue": "abc"})
    async with running(settings) as part:
        await tell(part, said(user="u1", message="m0"), poison, said(user="u1", message="m2"))
        assert [record["data"]["messageId"] for record in await journal(part)] == ["m0", "m2"]
        (letter,) = await part.dead_letters.page(True, 10, None)
        assert "revenue" in letter["error"]
        with pytest.raises(Conflict):
            await part.dead_letters.replay(next(iter(await part.dead_letters.waiting())), "ann")
        data = msgspec.json.decode(poison.value)["data"]
        (id,) = await part.dead_letters.waiting()
        await part.dead_letters.replay(id, "ann", {**data, "properties": ORDER})
        last = (await journal(part))[-1]
        assert (last["data"]["messageId"], last["data"]["customer"]["revenue"]) == ("m1", {"USD": 29.33})
        await tell(part, said(user="u1", message="m1", event="Order Completed", properties=ORDER))
        assert len(await journal(part)) == 3


async def test_an_event_sent_again_under_another_anonymousid_stops_nobody(settings: Settings) -> None:
    """Two partitions bring it; in each it makes a customer of its own."""
    async with running(settings) as part:
        await tell(part, said("page", device="a1", message="m1"))
        await tell(part, said("page", device="b2", message="m1"))
        assert len({record["key"] for record in await journal(part)}) == 2
        await tell(part, said("page", device="a3", message="m2"), said("page", device="b4", message="m2"))
        assert len({record["key"] for record in await journal(part)}) == 4
