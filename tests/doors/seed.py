"""Something of everything, so that the doors are tried on what there is and not only on what there is not."""

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Database
from libs.common.log.append import append
from libs.common.settings import Settings
from tests.doors.five import Five
from tests.support import eventually, journal_record

PROGRAMME = {
    "name": "Doors",
    "earning": [{"id": "per-dollar", "on": "Order Completed", "earn": {"points": 1, "per": 1, "of": "revenue"}}],
    "levels": [{"id": "silver", "name": "Silver", "points": 100}],
    "badges": [{"id": "first", "name": "First order", "on": "Order Completed", "count": 1}],
}
HOOK: dict[str, Any] = {
    "name": "Doors",
    "trigger": {"event": "Order Completed", "when": "event.properties.revenue > 1"},
    "action": {
        "channel": "inbox",
        "purpose": "service",
        "title": "Thanks",
        "text": "Thank you for ${{ event.properties.revenue }}",
    },
    "limits": {"freshness": "1h", "history": True},
}
BUYERS = 150


def order(user: str, at: datetime, revenue: object, number: int) -> dict[str, Any]:
    """An order in a batch."""
    return {
        "type": "track",
        "event": "Order Completed",
        "userId": user,
        "anonymousId": f"browser-{user}",
        "messageId": uuid.uuid4().hex,
        "timestamp": at.isoformat(),
        "properties": {"order_id": f"{user}-{number}", "revenue": revenue, "currency": "USD"},
    }


def purchases() -> list[dict[str, Any]]:
    """A year of orders as BG/NBD has them: each buyer with a rate, and a chance of leaving after each order."""
    luck = random.Random(7)  # noqa: S311 - the same purchases each time
    now = datetime.now(UTC)
    events = []
    for buyer in range(BUYERS):
        day, number = luck.uniform(150, 360), 0
        rate, leaving, mean = luck.gammavariate(0.6, 0.04), luck.betavariate(0.8, 2.4), luck.gammavariate(4, 10)
        while day > 1:
            revenue = round(luck.gammavariate(6, mean / 6) + 1, 2)
            events.append(order(f"user-{buyer}", now - timedelta(days=day), revenue, number))
            number += 1
            day = 0 if luck.random() < leaving else day - luck.expovariate(rate)
    return events


