"""All routes, all forms of the key, all shapes of body, and what is answered."""

import base64
import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
from pydantic import ValidationError

from libs.common.contracts import ids
from libs.common.settings import Settings as CommonSettings
from services.ingest.app import create
from services.ingest.settings import Settings
from tests.client import ready, running, token
from tests.integration.ingest.conftest import Ingest, Source, add_source
from tests.support import eventually

TRACK = {"event": "Product Viewed", "userId": "ann", "messageId": "m1", "properties": {"sku": "s1"}}


@pytest.mark.parametrize(
    ("paths", "body"),
    [
        (("track", "t"), TRACK),
        (("identify", "i"), {"userId": "ann", "messageId": "m1", "traits": {"name": "Ann"}}),
        (("page", "p"), {"userId": "ann", "messageId": "m1", "name": "Home"}),
        (("screen", "s"), {"userId": "ann", "messageId": "m1", "name": "Home"}),
        (("group", "g"), {"userId": "ann", "messageId": "m1", "groupId": "acme"}),
        (("alias", "a"), {"userId": "ann", "messageId": "m1", "previousId": "a1"}),
    ],
)
async def test_each_route_takes_its_kind(source: Source, paths: tuple[str, str], body: dict[str, Any]) -> None:
    for path in paths:
        for slash in ("", "/"):
            answer = await source.post(f"/v1/{path}{slash}", body)
            assert answer.status_code == 200
            assert answer.json() == {"success": True, "results": [{"status": "ok", "messageId": "m1"}]}
    records = await source.records()
    assert {record.type for record in records} == {f"{paths[0]}.v1"}
    assert len(records) == 4
    assert len({record.id for record in records}) == 1  # a duplicate has the id of the first


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b/", "/v1/import"])
async def test_batches_with_an_answer_for_each_event(source: Source, path: str) -> None:
    events = [{"type": "track", **TRACK, "messageId": f"m{number}"} for number in range(3)]
    answer = await source.post(path, {"batch": events, "context": {"ip": "1.2.3.4"}, "integrations": {"All": True}})
    assert answer.status_code == 200
    assert [result["messageId"] for result in answer.json()["results"]] == ["m0", "m1", "m2"]
    assert {event["context"]["ip"] for event in await source.events()} == {"1.2.3.4"}


async def test_an_empty_batch(source: Source) -> None:
    answer = await source.post("/v1/batch", {"batch": []})
    assert (answer.status_code, answer.json()) == (200, {"success": True, "results": []})


async def test_the_record_says_who_when_and_what(ingest: Ingest) -> None:
    source = await add_source(ingest, default_currency="EUR")
    before = datetime.now(UTC)
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    when = (before - timedelta(hours=3)).isoformat()
    body = {**TRACK, "anonymousId": "a1", "timestamp": when}
    await source.post("/v1/track", body, headers={"traceparent": traceparent})
    (record,) = await source.records()
    assert record.id == str(ids.derived(record.source, "m1", "track.v1", "Product Viewed"))
    assert record.time == datetime.fromisoformat(when)
    assert before <= record.recordedtime <= datetime.now(UTC)
    assert record.traceparent == traceparent
    assert msgspec.json.decode(record.data)["currency"] == "EUR"


async def test_the_device_orders_the_log_else_the_user(source: Source, ingest: Ingest) -> None:
    await source.post("/v1/track", {**TRACK, "anonymousId": f"a-{source.name}"})
    await source.post("/v1/track", {**TRACK, "anonymousId": "0000", "userId": f"u-{source.name}"})
    connection = await asyncpg.connect(ingest.dsn)
    keys = await connection.fetch('SELECT key FROM log."ingest.events" WHERE key LIKE $1', f"%{source.name}")
    await connection.close()
    assert {row["key"] for row in keys} == {f"a-{source.name}", f"u-{source.name}"}


async def test_every_form_of_the_key(source: Source, client: httpx.AsyncClient) -> None:
    basic = base64.b64encode(f"{source.key}:".encode()).decode()
    proxy = base64.b64encode(b"staging:secret").decode()
    with_key = {**TRACK, "writeKey": source.key}
    forms: list[tuple[dict[str, str], dict[str, Any]]] = [
        ({"authorization": f"Basic {basic}"}, TRACK),
        ({}, with_key),
        ({"authorization": f"Bearer {source.key}"}, TRACK),
        ({"authorization": "Bearer something-else"}, with_key),
        ({"authorization": f"Basic {proxy}"}, with_key),
    ]
    for headers, body in forms:
        answer = await client.post("/v1/track", json=body, headers=headers)
        assert answer.status_code == 200, (headers, answer.text)
    answer = await client.post("/v1/batch", json={"writeKey": source.key, "batch": [{"type": "track", **TRACK}]})
    assert answer.status_code == 200
    assert len(await source.records()) == 6


