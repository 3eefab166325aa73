"""PostHog's own Python client, of which only the host is set; and what its browser script sends."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from posthog import Posthog

from tests.integration.ingest.conftest import ADMIN, Ingest, Source
from tests.support import eventually

LONG_AGO = datetime.now(UTC) - timedelta(days=400)
EVENTS = 250  # more than two of its batches


def _send(ingest: Ingest, key: str, gzip: bool) -> list[Exception]:
    errors: list[Exception] = []
    client = Posthog(
        key, host=ingest.url, gzip=gzip, on_error=lambda error, _: errors.append(error), max_retries=1, flush_at=100
    )
    client.set(distinct_id="ann", properties={"email": "ann@example.com"})
    for number in range(EVENTS):
        order = {"order_id": str(number), "revenue": 29.33}
        client.capture("Order Completed", distinct_id="ann", properties=order, timestamp=LONG_AGO)
    client.capture("Page Seen")  # about nobody it knows
    client.alias(previous_id="a1", distinct_id="ann")
    client.group_identify("company", "acme", {"name": "Acme"}, distinct_id="ann")
    assert not client.evaluate_flags("ann").is_enabled("new-basket")
    client.flush()
    client.shutdown()
    return errors


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
async def test_everything_it_sends_arrives(ingest: Ingest, source: Source, gzip: bool) -> None:
    assert await asyncio.to_thread(_send, ingest, source.key, gzip) == []
    records, events = await source.records(), await source.events()
    assert len(records) == EVENTS + 5
    by_type: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_type.setdefault(event["type"], []).append(event)
    (identified,), (alias,), (group,) = by_type["identify"], by_type["alias"], by_type["group"]
    assert (identified["userId"], identified["traits"]) == ("ann", {"email": "ann@example.com"})
    assert (alias["userId"], alias["previousId"]) == ("ann", "a1")
    assert (group["userId"], group["groupId"], group["traits"]["name"]) == ("ann", "acme", "Acme")
    orders = [event for event in by_type["track"] if event["event"] == "Order Completed"]
    assert {event["userId"] for event in orders} == {"ann"}
    assert {event["properties"]["order_id"] for event in orders} == {str(number) for number in range(EVENTS)}
    assert orders[0]["context"]["library"]["name"] == "posthog-python"
    assert {event["event"] for event in by_type["track"]} == {"Order Completed", "Page Seen", "$feature_flag_called"}
    (seen,) = [event for event in by_type["track"] if event["event"] == "Page Seen"]
    assert "userId" not in seen
    assert seen["anonymousId"]
    old = [record for record in records if abs(record.time - LONG_AGO) < timedelta(seconds=5)]
    assert len(old) == EVENTS  # imports keep their time


async def test_a_wrong_key_reaches_on_error(ingest: Ingest) -> None:
    errors: list[str] = []

    def send() -> None:
        client = Posthog(
            "rk_wrong", host=ingest.url, max_retries=1, on_error=lambda error, _: errors.append(str(error))
        )
        client.capture("X", distinct_id="ann")
        client.flush()
        client.shutdown()

    await asyncio.to_thread(send)
    assert len(errors) == 1
    assert "write key" in errors[0]


async def test_what_its_browser_script_sends(source: Source, client: httpx.AsyncClient) -> None:
    properties: Mapping[str, object] = {"token": source.key, "distinct_id": "d1", "$device_id": "d1", "title": "Home"}
    event = {"event": "$pageview", "uuid": "u1", "properties": properties, "offset": 60_000}
    form = b"data=" + quote(json.dumps({**event, "uuid": "u2"})).encode()
    now = int(datetime.now(UTC).timestamp() * 1000)
    headers = {"origin": "https://shop.example", "content-type": "text/plain"}
    for path, body in ((f"/e/?ip=1&_={now}", json.dumps([event]).encode()), ("/i/v0/e", form)):
        answer = await client.post(path, content=body, headers=headers)
        assert (answer.status_code, answer.json()["success"]) == (200, True)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    events, records = await source.events(), await source.records()
    assert {(event["type"], event["anonymousId"], event["messageId"]) for event in events} == {
        ("page", "d1", "u1"),
        ("page", "d1", "u2"),
    }
    for record in records:
        assert timedelta(seconds=50) < record.recordedtime - record.time < timedelta(seconds=70)
    for path in ("/flags/?v=2&config=true", "/decide/?v=3"):
        flags = await client.post(path, json={"token": source.key, "distinct_id": "d1"}, headers=headers)
        assert (flags.status_code, flags.json()["flags"], flags.json()["featureFlags"]) == (200, {}, {})


async def test_what_its_browser_script_asks_first(client: httpx.AsyncClient) -> None:
    headers = {"origin": "https://shop.example"}
    config = await client.get("/array/rk_x/config", headers=headers)
    assert (config.json()["hasFeatureFlags"], config.headers["access-control-allow-origin"]) == (False, "*")
    script = await client.get('/array/a"]+evil()+["/config.js', headers=headers)
    assert script.headers["content-type"].startswith("text/javascript")
    start, end = (
        '(window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{})["a\\"]+evil()+[\\""]=',
        ',"siteApps":[]};',
    )
    assert script.text.startswith(start)
    assert json.loads(script.text.removeprefix(start).removesuffix(end) + "}")["config"] == config.json()


async def test_a_bad_event_is_rejected_alone(source: Source, client: httpx.AsyncClient) -> None:
    good = {"event": "X", "distinct_id": "ann", "uuid": "good"}
    batch = [{"event": "X", "uuid": "nobody"}, good, {"event": "X", "uuid": "odd", "properties": 7}]
    answer = await client.post("/batch/", json={"api_key": source.key, "batch": batch})
    results = answer.json()["results"]
    assert [(result["status"], result["messageId"]) for result in results] == [
        ("rejected", "nobody"),
        ("ok", "good"),
        ("rejected", "odd"),
    ]

    async def listed() -> bool:
        page = await client.get("/v1/rejected", params={"source": source.name}, headers=ADMIN)
        return {item["message_id"] for item in page.json()["items"]} == {"nobody", "odd"}

    await eventually(listed)
    assert len(await source.records()) == 1