async def seed(five: Five) -> None:
    """Fill all five services; `five.known` then says what there is, by path."""
    source = await five.made("ingest", "/v1/sources", {"name": "doors"})
    spare = await five.made(
        "ingest",
        "/v1/sources",
        {"name": "doors-spare", "private_fields": {"context.ip": "truncate", "traits.email": "hash"}},
    )
    five.write_key = source["write_key"]
    programme = await five.made("rewards", "/v1/programmes", PROGRAMME)
    await five.made("rewards", f"/v1/programmes/{programme['id']}/publish")
    segments = [
        await five.made("profile", "/v1/segments", segment)
        for segment in (
            {"name": "Loyal", "when": "count('Order Completed', days=90) >= 3 || customer.last_seen > ago(days=3)"},
            {"name": "Press", "static": True},
        )
    ]
    for segment in segments:
        await five.made("profile", f"/v1/segments/{segment['id']}/publish")
    trait = await five.made(
        "profile", "/v1/computed-traits", {"name": "spent", "value": "sum('Order Completed', 'revenue', days=90)"}
    )
    await five.made("profile", f"/v1/computed-traits/{trait['id']}/publish")
    hooks = [await five.made("triggers", "/v1/hooks", {**HOOK, "name": name}) for name in ("One", "Two")]
    await five.made("triggers", f"/v1/hooks/{hooks[0]['id']}/publish")
    plan = {"unknown": "observe", "events": {"Order Completed": {"schema": {"required": ["order_id"]}}}}
    await five.call("ingest", "PUT", "/v1/tracking-plan", json=plan)
    await five.made("ingest", "/v1/tracking-plan/publish")
    broken = order("user-0", datetime.now(UTC), "a lot", 99)
    merge = {"type": "identify", "anonymousId": "browser-lost", "userId": "user-1"}
    lost = {"type": "page", "anonymousId": "browser-lost", "name": "Home"}
    batch = {"batch": [*purchases(), broken, lost, merge, {"type": "dance", "userId": "user-1"}]}
    sent = await five.made("ingest", "/v1/batch", batch, authorization=f"Bearer {five.write_key}")
    assert [each["status"] for each in sent["results"]].count("rejected") == 1
    await _poison(five)
    await eventually(lambda: _settled(five))
    fit = await five.made("metrics", "/v1/fits", {})
    await five.made("rewards", "/v1/customers/user:user-1/adjustments", {"points": 5, "reason": "a test"},
                    **{"Idempotency-Key": "seed"})  # fmt: skip
    await five.made("profile", "/v1/customers/user:user-1/consents/newsletter/requests", {})
    await five.call("profile", "PUT", "/v1/customers/user:user-1/consents/marketing", json={"status": "granted"})
    task = await five.made(
        "profile", "/v1/customers/user:user-1/tasks", {"title": "Call", "due": "2027-03-01T09:00:00Z"}
    )
    inbox = (await five.call("triggers", "GET", "/v1/customers/user:user-1/inbox")).json()["items"]
    keys = (await five.call("ingest", "GET", f"/v1/sources/{spare['id']}/keys")).json()["items"]
    kept, spent = [  # one receives; the other may be deleted by whoever tries the routes
        await five.made("ingest", f"/v1/sources/{spare['id']}/hooks", {"name": name, "mapping": "stripe"})
        for name in ("Doors", "Spare")
    ]
    rejected = (await five.call("ingest", "GET", "/v1/rejected")).json()["items"]
    five.known = {
        "/v1/hooks/": {"id": [hook["id"] for hook in hooks]},
        "/v1/computed-traits/": {"id": [trait["id"]]},
        "/v1/segments/": {"id": [segment["id"] for segment in segments], "ref": ["user:user-1", "anon:browser-user-2"]},
        "/v1/tasks/": {"id": [task["id"]]},
        "/v1/programmes/": {"id": [programme["id"]]},
        "/v1/fits/": {"id": [fit["id"]]},
        "/v1/sources/": {"id": [spare["id"]], "key_id": [keys[0]["id"]], "hook": [spent["id"]]},
        "/v1/rejected/": {"id": [each["id"] for each in rejected]},
        "/v1/inbound/": {"hook": [kept["id"]]},
        "/v1/projects/": {"write_key": [five.write_key]},
        "/v1/customers/": {
            "ref": ["user:user-1", "anon:browser-user-2", "user:user-3"],
            "message": [message["id"] for message in inbox],
            "purpose": ["marketing", "newsletter"],
        },
        "/v1/kpis/": {"name": ["orders", "revenue", "aov"]},
    }
    for service in ("profile", "rewards", "triggers", "metrics"):
        dead = (await five.call(service, "GET", f"/v1/{service}/dead-letters")).json()["items"]
        five.known[f"/v1/{service}/dead-letters/"] = {"id": [each["id"] for each in dead]}


async def _poison(five: Five) -> None:
    """A record in the journal that none of its readers can apply."""
    database = await Database.connect(Settings(database_url=SecretStr(five.dsn)), "test")
    data = {"type": "track", "messageId": "x", "event": "Order Completed", "properties": {"revenue": "a lot"}}
    async with database.transaction() as tx:
        await append(tx, JOURNAL, [journal_record(str(uuid.uuid4()), data, id="poison")], 8)
    await database.close()


async def _settled(five: Five) -> bool:
    """Nobody is behind, and the last message was delivered."""
    for service in five.services:
        ready = (await five.call(service, "GET", "/readyz")).json()
        if ready["lag"]["records"]:
            return False
    queued = (await five.call("triggers", "GET", "/v1/triggers/summary")).json()["queued"]
    profile = (await five.call("profile", "GET", "/v1/customers/summary")).json()
    return bool(queued == 0 and profile["identified"] == BUYERS)
