"""The real `cloudevents` package posts in all three content modes."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings import http as binding
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from tests.integration.ingest.conftest import Source

WHEN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def _event(number: int, **more: object) -> CloudEvent:
    attributes: dict[str, Any] = {
        "id": f"o-{number}",
        "source": "/shop/orders",
        "type": "Order Completed",
        "specversion": "1.0",
        "subject": "user:ann",
        "time": WHEN,
        "datacontenttype": "application/json",
        **more,
    }
    return CloudEvent(attributes=attributes, data={"order_id": str(number), "revenue": 29.33})


async def test_the_content_modes(source: Source, client: httpx.AsyncClient) -> None:
    auth, kind = (source.key, ""), JSONFormat()
    messages = [binding.to_structured(_event(1), kind), binding.to_binary(_event(2, region="eu west"), kind)]
    for message in messages:
        answer = await client.post("/v1/events", content=message.body, headers=dict(message.headers), auth=auth)
        assert answer.json()["results"][0]["status"] == "ok", answer.text
    batch = b"[%b,%b]" % (kind.write(_event(3)), kind.write(_event(4)))
    headers = {"content-type": "application/cloudevents-batch+json", "authorization": f"Bearer {source.key}"}
    answer = await client.post("/v1/events", content=batch, headers=headers)
    assert [result["messageId"] for result in answer.json()["results"]] == ["/shop/orders o-3", "/shop/orders o-4"]
    events = {event["properties"]["order_id"]: event for event in await source.events()}
    assert sorted(events) == ["1", "2", "3", "4"]
    assert {(event["event"], event["userId"], event["type"]) for event in events.values()} == {
        ("Order Completed", "ann", "track")
    }
    assert events["2"]["context"] == {"cloudevent": {"source": "/shop/orders", "region": "eu west"}}
    assert {record.time for record in await source.records()} == {WHEN}


@pytest.mark.parametrize("mode", ["structured", "binary"])
async def test_one_that_is_about_nobody_is_rejected(source: Source, client: httpx.AsyncClient, mode: str) -> None:
    event = CloudEvent(attributes={"id": "1", "source": "/shop", "type": "X", "specversion": "1.0"}, data={"a": 1})
    message = (binding.to_structured if mode == "structured" else binding.to_binary)(event, JSONFormat())
    answer = await client.post("/v1/events", content=message.body, headers=dict(message.headers), auth=(source.key, ""))
    (result,) = answer.json()["results"]
    assert (result["status"], result["messageId"]) == ("rejected", "1")
    assert "subject" in result["reason"]


async def test_a_retry_has_the_same_record(source: Source, client: httpx.AsyncClient) -> None:
    body = json.loads(JSONFormat().write(_event(1)))
    for _ in range(2):
        await client.post("/v1/events", json=body, auth=(source.key, ""))
    one, other = await source.records()
    assert one.id == other.id


async def test_a_body_that_cannot_be_read(source: Source, client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/events", content=b"nonsense", auth=(source.key, ""))
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    without = await client.post("/v1/events", json=json.loads(JSONFormat().write(_event(1))))
    assert without.status_code == 401
