"""The loop, as its users see it: POST an order, GET what came of it from all five services."""

import uuid
from datetime import UTC, datetime, timedelta

import httpx

from deploy.demo.api import Api
from deploy.local.platform import Platform
from tests.support import eventually

PROGRAMME = {
    "name": "End to end",
    "earning": [{"id": "per-dollar", "on": "Order Completed", "earn": {"points": 1, "per": 1, "of": "revenue"}}],
    "levels": [{"id": "silver", "name": "Silver", "points": 100}],
    "badges": [{"id": "first", "name": "First order", "on": "Order Completed", "count": 1}],
}
HOOK = {
    "name": "End to end",
    "trigger": {"event": "Order Completed", "when": "event.properties.revenue > 50"},
    "action": {
        "channel": "inbox",
        "purpose": "service",
        "title": "Thanks",
        "text": "Thank you for ${{ event.properties.revenue }}",
    },
    "limits": {"cap": {"count": 5, "period": "1d"}},
}
#: Of this order alone: the platform has other tests' orders, too.
CURRENCY = "CAD"


async def post(platform: Platform, kind: str, body: dict[str, object]) -> dict[str, object]:
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(
            f"{platform.urls['ingest']}/v1/{kind}", json=body, auth=(platform.tokens["write_key"], "")
        )
    assert answer.status_code == 200, answer.text
    result: dict[str, object] = answer.json()
    return result


async def test_an_order_gives_points_a_badge_a_message_and_a_figure(platform: Platform, api: Api) -> None:
    programme = await api.post("rewards", "/v1/programmes", PROGRAMME)
    await api.post("rewards", f"/v1/programmes/{programme['id']}/publish")
    hook = await api.post("triggers", "/v1/hooks", HOOK)
    await api.post("triggers", f"/v1/hooks/{hook['id']}/publish")
    user = f"ann-{uuid.uuid4().hex[:8]}"
    browser = f"browser-{user}"
    order = {"order_id": f"o-{user}", "revenue": 120.75, "currency": CURRENCY}
    await post(platform, "track", {"anonymousId": browser, "event": "Product Viewed", "properties": {"sku": "x"}})
    await post(platform, "identify", {"anonymousId": browser, "userId": user, "traits": {"plan": "gold"}})
    event = {"anonymousId": browser, "userId": user, "event": "Order Completed", "properties": order}
    await post(platform, "track", {**event, "messageId": f"m-{user}"})
    await post(platform, "track", {**event, "messageId": f"m-{user}"})

    async def points() -> bool:
        answer = await _get(platform, "rewards", f"/v1/customers/user:{user}/points")
        return answer.status_code == 200 and answer.json()["available"] == 120

    await eventually(points)
    assert (await api.get("rewards", f"/v1/customers/user:{user}/level"))["level"]["id"] == "silver"
    badges = (await api.get("rewards", f"/v1/customers/user:{user}/badges"))["items"]
    assert [badge["badge"] for badge in badges if badge["earned"]] == ["first"]

    async def message() -> list[dict[str, object]]:
        answer = await _get(platform, "triggers", f"/v1/customers/anon:{browser}/inbox")
        items = answer.json()["items"] if answer.status_code == 200 else []
        return [item for item in items if item["hook"] == hook["id"]]

    (sent,) = await eventually(message)
    assert sent["text"] == "Thank you for $120.75"
    why = await api.get("triggers", f"/v1/hooks/{hook['id']}/why", customer=f"user:{user}")
    assert why["verdict"] == "sent", why

    async def told() -> bool:
        """Facts came back through the journal, as news about the same customer."""
        page = await api.get("profile", f"/v1/customers/user:{user}/timeline")
        names = {item["name"] for item in page["items"]}
        assert "Message Queued" not in names  # nothing deferred it, so it is one fact
        return {"Product Viewed", "Order Completed", "Points Credited", "Badge Earned", "Message Sent"} <= names

    await eventually(told)
    customer = await api.get("profile", f"/v1/customers/anon:{browser}")
    assert (customer["orders"], customer["revenue"], customer["traits"]) == (1, {CURRENCY: "120.75"}, {"plan": "gold"})

    async def counted() -> int:
        figure = await api.get("metrics", "/v1/kpis/orders", currency=CURRENCY)
        return int(figure["total"])

    assert await eventually(counted) == 1
    assert (await api.get("rewards", "/v1/rewards/summary"))["ledger_sum"] == 0


async def test_history_counts_and_messages_nobody(platform: Platform, api: Api) -> None:
    """An order of a minute ago, which would be fresh enough, by the route of imports."""
    programme = await api.post("rewards", "/v1/programmes", {**PROGRAMME, "name": "History"})
    await api.post("rewards", f"/v1/programmes/{programme['id']}/publish")
    hooks = []
    for name in ("Order Completed", "Badge Earned"):
        action = {"channel": "inbox", "text": "Hello"}
        trigger = {"event": name}
        hook = {"name": f"History {name}", "trigger": trigger, "action": action, "limits": {"history": True}}
        hooks.append(await api.post("triggers", "/v1/hooks", hook))
        await api.post("triggers", f"/v1/hooks/{hooks[-1]['id']}/publish")
    user = f"old-{uuid.uuid4().hex[:8]}"
    order = {"order_id": f"o-{user}", "revenue": 12.5, "currency": "NZD"}
    ids = {"userId": user, "messageId": f"m-{user}"}
    when = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    event = {"type": "track", **ids, "event": "Order Completed", "timestamp": when, "properties": order}
    await post(platform, "import", {"batch": [event]})

    async def withheld() -> bool:
        answers = [
            await _get(platform, "triggers", f"/v1/hooks/{hook['id']}/why?customer=user:{user}") for hook in hooks
        ]
        return all(answer.status_code == 200 and answer.json()["verdict"] == "withheld" for answer in answers)

    await eventually(withheld)
    for hook in hooks:
        why = await api.get("triggers", f"/v1/hooks/{hook['id']}/why", customer=f"user:{user}")
        assert (why["details"]["reason"], "imported as history" in why["sentence"]) == ("imported", True)
        await api.post("triggers", f"/v1/hooks/{hook['id']}/pause")
    points = await api.get("rewards", f"/v1/customers/user:{user}/points")
    assert points["available"] == 12


async def _get(platform: Platform, service: str, path: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as client:
        token = platform.tokens["marketer"]
        return await client.get(platform.urls[service] + path, headers={"authorization": f"Bearer {token}"})
