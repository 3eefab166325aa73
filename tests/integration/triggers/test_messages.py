"""Inboxes, opting out, caps and merges over a real fold."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.common.log.append import Outgoing
from tests.integration.triggers.service import ANN, BEN, Triggers, known_as, order
from tests.support import eventually, journal_record

DAY = timedelta(days=1)
LAST_YEAR = datetime(2025, 6, 1, 12, tzinfo=UTC)
HISTORY = {"limits": {"history": True}}


def merge(other: str, into: str) -> list[Outgoing]:
    """What profile writes when `other` turns out to be `into`."""
    left = journal_record(other, {"into": into}, id=f"left-{other}", type="customer.left.v1", source="/profile")
    merged = journal_record(into, {"other": other}, id=f"merged-{other}", type="customer.merged.v1", source="/profile")
    return [left, merged]


async def test_an_inbox_is_paged_newest_first(triggers: Triggers) -> None:
    await triggers.hook(action={"channel": "inbox", "text": "{{ event.properties.order_id }}"})
    for number in range(7):
        await triggers.journal(order(ANN, str(number)))
    texts: list[str] = []
    page = await triggers.get(f"customers/{ANN}/inbox", limit=3)
    texts += [item["text"] for item in page["items"]]
    while page["next"]:
        page = await triggers.get(f"customers/{ANN}/inbox", limit=3, cursor=page["next"])
        texts += [item["text"] for item in page["items"]]
    assert texts == [str(number) for number in reversed(range(7))]


async def test_what_cannot_be_answered(triggers: Triggers) -> None:
    await triggers.journal(order(ANN, "1"))
    for path, status, said in (
        (f"customers/{BEN}/inbox", 404, "no customer"),
        ("customers/user:nobody/messages", 404, "no customer"),
        ("customers/bob/inbox", 422, "is not a customer"),
        (f"customers/{ANN}/inbox?cursor=abc", 422, "The cursor is not valid"),
        (f"customers/{ANN}/inbox?cursor=!!!", 422, "The cursor is not valid"),
        (f"customers/{ANN}/inbox?limit=0", 422, "query.limit"),
    ):
        response = await triggers.client.get(f"/v1/{path}")
        assert response.status_code == status, path
        assert said in response.json()["detail"]


async def test_only_ones_own_messages_can_be_seen(triggers: Triggers) -> None:
    await triggers.hook()
    await triggers.journal(order(ANN, "1"), order(BEN, "2", 1))
    (message,) = (await triggers.get(f"customers/{ANN}/inbox"))["items"]
    problem = await triggers.post(f"customers/{BEN}/inbox/{message['id']}/seen", status=404)
    assert "There is no message" in problem["detail"]
    path = f"customers/{ANN}/inbox/{message['id']}/seen"
    answers = await asyncio.gather(*(triggers.post(path) for _ in range(5)))
    assert len({answer["seen_at"] for answer in answers}) == 1
    assert (await triggers.types()).count("message.seen.v1") == 1


async def test_opting_out_and_in_is_idempotent(triggers: Triggers) -> None:
    await triggers.hook()
    await triggers.journal(order(ANN, "1", snapshot=known_as(ANN, "ann")))
    first = await triggers.post("customers/user:ann/messages/off")
    assert first["messages"] == "off"
    assert await triggers.post("customers/user:ann/messages/off") == first
    await triggers.journal(order(ANN, "2"))
    shown = await triggers.get("customers/user:ann/messages")
    assert shown["counts"] == {"queued": 0, "sent": 1, "failed": 0, "withheld": 1}
    assert shown["off_since"] == first["off_since"]
    for _ in range(2):
        assert (await triggers.post("customers/user:ann/messages/on"))["messages"] == "on"
    types = await triggers.types()
    assert (types.count("opted.out.v1"), types.count("opted.in.v1")) == (1, 1)


async def test_an_idempotency_key_answers_the_same(triggers: Triggers) -> None:
    await triggers.journal(order(ANN, "1"))
    key = {"Idempotency-Key": "k1"}
    first = await triggers.client.post(f"/v1/customers/{ANN}/messages/off", headers=key)
    await triggers.post(f"customers/{ANN}/messages/on")
    again = await triggers.client.post(f"/v1/customers/{ANN}/messages/off", headers=key)
    assert again.json() == first.json()
    assert (await triggers.get(f"customers/{ANN}/messages"))["messages"] == "on"


async def test_history_and_caps_by_when_it_happened(triggers: Triggers) -> None:
    accepts = await triggers.hook(limits={"cap": {"count": 2, "period": "30d"}, "history": True})
    await triggers.hook(name="Only news")
    late = datetime.now(UTC) - LAST_YEAR
    orders = [order(ANN, str(day), time=LAST_YEAR + day * DAY, late=late) for day in (0, 5, 20, 31, 40, 62)]
    await triggers.journal(*orders)
    summary = await triggers.get("triggers/summary")
    assert summary["by_hook"] == {
        "Thank you": {"queued": 0, "sent": 5, "seen": 0, "failed": 0, "withheld": {"cap": 1}},
        "Only news": {"queued": 0, "sent": 0, "seen": 0, "failed": 0, "withheld": {"history": 6}},
    }
    until = await triggers.get("triggers/summary", until="2025-06-06")
    assert (until["sent"], until["withheld"]) == (2, {"history": 2})
    assert (await triggers.get("triggers/summary", until="9999-12-31"))["sent"] == 5
    assert await triggers.verdict(accepts) == "sent"


async def test_freshness_is_asked_again_by_the_clock(triggers: Triggers) -> None:
    """Received at once, but folded two hours later: the message comes too late, and the cause's time counts it."""
    hook = await triggers.hook()
    await triggers.journal(order(ANN, "1", time=datetime.now(UTC) - timedelta(hours=2)))
    answer = await triggers.why(hook)
    assert (answer["verdict"], answer["details"]["reason"]) == ("withheld", "history")
    assert await triggers.types() == ["message.queued.v1", "message.withheld.v1"]
    assert (await triggers.get(f"customers/{ANN}/inbox"))["items"] == []


