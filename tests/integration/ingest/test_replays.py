"""Rejected events are taken after all: as they came or mended, once."""

import asyncio
import uuid
from typing import Any

import asyncpg
import httpx
import pytest

from tests.integration.ingest.conftest import ADMIN, GOOD, Source
from tests.integration.ingest.test_tracking_plan import PLAN, Plans, statuses
from tests.support import eventually

WRONG = {**GOOD, "messageId": "wrong", "properties": {"sku": 7}, "timestamp": "2026-03-01T12:00:00Z"}
OPEN: dict[str, Any] = {"events": {}}


async def listed(client: httpx.AsyncClient, source: Source, number: int, **filters: str) -> list[dict[str, Any]]:
    """The rejected events of a source, once they are so many; the newest first."""
    params = {"source": source.name, **filters}
    items: list[dict[str, Any]] = []

    async def there() -> bool:
        nonlocal items
        items = (await client.get("/v1/rejected", params=params, headers=ADMIN)).json()["items"]
        return len(items) == number

    await eventually(there)
    return items


async def replay(client: httpx.AsyncClient, id: str, body: dict[str, Any] | None = None) -> httpx.Response:
    return await client.post(f"/v1/rejected/{id}/replay", json=None if body is None else {"body": body}, headers=ADMIN)


@pytest.fixture
def plans(client: httpx.AsyncClient, source: Source) -> Plans:
    return Plans(client, source)


async def test_after_a_plan_has_changed(plans: Plans, source: Source, client: httpx.AsyncClient) -> None:
    await plans.live(PLAN)
    assert await statuses(source, WRONG) == ["rejected"]
    (item,) = await listed(client, source, 1)
    assert (item["event"], item["type"], item["replayed_at"], item["result"]) == ("Product Viewed", "track", None, None)
    again = (await replay(client, item["id"])).json()
    assert (again["status"], again["replayed_at"]) == ("rejected", None)
    assert again["reason"] == item["reason"]
    await plans.live(OPEN)
    done = (await replay(client, item["id"])).json()
    assert (done["status"], done["message_id"], done["reason"]) == ("ok", "wrong", None)
    assert (await replay(client, item["id"], {"event": "Else", "userId": "bob"})).json() == done
    (record,) = await source.records()
    assert record.time.isoformat() == "2026-03-01T12:00:00+00:00"
    assert record.recordedtime.isoformat() > item["received_at"]
    (shown,) = await listed(client, source, 1, replayed="true")
    assert (shown["result"]["status"], shown["replayed_at"]) == ("ok", done["replayed_at"])
    await listed(client, source, 0, replayed="false")


async def test_a_mended_body_and_the_id_of_the_first(source: Source, client: httpx.AsyncClient) -> None:
    await source.post("/v1/track", {"event": "Seen", "messageId": "nobody"})
    await source.post("/v1/track", b'{"event": "Seen", "userId": "ann", "properties": {"a": NaN}}')
    (broken, nobody) = await listed(client, source, 2)
    for item in (broken, nobody):
        assert (await replay(client, item["id"])).json()["status"] == "rejected"
    assert (await replay(client, nobody["id"], {"event": "Seen", "userId": "ann"})).json()["message_id"] == "nobody"
    mended = (await replay(client, broken["id"], {"type": "page", "name": "Home", "userId": "ann"})).json()
    assert (mended["status"], mended["message_id"]) == ("ok", f"rejected-{broken['id']}")
    assert {(event["type"], event.get("event"), event["messageId"]) for event in await source.events()} == {
        ("track", "Seen", "nobody"),
        ("page", None, f"rejected-{broken['id']}"),
    }


async def test_what_was_cut_needs_a_body(source: Source, client: httpx.AsyncClient) -> None:
    await source.post("/v1/track", {**GOOD, "properties": {"text": "x" * 40_000}})
    (item,) = await listed(client, source, 1)
    refused = await replay(client, item["id"])
    assert (refused.status_code, "Only the first 4,096 of its" in refused.text) == (409, True)
    assert (await replay(client, item["id"], GOOD)).json()["status"] == "ok"
    assert (await replay(client, str(uuid.uuid4()))).status_code == 404


async def test_by_filter_in_pages(plans: Plans, source: Source, client: httpx.AsyncClient) -> None:
    await plans.live({"events": {**PLAN["events"], "Seen": {**PLAN["events"]["Seen"], "mode": "refuse"}}})
    viewed = [{**GOOD, "messageId": f"v{number}"} for number in range(5)]
    await statuses(source, *viewed, {**GOOD, "event": "Seen", "messageId": "s"}, {"type": "track", "event": "Seen"})
    await listed(client, source, 7)
    await plans.live({"events": {"Seen": {**PLAN["events"]["Seen"], "mode": "refuse"}}})

    async def page(**members: Any) -> dict[str, Any]:
        wanted = {"source": source.name, "reason": "tracking plan", **members}
        answer = await client.post("/v1/rejected/replay", json=wanted, headers=ADMIN)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    assert [each["status"] for each in (await page(event="Seen"))["items"]] == ["rejected"]
    first = await page(limit=4)
    second = await page(limit=4, cursor=first["next"])
    tried = [(each["message_id"], each["status"]) for each in first["items"] + second["items"]]
    assert tried == [*((f"v{number}", "ok") for number in range(5)), ("s", "rejected")]
    assert second["next"] is None
    assert [each["message_id"] for each in (await page())["items"]] == ["s"]
    assert sorted(event["messageId"] for event in await source.events()) == [f"v{number}" for number in range(5)]
    unknown = await client.post("/v1/rejected/replay", json={"source": "nobody"}, headers=ADMIN)
    assert unknown.status_code == 404


async def test_two_at_once_store_it_once(plans: Plans, source: Source, client: httpx.AsyncClient) -> None:
    await plans.live(PLAN)
    await statuses(source, WRONG)
    (item,) = await listed(client, source, 1)
    await plans.live(OPEN)
    answers = await asyncio.gather(*(replay(client, item["id"]) for _ in range(4)))
    assert len({answer.text for answer in answers}) == 1
    assert len(await source.records()) == 1


async def test_a_replay_that_was_cut_off_is_a_duplicate(
    plans: Plans, source: Source, client: httpx.AsyncClient
) -> None:
    """As if the process had died between the log and the note."""
    await plans.live(PLAN)
    await statuses(source, {key: value for key, value in WRONG.items() if key != "messageId"})
    (item,) = await listed(client, source, 1)
    await plans.live(OPEN)
    first = (await replay(client, item["id"])).json()
    connection = await asyncpg.connect(source.ingest.dsn)
    await connection.execute(
        "UPDATE ingest.rejected SET replayed_at = NULL, result = NULL WHERE id = $1", uuid.UUID(item["id"])
    )
    await connection.close()
    assert (await replay(client, item["id"])).json()["message_id"] == first["message_id"]
    assert len({record.id for record in await source.records()}) == 1


async def test_history_stays_history(plans: Plans, source: Source, client: httpx.AsyncClient) -> None:
    await plans.live(PLAN)
    await source.post("/v1/import", {"batch": [WRONG]})
    (item,) = await listed(client, source, 1)
    await plans.live(OPEN)
    assert (await replay(client, item["id"])).json()["status"] == "ok"
    assert [record.imported for record in await source.records()] == [True]
