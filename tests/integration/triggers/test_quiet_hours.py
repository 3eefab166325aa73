"""Messages that wait for the end of quiet hours, over a real fold and real deliveries."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.triggers.receiver import Receiver
from tests.integration.triggers.service import ANN, BEN, HOOK, Triggers, known_as, order
from tests.integration.triggers.test_messages import merge
from tests.integration.triggers.test_webhooks import hook_to
from tests.support import eventually

HOUR = timedelta(hours=1)


def now_quiet(begun: int = 1, lasts: int = 3) -> dict[str, str]:
    """Quiet hours that began `begun` hours ago, in UTC."""
    start = datetime.now(UTC) - begun * HOUR
    return {"from": f"{start:%H:%M}", "to": f"{start + lasts * HOUR:%H:%M}"}


LATER = now_quiet(begun=-3)


async def waiting(triggers: Triggers) -> list[Any]:
    rows: list[Any] = await triggers.database.pool.fetch(
        "SELECT * FROM triggers.deliveries WHERE state = 'queued' ORDER BY occurred_at"
    )
    return rows


async def over(triggers: Triggers) -> None:
    """As if the night were over: what waits is due, and its quiet hours are others."""
    await triggers.database.pool.execute(
        "UPDATE triggers.deliveries SET next_at = now(), not_before = now(), quiet_hours ="
        " jsonb_build_object('from', $1::text, 'to', $2::text, 'zone', 'UTC')::text WHERE state = 'queued'",
        LATER["from"] + ":00",
        LATER["to"] + ":00",
    )


async def test_a_message_waits_for_the_end_and_is_then_sent(triggers: Triggers) -> None:
    hook = await triggers.hook(limits={"quiet_hours": now_quiet()})
    at_once = await triggers.hook(name="At once", limits={"quiet_hours": "none"})
    await triggers.journal(order(ANN, "1"))
    (row,) = await waiting(triggers)
    end = row["not_before"]
    assert HOUR < end - datetime.now(UTC) < 2 * HOUR
    assert (row["next_at"], row["attempts"]) == (end, 0)
    answer = await triggers.why(hook)
    assert answer["verdict"] == "queued"
    assert f"waits until {end:%Y-%m-%d %H:%M:%S} UTC, when the quiet hours end (" in answer["sentence"]
    assert await triggers.verdict(at_once) == "sent"
    tried = await triggers.post(f"hooks/{hook}/test", {"event": {"properties": {"revenue": 60}}})
    assert (tried["verdict"], "when the quiet hours end" in tried["sentence"]) == ("would_send", True)
    await over(triggers)
    await triggers.expect(hook, "sent")
    assert (await triggers.types()).count("message.sent.v1") == 2


async def test_what_became_of_a_message_that_waited_follows_from_the_fact_that_queued_it(triggers: Triggers) -> None:
    await triggers.hook(limits={"quiet_hours": now_quiet()})
    await triggers.journal(order(ANN, "1"))
    await over(triggers)
    await triggers.settled()
    queued, sent = await triggers.facts()
    assert (queued["type"], sent["type"]) == ("message.queued.v1", "message.sent.v1")
    assert queued["causationid"] == "r-1"
    assert sent["causationid"] == queued["id"]
    assert (queued["depth"], sent["depth"]) == (1, 2)
    assert [fact["stamp"].rsplit("/", 1)[1] for fact in (queued, sent)] == ["1", "2"]
    assert queued["data"] == sent["data"]


async def test_it_waits_longer_than_the_hook_takes_events_for_new(triggers: Triggers) -> None:
    hook = await triggers.hook(limits={"quiet_hours": now_quiet(), "freshness": "1h"})
    await triggers.journal(order(ANN, "1"))
    await triggers.database.pool.execute(
        "UPDATE triggers.deliveries SET occurred_at = occurred_at - interval '9 hours'"
    )
    await over(triggers)
    await triggers.expect(hook, "sent")
    # but what could not be sent for long after their end is no news any more
    await triggers.journal(order(BEN, "2"))
    await triggers.database.pool.execute(
        "UPDATE triggers.deliveries SET next_at = now(), not_before = now() - interval '2 hours',"
        " occurred_at = occurred_at - interval '12 hours' WHERE state = 'queued'"
    )
    answer = await triggers.expect(hook, "withheld", customer=BEN)
    assert (answer["details"]["reason"], "after the quiet hours ended" in answer["sentence"]) == ("history", True)


async def test_the_clock_is_asked_once_more_before_it_is_sent(triggers: Triggers) -> None:
    """Decided by day, due by night: as for a retry, or when delivery was away."""
    with Receiver() as receiver:
        inbox = await triggers.hook(name="Inbox")
        made = await triggers.post("hooks", hook_to(receiver.url, limits={"quiet_hours": LATER}), 201)
        await triggers.post(f"hooks/{made['id']}/publish")
        await triggers.post(f"hooks/{inbox}/pause")
        receiver.answers = [500, 200]
        await triggers.append(order(ANN, "1"))

        async def failed() -> bool:
            rows = await waiting(triggers)
            return bool(rows and rows[0]["attempts"] == 1 and rows[0]["lease"] is None)

        await eventually(failed)
        hours = now_quiet()
        await triggers.database.pool.execute(
            "UPDATE triggers.deliveries SET next_at = now(), quiet_hours ="
            " jsonb_build_object('from', $1::text, 'to', $2::text, 'zone', 'UTC')::text",
            hours["from"] + ":00",
            hours["to"] + ":00",
        )

        async def postponed() -> bool:
            (row,) = await waiting(triggers)
            return row["not_before"] is not None and row["lease"] is None

        await eventually(postponed)
        (row,) = await waiting(triggers)
        assert row["attempts"] == 1  # waiting is no attempt
        assert HOUR < row["next_at"] - datetime.now(UTC) < 2 * HOUR
        assert len(receiver.came) == 1
        await over(triggers)
        await triggers.expect(made["id"], "sent")
        assert list(receiver.ids.values()) == [2]


async def test_an_inbox_message_due_in_the_night_is_postponed(triggers: Triggers) -> None:
    hook = await triggers.hook(limits={"quiet_hours": now_quiet()})
    await triggers.journal(order(ANN, "1"))
    end = (await waiting(triggers))[0]["not_before"]
    await triggers.database.pool.execute("UPDATE triggers.deliveries SET next_at = now(), not_before = NULL")
    await triggers.settled()
    (row,) = await waiting(triggers)
    assert (row["next_at"], row["not_before"], row["attempts"], row["lease"]) == (end, end, 0, None)
    assert await triggers.verdict(hook) == "queued"


async def test_what_waits_is_withheld_by_a_pause_and_by_opting_out(triggers: Triggers) -> None:
    hook = await triggers.hook(limits={"quiet_hours": now_quiet()})
    await triggers.journal(order(ANN, "1"), order(BEN, "2"))
    await triggers.post(f"customers/{ANN}/messages/off")
    await triggers.database.pool.execute("UPDATE triggers.deliveries SET next_at = now() WHERE customer = $1", ANN)
    await triggers.post(f"hooks/{hook}/pause")
    await triggers.expect(hook, "withheld", customer=BEN)
    await triggers.expect(hook, "withheld", "opted_out")
    assert await waiting(triggers) == []


async def test_what_waits_goes_with_its_customer(triggers: Triggers) -> None:
    hook = await triggers.hook(limits={"quiet_hours": now_quiet()})
    await triggers.journal(order(ANN, "1", snapshot=known_as(ANN, "ann")), order(BEN, "2"), *merge(BEN, ANN))
    assert {row["customer"] for row in map(dict, await waiting(triggers))} == {(await waiting(triggers))[0]["customer"]}
    await over(triggers)
    await triggers.settled()
    assert len((await triggers.get("customers/user:ann/inbox"))["items"]) == 2
    assert (await triggers.get("triggers/summary"))["by_hook"][HOOK["name"]]["sent"] == 2
    assert await triggers.verdict(hook) == "sent"


async def test_the_workspaces_quiet_hours(triggers: Triggers) -> None:
    hook = await triggers.hook()
    limits = {"daily_cap": None, "quiet_hours": now_quiet()}
    assert await triggers.put("workspace/messages", limits) == limits
    assert await triggers.get("workspace/messages") == limits
    await triggers.journal(order(ANN, "1"))
    assert "when the quiet hours end" in (await triggers.why(hook))["sentence"]
    assert await triggers.put("workspace/messages", {"daily_cap": None}) == {"daily_cap": None, "quiet_hours": None}
    await triggers.journal(order(BEN, "2"))
    assert await triggers.verdict(hook, BEN) == "sent"
    wrong = await triggers.put(
        "workspace/messages", {"daily_cap": None, "quiet_hours": {"from": "25:00", "to": "1"}}, 422
    )
    assert "quiet_hours.from" in wrong["detail"]
