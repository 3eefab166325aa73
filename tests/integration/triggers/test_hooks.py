"""Hooks over REST: what is refused and how it is said, warnings, pages, the workspace's limit; dead letters."""

import asyncio
from typing import Any

import msgspec

from tests.integration.triggers.service import ANN, HOOK, Triggers, event, order

REFUSED: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (
        {"trigger": {"event": "E", "when": "event.properties.revenue >"}},
        "trigger.when at line 1",
        {"at": "trigger.when", "line": 1},
    ),
    (
        {"action": {"channel": "inbox", "text": "Hi {{ customer.traits.name"}},
        "action.text at line 1",
        {"at": "action.text", "line": 1},
    ),
    (
        {"action": {"channel": "webhook", "text": "Hi", "url": "http://10.0.0.1/"}},
        "10.0.0.1 is not a public address",
        {"at": "action.url"},
    ),
    ({"limits": {"freshness": "soon"}}, "a duration is a number and s, m, h, d or w", {}),
    ({"action": {"channel": "webhook", "text": "Hi"}}, "a webhook needs a url", {}),
    ({"nmae": "x"}, "body.nmae", {}),
]


async def test_what_is_refused(triggers: Triggers) -> None:
    for changes, said, place in REFUSED:
        response = await triggers.client.post("/v1/hooks", json={**HOOK, **changes})
        problem = response.json()
        assert response.status_code == 422
        assert said in problem["detail"]
        assert place.items() <= problem["errors"][0].items()
    assert (await triggers.get("hooks"))["items"] == []


async def test_names_tell_hooks_apart(triggers: Triggers) -> None:
    await triggers.hook()
    assert "already" in (await triggers.post("hooks", HOOK, 409))["detail"]
    other = await triggers.hook(name="Other")
    assert "already" in (await triggers.put(f"hooks/{other}", HOOK, 409))["detail"]


async def test_what_was_never_published_cannot_be_paused(triggers: Triggers) -> None:
    made = await triggers.post("hooks", HOOK, 201)
    assert "never published" in (await triggers.post(f"hooks/{made['id']}/pause", status=409))["detail"]
    assert "never published" in (await triggers.post(f"hooks/{made['id']}/resume", status=409))["detail"]


async def test_the_same_again_changes_nothing(triggers: Triggers) -> None:
    hook = await triggers.hook()
    numbers = "SELECT count(*) FROM triggers.rulebooks"
    assert await triggers.database.pool.fetchval(numbers) == 1
    await triggers.post(f"hooks/{hook}/publish")
    await triggers.post(f"hooks/{hook}/resume")
    for _ in range(2):
        assert await triggers.put("workspace/messages", {"daily_cap": 3}) == {"daily_cap": 3, "quiet_hours": None}
    assert await triggers.get("workspace/messages") == {"daily_cap": 3, "quiet_hours": None}
    for _ in range(2):
        await triggers.post(f"hooks/{hook}/pause")
    assert await triggers.database.pool.fetchval(numbers) == 3
    assert "body.daily_cap" in (await triggers.put("workspace/messages", {"daily_cap": -1}, 422))["detail"]


async def test_hooks_published_at_once_are_all_in_force(triggers: Triggers) -> None:
    made = [(await triggers.post("hooks", {**HOOK, "name": f"Hook {number}"}, 201))["id"] for number in range(6)]
    await asyncio.gather(*(triggers.post(f"hooks/{id}/publish") for id in made))
    content = await triggers.database.pool.fetchval(
        "SELECT content FROM triggers.rulebooks ORDER BY number DESC LIMIT 1"
    )
    assert [hook["id"] for hook in msgspec.json.decode(content)["hooks"]] == sorted(made)


async def test_pages(triggers: Triggers) -> None:
    for number in range(5):
        await triggers.post("hooks", {**HOOK, "name": f"Hook {number}"}, 201)
    names: list[str] = []
    page = await triggers.get("hooks", limit=2)
    names += [item["name"] for item in page["items"]]
    while page["next"]:
        page = await triggers.get("hooks", limit=2, cursor=page["next"])
        names += [item["name"] for item in page["items"]]
    assert names == [f"Hook {number}" for number in range(5)]


async def test_warnings_say_what_was_not_seen(triggers: Triggers) -> None:
    await triggers.journal(
        order(ANN, "1"), event(ANN, "2", "Product Viewed", properties={"sku": "cd-7", "shop": {"city": "Graz"}})
    )
    fine = await triggers.post("hooks", HOOK, 201)
    assert fine["warnings"] == []
    typo = {**HOOK, "name": "a", "trigger": {"event": "Orders Completed"}}
    (warning,) = (await triggers.post("hooks", typo, 201))["warnings"]
    assert "did you mean 'Order Completed'?" in warning
    misspelt = {**HOOK, "trigger": {"event": "Order Completed", "when": "event.properties.revenu > 50"}}
    (warning,) = (await triggers.put(f"hooks/{fine['id']}", misspelt))["warnings"]
    assert "did you mean 'revenue'?" in warning
    viewed = {**HOOK, "name": "b", "trigger": {"event": "Product Viewed", "when": "event.properties.shop.city == 'Graz'"},
              "action": {"channel": "inbox", "text": "{{ event.properties.sku }}"}}  # fmt: skip
    assert (await triggers.post("hooks", viewed, 201))["warnings"] == []
    await triggers.database.pool.execute("UPDATE triggers.event_catalogue SET seen_at = seen_at - interval '40 days'")
    (warning,) = (await triggers.put(f"hooks/{fine['id']}", {**misspelt, "name": "c"}))["warnings"]
    assert "No event named 'Order Completed'" in warning


async def test_a_poisoned_event_is_dead_lettered_and_its_neighbours_are_not(triggers: Triggers) -> None:
    hook = await triggers.hook()
    good = order(ANN, "1")
    bad = order(ANN, "bad")
    bad = bad._replace(value=bad.value.replace(b'"properties":{', b'"properties":[],"_":{'))
    await triggers.journal(bad, good)
    (letter,) = (await triggers.get("triggers/dead-letters"))["items"]
    assert "$.properties" in letter["error"]
    assert await triggers.verdict(hook) == "sent"