async def test_a_day_ends_where_the_workspace_is(triggers: Triggers) -> None:
    await triggers.hook(**HISTORY)
    await triggers.journal(order(ANN, "1", time=datetime(2025, 6, 1, 23, 59, 59, tzinfo=UTC)))
    await triggers.journal(order(ANN, "2", time=datetime(2025, 6, 2, tzinfo=UTC)))
    assert (await triggers.get("triggers/summary", until="2025-06-01"))["sent"] == 1
    assert (await triggers.get("triggers/summary", until="2025-06-02"))["sent"] == 2


async def test_a_merge_moves_messages_caps_and_the_opt_out(triggers: Triggers) -> None:
    hook = await triggers.hook(limits={"cap": {"count": 2, "period": "30d"}})
    await triggers.journal(order(ANN, "1"), order(BEN, "2"))
    await triggers.journal(*merge(ANN, BEN))
    texts = [item["text"] for item in (await triggers.get(f"customers/{BEN}/inbox"))["items"]]
    assert len(texts) == 2
    assert await triggers.get(f"customers/{ANN}/inbox") == await triggers.get(f"customers/{BEN}/inbox")
    await triggers.journal(order(BEN, "3"))
    assert (await triggers.why(hook, ANN))["details"]["reason"] == "cap"
    for message in (await triggers.get(f"customers/{BEN}/inbox"))["items"]:
        assert (await triggers.post(f"customers/{ANN}/inbox/{message['id']}/seen"))["seen_at"]
    assert (await triggers.get("triggers/summary"))["seen"] == 2


@pytest.mark.parametrize("who", [ANN, BEN])
async def test_after_a_merge_the_stricter_opt_out_holds(triggers: Triggers, who: str) -> None:
    hook = await triggers.hook()
    await triggers.journal(order(ANN, "1", 1), order(BEN, "2", 1))
    await triggers.post(f"customers/{who}/messages/off")
    await triggers.journal(*merge(ANN, BEN))
    await triggers.journal(order(BEN, "3"))
    assert await triggers.verdict(hook, BEN) == "opted_out"


async def test_what_is_queued_when_its_customer_leaves_is_still_sent_once(triggers: Triggers) -> None:
    """Delivery is held up by a lock on A's row while the merge is written."""
    hook = await triggers.hook()
    await triggers.journal(order(ANN, "0", 1))
    await triggers.database.pool.execute(
        "INSERT INTO triggers.deliveries (customer, id, hook, version, channel, endpoint, state, text, event, cause, depth,"
        " occurred_at) VALUES ($1, gen_random_uuid(), $2, 1, 'inbox', 'inbox', 'queued', 'Hi', 'Order Completed', 'x', 1,"
        " now() + interval '1 hour')",
        ANN,
        hook,
    )
    await triggers.append(*merge(ANN, BEN))

    async def arrived() -> Any:
        return (await triggers.client.get(f"/v1/customers/{BEN}/inbox")).json().get("items")

    (message,) = await eventually(arrived)
    assert message["text"] == "Hi"
    sent = [fact for fact in await triggers.facts() if fact["type"] == "message.sent.v1"]
    assert len(sent) == 1


async def test_thousands_of_messages(triggers: Triggers) -> None:
    await triggers.hook(**HISTORY)
    customers = [f"{number:08d}-1111-8111-8111-111111111111" for number in range(500)]
    for batch in range(4):
        await triggers.append(*(order(customer, f"{batch}-{customer}") for customer in customers))
    await triggers.settled()
    summary = await triggers.get("triggers/summary")
    assert (summary["sent"], summary["queued"], summary["withheld"]) == (2000, 0, {})
    facts = await triggers.facts()
    assert len(facts) == len({fact["id"] for fact in facts}) == 2000
    by_customer: dict[str, list[str]] = {}
    for fact in facts:
        by_customer.setdefault(fact["subject"], []).append(fact["stamp"])
    for stamps in by_customer.values():
        assert [int(stamp.rsplit("/", 1)[1]) for stamp in stamps] == list(range(1, 5))
