"""Rejected events: listed with their reasons and ids, and only counted in a flood."""

from typing import Any

import httpx

from tests.integration.ingest.conftest import ADMIN, GOOD, Source
from tests.support import eventually


async def test_an_event_that_is_refused_keeps_its_message_id(source: Source, client: httpx.AsyncClient) -> None:
    bad = [
        b'{"type":"track","event":"X","userId":"ann","messageId":"nan","properties":{"messageId":"inner","a":NaN}}',
        b'{"type":"track","event":"X","userId":"ann","messageId":"large","properties":{"a":"%b"}}' % (b"a" * 33_000),
        b'{"type":"track","event":"X","properties":{"a":%b%b},"messageId":"deep"}' % (b"[" * 5_000, b"]" * 5_000),
        b'{"type":"track","event":"X","messageId":17}',
    ]
    answer = await source.post("/v1/batch", b'{"batch":[%b]}' % b",".join(bad))
    wanted = ["nan", "large", "deep", "17"]
    assert [result["messageId"] for result in answer.json()["results"]] == wanted
    await source.post("/v1/track", bad[0].replace(b'"nan"', b'"alone"'))

    async def listed() -> bool:
        page = await client.get("/v1/rejected", params={"source": source.name}, headers=ADMIN)
        return {(item["type"], item["message_id"]) for item in page.json()["items"]} == {
            ("track", identity) for identity in [*wanted, "alone"]
        }

    await eventually(listed)


async def test_rejected_events_are_listed_with_their_reason(source: Source, client: httpx.AsyncClient) -> None:
    await source.post("/v1/batch", {"batch": [GOOD, {**GOOD, "event": "", "messageId": "bad", "x": "y" * 39_000}]})
    await source.post("/v1/track", b"nonsense")

    async def listed() -> bool:
        page = await client.get("/v1/rejected", params={"source": source.name}, headers=ADMIN)
        return len(page.json()["items"]) == 2

    await eventually(listed)
    page = await client.get("/v1/rejected", params={"source": source.name, "limit": 1}, headers=ADMIN)
    (broken,) = page.json()["items"]
    assert "it is not JSON" in broken["reason"]
    assert broken["body"] == "nonsense"
    rest: dict[str, str | int] = {"source": source.name, "limit": 1, "cursor": page.json()["next"]}
    (bad,) = (await client.get("/v1/rejected", params=rest, headers=ADMIN)).json()["items"]
    assert (bad["type"], bad["message_id"]) == ("track", "bad")
    assert len(bad["body"]) == 4_096
    assert bad["size"] > 39_000
    unknown = await client.get("/v1/rejected", params={"source": "nobody"}, headers=ADMIN)
    assert unknown.status_code == 404


async def test_a_flood_of_rejected_events_is_only_counted(source: Source, client: httpx.AsyncClient) -> None:
    answer = await source.post("/v1/batch", {"batch": [{"type": "track"}] * 500 + [GOOD]})
    assert [result["status"] for result in answer.json()["results"]][-1] == "ok"
    page: dict[str, Any] = {}

    async def written() -> bool:
        nonlocal page
        parameters: dict[str, str | int] = {"source": source.name, "limit": 200}
        page = (await client.get("/v1/rejected", params=parameters, headers=ADMIN)).json()
        return bool(page["items"])

    await eventually(written)
    assert len(page["items"]) == 60
    assert page["only_counted"] == 440
    assert len(await source.records()) == 1
