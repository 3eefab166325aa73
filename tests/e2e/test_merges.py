"""Two accounts of one person, merged by an operator, as each service shows them."""

import uuid
from typing import Any

import httpx

from deploy.demo.api import Api
from deploy.local.platform import Platform
from tests.e2e.test_loop import post
from tests.support import eventually


async def test_two_accounts_are_one_customer_in_all_services(platform: Platform, api: Api) -> None:
    mark = uuid.uuid4().hex[:8]
    users = [f"uma-{mark}", f"una-{mark}"]
    event = f"Wish {mark}"
    hook = await api.post("triggers", "/v1/hooks", {
        "name": event,
        "trigger": {"event": event},
        "action": {"channel": "inbox", "purpose": "service", "text": event},
    })  # fmt: skip
    await api.post("triggers", f"/v1/hooks/{hook['id']}/publish")
    for user in users:
        order = {"order_id": f"order-{user}", "revenue": 10, "currency": "USD"}
        await post(platform, "track", {"userId": user, "event": "Order Completed", "properties": order})
        await post(platform, "track", {"userId": user, "event": event})

    async def shown(service: str, user: str, path: str) -> Any:
        async with httpx.AsyncClient(base_url=platform.urls[service]) as client:
            headers = {"authorization": f"Bearer {platform.tokens['marketer']}"}
            answer = await client.get(f"/v1/customers/user:{user}{path}", headers=headers)
        return answer.json() if answer.status_code == 200 else None

    async def messages(user: str) -> int:
        inbox = (await shown("triggers", user, "/inbox") or {"items": []})["items"]
        return sum(item["text"] == event for item in inbox)  # other tests here have hooks, too

    async def each_has_one() -> bool:
        return [await messages(user) for user in users] == [1, 1]

    await eventually(each_has_one)
    points = [(await shown("rewards", user, "/points"))["available"] for user in users]
    two = {"keep": f"user:{users[0]}", "absorb": f"user:{users[1]}"}
    preview = await api.post("profile", "/v1/merges/preview", two, role="operator")
    assert (preview["customer"]["orders"], preview["conflicts"]["user_ids"]) == (2, users)
    merge = await api.post("profile", "/v1/merges", {**two, "reason": "wrote in"}, role="operator")

    async def merged() -> bool:
        found = [[await messages(user), (await shown("rewards", user, "/points"))["available"]] for user in users]
        return found == [[2, sum(points)]] * 2

    await eventually(merged)
    for user in users:
        customer = await shown("profile", user, "")
        assert (customer["id"], customer["user_id"], customer["orders"]) == (merge["survivor"], users[0], 2)
    assert (await api.get("profile", "/v1/merges", customer=f"user:{users[1]}"))["items"] == [merge]
    timeline = await api.get("profile", f"/v1/customers/user:{users[1]}/timeline")
    assert "Customer Merged" in {item["name"] for item in timeline["items"]}
