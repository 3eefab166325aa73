"""One customer sends all there is, as fast as it goes: others are answered and served meanwhile, and nothing is mixed up.

By how much others are slowed is measured by `make bench ROWS=hot`.
"""

import asyncio
import uuid
from typing import Any

import asyncpg
import msgspec

from tests.doors.five import SIZE, Five
from tests.support import eventually

SENDERS, BATCHES, EACH = 8, 6 * SIZE, 50


async def test_a_hot_key_holds_nobody_up(five: Five) -> None:
    run = uuid.uuid4().hex[:8]
    hot = {"userId": f"hot-{run}", "anonymousId": f"hot-browser-{run}"}
    flood = asyncio.gather(*(_flood(five, hot, run, sender) for sender in range(SENDERS)))
    others = [f"other-{run}-{number}" for number in range(12)]
    for other in others:
        sent = await _send(five, [_order({"userId": other}, f"{other}-order")])
        assert sent == ["ok"]
    for other in others:
        await eventually(lambda: _points(five, other), within=100)  # noqa: B023 - awaited at once
    assert all(status == "ok" for statuses in await flood for status in statuses)
    await eventually(lambda: _came(five, hot["userId"], run), within=100)


async def _flood(five: Five, who: dict[str, str], run: str, sender: int) -> list[str]:
    """Batches of one sender, each after the last was answered; what became of their events."""
    statuses = []
    for batch in range(BATCHES):
        first = batch * EACH
        events = [_view(who, f"hot-{run}-{sender}-{number:05}") for number in range(first, first + EACH)]
        statuses += await _send(five, events)
    return statuses


def _view(who: dict[str, str], message: str) -> dict[str, Any]:
    return {"type": "track", "event": "Product Viewed", "messageId": message, **who}


def _order(who: dict[str, str], message: str) -> dict[str, Any]:
    properties = {"order_id": message, "revenue": 20, "currency": "USD"}
    return {"type": "track", "event": "Order Completed", "messageId": message, "properties": properties, **who}


async def _send(five: Five, events: list[dict[str, Any]]) -> list[str]:
    key = {"authorization": f"Bearer {five.write_key}"}
    answer = await five.call("ingest", "POST", "/v1/batch", json={"batch": events}, headers=key)
    assert answer.status_code == 200
    return [each["status"] for each in answer.json()["results"]]


async def _points(five: Five, user: str) -> bool:
    """The order has been through ingest, profile and rewards."""
    answer = await five.call("rewards", "GET", f"/v1/customers/user:{user}/points")
    return answer.status_code == 200


async def _came(five: Five, user: str, run: str) -> bool:
    """All of the flood is in the journal; each event once, and a sender's in the order in which they were sent."""
    answer = await five.call("profile", "GET", f"/v1/customers/user:{user}")
    if answer.status_code != 200:
        return False
    connection = await asyncpg.connect(five.dsn)
    rows = await connection.fetch(
        'SELECT value FROM log."profile.journal" WHERE key = $1 ORDER BY partition, "offset"', answer.json()["id"]
    )
    await connection.close()
    messages = [msgspec.json.decode(row["value"])["data"].get("messageId", "") for row in rows]
    came = [message for message in messages if message.startswith(f"hot-{run}-")]
    for sender in range(SENDERS):
        own = [message for message in came if message.startswith(f"hot-{run}-{sender}-")]
        assert own == sorted(set(own))
    return len(came) == SENDERS * BATCHES * EACH