@pytest.mark.parametrize("key", [None, "nonsense", "rk_" + "a" * 38])
async def test_without_a_known_key(source: Source, client: httpx.AsyncClient, key: str | None) -> None:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    answer = await client.post("/v1/track", json=TRACK, headers=headers)
    problem = answer.json()
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["success"] is False
    assert problem["code"] == "unauthenticated"
    assert problem["message"] == problem["detail"]
    assert "write key" in problem["detail"]


async def test_content_type_gzip_and_chunks(source: Source) -> None:
    packed = gzip.compress(msgspec.json.encode(TRACK))
    for headers in ({"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}, {}):
        assert (await source.post("/v1/track", TRACK, headers=headers)).status_code == 200
        gzipped = {**headers, "content-encoding": "gzip"}
        assert (await source.post("/v1/track", packed, headers=gzipped)).status_code == 200

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(packed), 20):
            yield packed[start : start + 20]

    async with httpx.AsyncClient(base_url=source.ingest.url, auth=(source.key, ""), timeout=60) as client:
        answer = await client.post("/v1/track", content=chunks(), headers={"content-encoding": "gzip"})
    assert answer.status_code == 200
    assert len(await source.records()) == 7


async def test_browsers_may_ask_and_measure(client: httpx.AsyncClient) -> None:
    asked = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, x-retry-count",
    }
    for path in ("/v1/t", "/v1/batch/", "/v1/projects/x/settings"):
        answer = await client.options(path, headers=asked)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert "x-retry-count" in answer.headers["access-control-allow-headers"]
    measured = await client.post("/v1/m", content=b'{"series":[]}')
    assert (measured.status_code, measured.json()) == (200, {"success": True})


async def test_origins(ingest: Ingest, client: httpx.AsyncClient) -> None:
    source = await add_source(ingest, allowed_origins=["https://shop.example"])
    good = await source.post("/v1/track", TRACK, headers={"origin": "https://shop.example"})
    bad = await source.post("/v1/track", TRACK, headers={"origin": "https://evil.example"})
    server = await source.post("/v1/track", TRACK)
    assert [good.status_code, bad.status_code, server.status_code] == [200, 403, 200]
    assert good.headers["access-control-allow-origin"] == "https://shop.example"
    for answer in (good, bad):
        assert {"x-request-id", "retry-after"} <= set(answer.headers["access-control-expose-headers"].split(", "))
    assert bad.headers["access-control-allow-origin"] == "https://evil.example"  # so that the page can read why
    assert "allowed_origins" in bad.json()["detail"]
    assert len(await source.records()) == 2


async def test_settings_of_a_key(source: Source, client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v1/projects/{source.key}/settings", headers={"origin": "https://shop.example"})
    assert answer.status_code == 200
    destination = answer.json()["integrations"]["Segment.io"]
    assert destination["apiKey"] == source.key
    assert destination["apiHost"] == f"127.0.0.1:{source.ingest.port}/v1"
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert (await client.get("/v1/projects/nobody/settings")).status_code == 404


async def test_settings_behind_a_proxy(settings: CommonSettings) -> None:
    outside = Settings(**settings.model_dump(), public_url="https://events.example/")
    async with running(create(outside)) as client:
        await eventually(lambda: ready(client))
        made = await client.post("/v1/sources", json={"name": "shop"}, headers=token("sources:write"))
        answer = await client.get(f"/v1/projects/{made.json()['write_key']}/settings")
    destination = answer.json()["integrations"]["Segment.io"]
    assert (destination["protocol"], destination["apiHost"]) == ("https", "events.example/v1")
    with pytest.raises(ValidationError, match="scheme, host"):
        Settings(**settings.model_dump(), public_url="events.example")


async def test_the_openapi_page_describes_the_event_routes(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for name in ("track", "identify", "page", "screen", "group", "alias", "batch", "import"):
        operation = paths[f"/v1/{name}"]["post"]
        assert operation["requestBody"]["content"]["application/json"]["example"]
        assert "results" in str(operation["responses"]["200"])
        assert operation["security"]
    assert "/v1/t" not in paths


async def test_event_routes_are_measured_and_named(source: Source, client: httpx.AsyncClient) -> None:
    answer = await source.post("/v1/track", TRACK, headers={"x-request-id": "mine"})
    assert answer.headers["x-request-id"] == "mine"
    metrics = (await client.get("/metrics")).text
    assert 'rapport_http_requests_total{method="POST",route="/v1/track",status="2xx"}' in metrics
    assert (await client.get("/v1/track")).status_code == 405
