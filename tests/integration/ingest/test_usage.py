"""Usage by source and day, and write keys with limits: 429, as SDKs know it."""

import asyncio

import httpx
import pytest
from segment.analytics.client import Client

from tests.integration.ingest.conftest import ADMIN, GOOD, Ingest, Source
from tests.integration.ingest.test_inbound import ORDER, declare, post
from tests.support import eventually


async def limited(client: httpx.AsyncClient, source: Source, **limits: int | None) -> None:
    """Give the source's key limits; they are in force at once in this process."""
    (key,) = (await client.get(f"/v1/sources/{source.id}/keys", headers=ADMIN)).json()["items"]
    path = f"/v1/sources/{source.id}/keys/{key['id']}"
    answer = await client.patch(path, json=limits, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    assert {name: answer.json()[name] for name in limits} == limits


async def usage(client: httpx.AsyncClient, source: Source) -> list[dict[str, object]]:
    answer = await client.get("/v1/usage", params={"source": source.name}, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, object]] = answer.json()["items"]
    return items


async def test_events_are_counted_by_source_and_day(source: Source, client: httpx.AsyncClient) -> None:
    await source.post("/v1/batch", {"batch": [GOOD, {**GOOD, "messageId": None}, {"type": "dance"}]})
    await source.post("/v1/track", GOOD)
    await source.post("/v1/import", {"batch": [GOOD]})
    hook = await declare(client, source)
    assert (await post(client, hook, ORDER)).status_code == 200

    async def counted() -> bool:
        items = await usage(client, source)
        counts = [(each["stored"], each["warned"], each["rejected"]) for each in items]
        return counts == [(6, 1, 1)]

    await eventually(counted)
    pages, cursor = [], None
    while True:
        params = {"limit": 1, **({} if cursor is None else {"cursor": cursor})}
        page = (await client.get("/v1/usage", params=params, headers=ADMIN)).json()
        pages += [each["source"] for each in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert source.name in pages
    assert len(pages) == len(set(pages))
    for params, status in (({"cursor": "no"}, 422), ({"source": "nobody"}, 404), ({"since": "2026-13-01"}, 422)):
        assert (await client.get("/v1/usage", params=params, headers=ADMIN)).status_code == status
    none = await client.get("/v1/usage", params={"source": source.name, "until": "2020-01-01"}, headers=ADMIN)
    assert none.json()["items"] == []


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch", "/v1/import"])
async def test_a_quota_ends_with_429_and_stores_nothing_more(
    source: Source, client: httpx.AsyncClient, path: str
) -> None:
    await limited(client, source, events_per_day=3)
    body = GOOD if path == "/v1/track" else {"batch": [GOOD]}
    for _ in range(3):
        assert (await source.post(path, body)).status_code == 200
    refused = await source.post(path, body, headers={"origin": "https://shop.example"})
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 90_000
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"
    problem = refused.json()
    assert (problem["success"], problem["code"]) == (False, "too-many-requests")
    assert "3 events a day" in problem["message"]
    assert len(await source.records()) == 3
    await limited(client, source, events_per_day=None)
    assert (await source.post(path, body)).status_code == 200


async def test_an_sdk_waits_for_the_rate_and_loses_nothing(
    ingest: Ingest, source: Source, client: httpx.AsyncClient
) -> None:
    await limited(client, source, events_per_second=20)
    batch = [{**GOOD, "messageId": f"first-{number}"} for number in range(280)]
    assert (await source.post("/v1/batch", {"batch": batch})).status_code == 200  # whole, and 80 more than there may be
    refused = await source.post("/v1/track", GOOD)
    assert (refused.status_code, int(refused.headers["retry-after"]) <= 5) == (429, True)
    sdk = Client(source.key, host=ingest.url, upload_size=100, upload_interval=0.01, max_retries=10)
    for number in range(20):
        sdk.track("ann", "Product Viewed", message_id=f"m{number}")
    await asyncio.to_thread(sdk.flush)
    sdk.join()
    assert len({record.id for record in await source.records()}) == 300


async def test_limits_are_numbers(source: Source, client: httpx.AsyncClient) -> None:
    keys = f"/v1/sources/{source.id}/keys"
    made = await client.post(keys, json={"events_per_second": 5, "events_per_day": 100}, headers=ADMIN)
    assert made.status_code == 201
    shown = next(
        each for each in (await client.get(keys, headers=ADMIN)).json()["items"] if each["id"] == made.json()["id"]
    )
    assert (shown["events_per_second"], shown["events_per_day"]) == (5, 100)
    path = f"{keys}/{made.json()['id']}"
    for wrong in ({"events_per_second": 0}, {"events_per_day": "5"}, {"events_per_day": True}, {"events": 5}):
        assert (await client.patch(path, json=wrong, headers=ADMIN)).status_code == 422
    unchanged = (await client.patch(path, json={"events_per_day": None}, headers=ADMIN)).json()
    assert (unchanged["events_per_second"], unchanged["events_per_day"]) == (5, None)
    nobody = f"{keys}/00000000-0000-7000-8000-000000000000"
    assert (await client.patch(nobody, json={}, headers=ADMIN)).status_code == 404
