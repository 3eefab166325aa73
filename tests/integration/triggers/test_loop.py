"""A hook from draft to inbox, and what can be asked about it."""

import msgspec

from deploy.demo.programme import HOOKS
from tests.integration.triggers.service import ANN, BEN, HOOK, Triggers, event, known_as, order


async def test_an_order_becomes_a_message_that_is_seen(triggers: Triggers) -> None:
    hook = await triggers.hook()
    await triggers.journal(order(ANN, "1", snapshot=known_as(ANN, "ann")), order(BEN, "2", 20))
    (message,) = (await triggers.get("customers/user:ann/inbox"))["items"]
    assert (message["title"], message["text"], message["seen_at"]) == ("Thanks", "Thank you for $60.", None)
    assert (await triggers.get(f"customers/{BEN}/inbox"))["items"] == []
    assert await triggers.verdict(hook, "user:ann") == "sent"
    assert await triggers.verdict(hook, BEN) == "condition_false"

    path = f"customers/user:ann/inbox/{message['id']}/seen"
    first = await triggers.post(path)
    assert first["seen_at"]
    assert await triggers.post(path) == first
    assert await triggers.verdict(hook, "user:ann") == "seen"
    assert await triggers.types() == ["message.sent.v1", "message.seen.v1"]
    assert await triggers.get("triggers/summary") == {
        "queued": 0, "sent": 1, "seen": 1, "failed": 0, "withheld": {},
        "by_hook": {"Thank you": {"queued": 0, "sent": 1, "seen": 1, "failed": 0, "withheld": {}}},
    }  # fmt: skip


async def test_a_message_that_nothing_defers_is_one_fact(triggers: Triggers) -> None:
    await triggers.hook()
    await triggers.journal(order(ANN, "1"), order(ANN, "2"))
    facts = await triggers.facts()
    assert [fact["type"] for fact in facts] == ["message.sent.v1"] * 2
    assert [fact["causationid"] for fact in facts] == ["r-1", "r-2"]
    assert [fact["depth"] for fact in facts] == [1, 1]
    assert [fact["stamp"].rsplit("/", 1)[1] for fact in facts] == ["1", "2"]
    inbox = (await triggers.get(f"customers/{ANN}/inbox"))["items"]
    assert [fact["data"]["message"] for fact in facts] == [item["id"] for item in reversed(inbox)]
    measured = (await triggers.client.get("/metrics")).text
    assert 'rapport_deliveries_total{channel="inbox",outcome="sent"} 2.0' in measured
    assert (await triggers.client.get(f"/v1/customers/{ANN}/messages")).json()["counts"]["sent"] == 2


async def test_the_demos_hooks_are_taken_as_they_stand(triggers: Triggers) -> None:
    for hook in HOOKS:
        made = await triggers.post("hooks", hook, 201)
        assert {"trigger", "action", "reward", "investment"} <= made.keys()
        await triggers.post(f"hooks/{made['id']}/publish")
    listed = await triggers.get("hooks")
    assert [item["name"] for item in listed["items"]] == [hook["name"] for hook in HOOKS]


async def test_a_badge_starts_a_hook(triggers: Triggers) -> None:
    await triggers.hook(
        trigger={"event": "Badge Earned"}, action={"channel": "inbox", "text": "{{ event.properties.name }}!"}
    )
    badge = {"badge": "regular", "name": "Regular", "count": 5}
    record = event(ANN, "b")
    fact = record._replace(value=fact_value(record.value, "badge.earned.v1", "/rewards", badge))
    await triggers.journal(fact, event(BEN, "forged", "Badge Earned", properties=badge), order(BEN, "o"))
    (message,) = (await triggers.get(f"customers/{ANN}/inbox"))["items"]
    assert message["text"] == "Regular!"
    assert (await triggers.get(f"customers/{BEN}/inbox"))["items"] == []


def fact_value(value: bytes, type: str, source: str, data: dict[str, object]) -> bytes:
    """The record as a fact of another service."""
    record = msgspec.json.decode(value)
    record |= {"type": type, "source": source, "data": {**data, "customer": record["data"]["customer"]}}
    return msgspec.json.encode(record)


async def test_an_edit_is_a_draft_until_it_is_published(triggers: Triggers) -> None:
    hook = await triggers.hook()
    cheaper = {**HOOK, "trigger": {"event": "Order Completed", "when": "event.properties.revenue > 10"}}
    edited = await triggers.put(f"hooks/{hook}", cheaper)
    assert (edited["version"], edited["live_version"], edited["status"]) == (2, 1, "live")
    assert (await triggers.put(f"hooks/{hook}", cheaper))["version"] == 2
    await triggers.journal(order(ANN, "1", 20))
    assert await triggers.verdict(hook) == "condition_false"
    await triggers.post(f"hooks/{hook}/publish")
    assert await triggers.verdict(hook) == "another_version"
    await triggers.journal(order(ANN, "2", 20))
    assert await triggers.verdict(hook) == "sent"
    read = await triggers.get(f"hooks/{hook}")
    assert [each["version"] for each in read["versions"]] == [2, 1]
    assert read["versions"][1]["hook"]["trigger"]["when"] == "event.properties.revenue > 50"
