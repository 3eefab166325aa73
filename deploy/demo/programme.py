"""The demo's programme, two hooks and four segments. Created once; a second run finds them."""

import asyncio
from datetime import UTC, date, datetime, time
from typing import Any

from deploy.demo.api import Api

NAME = "CD club"


def programme(first: date) -> dict[str, Any]:
    """Points per dollar, levels by points, badges by orders; in force from before the first order."""
    return {
        "name": NAME,
        "earning": [
            {
                "id": "per-dollar",
                "on": "Order Completed",
                "earn": {"points": 1, "per": 1, "of": "revenue"},
                "effective_from": datetime.combine(first, time(), UTC).isoformat(),
            },
            {
                "id": "big-order",
                "on": "Order Completed",
                "when": "event.properties.revenue >= 100",
                "earn": {"points": 50},
                "effective_from": datetime.combine(first, time(), UTC).isoformat(),
            },
        ],
        "levels": [
            {"id": "silver", "name": "Silver", "points": 100},
            {"id": "gold", "name": "Gold", "points": 300},
            {"id": "platinum", "name": "Platinum", "points": 1000},
        ],
        "badges": [
            {"id": "first-order", "name": "First order", "on": "Order Completed", "count": 1},
            {"id": "regular", "name": "Regular", "on": "Order Completed", "count": 5},
            {"id": "collector", "name": "Collector", "on": "Order Completed", "count": 10, "repeatable": True},
        ],
    }


HOOKS: list[dict[str, Any]] = [
    {
        "name": "Thank you for a big order",
        "trigger": {"event": "Order Completed", "when": "event.properties.revenue > 50"},
        "action": {
            "channel": "inbox",
            "title": "Thank you",
            "text": "Thank you for your order of ${{ event.properties.revenue }}, member {{ customer.traits.member }}.",
        },
        "limits": {"cap": {"count": 2, "period": "30d"}, "history": True},
    },
    {
        "name": "A badge to show",
        "trigger": {"event": "Badge Earned"},
        "action": {
            "channel": "inbox",
            "title": "You have earned a badge",
            "text": "You now wear the badge {{ event.properties.name }}.",
        },
        "limits": {"cap": {"count": 1, "period": "1d"}},
    },
]


SEGMENTS = {
    "regulars": "customer.orders >= 5 && customer.points >= 100",
    "lately": "count('Order Completed', days=90) >= 2",
    "big spenders": "sum('Order Completed', 'revenue', days=365) >= 200",
    "lapsed": "customer.orders >= 2 && last('Order Completed') < ago(days=180)",
}


async def publish_segments(api: Api) -> list[dict[str, Any]]:
    """Publish the segments, unless they exist, and wait until all customers have been evaluated. Returns them with their
    sizes."""
    known = {item["name"] for item in (await api.get("profile", "/v1/segments"))["items"]}
    for name, when in SEGMENTS.items():
        if name not in known:
            draft = await api.post("profile", "/v1/segments", {"name": name, "when": when})
            await api.post("profile", f"/v1/segments/{draft['id']}/publish")
    while True:
        items = (await api.get("profile", "/v1/segments"))["items"]
        fill = (await api.get("profile", f"/v1/segments/{items[0]['id']}"))["fill"]
        if fill["finished_at"] is not None:
            return [item for item in items if item["name"] in SEGMENTS]
        await asyncio.sleep(0.2)


async def set_up(api: Api, first: date) -> None:
    """Publish the programme and the hooks, unless they exist."""
    programmes = await api.get("rewards", "/v1/programmes")
    if not any(item["name"] == NAME for item in programmes["items"]):
        draft = await api.post("rewards", "/v1/programmes", programme(first))
        await api.post("rewards", f"/v1/programmes/{draft['id']}/publish")
    await api.put("triggers", "/v1/workspace/messages", {"daily_cap": 1})
    names = {item["name"] for item in (await api.get("triggers", "/v1/hooks"))["items"]}
    for hook in HOOKS:
        if hook["name"] not in names:
            draft = await api.post("triggers", "/v1/hooks", hook)
            await api.post("triggers", f"/v1/hooks/{draft['id']}/publish")
