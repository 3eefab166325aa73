"""Messages that ended long ago go; nothing that waits does, and nothing that went is sent again."""

from typing import Any

from libs.common.replay.run import compared
from services.triggers.replay import replayable
from services.triggers.settings import Settings
from tests.integration.triggers.service import ANN, BEN, Triggers, order, serving
from tests.support import eventually

OLD = "UPDATE triggers.deliveries SET settled_at = settled_at - make_interval(days => $1) WHERE cause = $2"
WAITING = "UPDATE triggers.deliveries SET state = 'queued', next_at = now() + interval '1 hour' WHERE cause = $1"
MANY = """
INSERT INTO triggers.deliveries
  (customer, id, hook, version, channel, endpoint, state, event, cause, depth, occurred_at, settled_at)
SELECT customer, gen_random_uuid(), hook, 1, channel, endpoint, 'sent', event, 'many', 1, occurred_at, settled_at
FROM triggers.deliveries, generate_series(1, 1234) WHERE cause = 'r-old'
"""
CAPPED: dict[str, Any] = {"name": "Once", "limits": {"cap": {"count": 1, "period": "1d"}}}


async def causes(triggers: Triggers) -> list[str]:
    """Of the messages that are there, with their states."""
    rows = await triggers.database.pool.fetch("SELECT cause, state FROM triggers.deliveries ORDER BY 1, 2")
    return [f"{row['cause']} {row['state']}" for row in rows]


async def test_what_ended_long_ago_goes_and_is_never_sent_again(triggers_settings: Settings) -> None:
    async with serving(triggers_settings) as triggers:
        hook = await triggers.hook()
        await triggers.hook(**CAPPED)
        await triggers.journal(order(ANN, "recent"), order(BEN, "waiting"))
        old = order(ANN, "old")
        await triggers.journal(old)
        for days, cause in ((91, "r-old"), (91, "r-waiting"), (89, "r-recent")):
            await triggers.database.pool.execute(OLD, days, cause)
        await triggers.database.pool.execute(WAITING, "r-waiting")
        await triggers.database.pool.execute(MANY)
    kept = ["r-recent sent", "r-recent sent", "r-waiting queued", "r-waiting queued"]
    async with serving(triggers_settings) as triggers:

        async def gone() -> bool:
            return await causes(triggers) == kept

        await eventually(gone)
        assert await triggers.database.pool.fetchval("SELECT count(*) FROM triggers.message_tombstones") == 2 + 2 * 1234
        assert len((await triggers.get(f"customers/{ANN}/inbox"))["items"]) == 2
        await triggers.append(old)
        await triggers.journal(order(BEN, "next"))
        assert await causes(triggers) == ["r-next sent", "r-next withheld", *kept]
        assert await triggers.verdict(hook) == "expired"
        replayed = await compared(replayable(triggers_settings), triggers_settings, triggers_settings)
        differing = {table.table: table.differing for table in replayed.tables}
        assert differing["deliveries"] == 0, replayed.first


async def test_messages_are_kept_for_ever_where_that_is_set(triggers_settings: Settings) -> None:
    async with serving(triggers_settings) as triggers:
        await triggers.hook()
        await triggers.journal(order(ANN, "old"))
        await triggers.database.pool.execute(OLD, 4000, "r-old")
    async with serving(triggers_settings.model_copy(update={"keep_message_days": 0})) as triggers:
        await triggers.journal(order(ANN, "next"))
        assert await causes(triggers) == ["r-next sent", "r-old sent"]
