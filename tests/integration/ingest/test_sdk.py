"""Segment's own Python SDK, of which only the host is set."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from segment.analytics.client import Client

from tests.integration.ingest.conftest import Ingest, Source, add_source

EVENTS = 250  # more than two of its batches


def _send(ingest: Ingest, key: str, gzip: bool) -> list[Exception]:
    errors: list[Exception] = []
    client = Client(key, host=ingest.url, gzip=gzip, on_error=lambda error, _: errors.append(error), max_retries=1)
    long_ago = datetime.now(UTC) - timedelta(days=400)
    client.identify("ann", {"name": "Ann"}, anonymous_id="a1")
    for number in range(EVENTS):
        properties = {"order_id": str(number), "revenue": 29.33}
        accepted, _ = client.track("ann", "Order Completed", properties, timestamp=long_ago, message_id=f"m{number}")
        assert accepted
    client.page("ann", "Docs", "Home")
    client.screen("ann", "Docs", "Home")
    client.group("ann", "acme", {"name": "Acme"})
    client.alias("a1", "ann")
    client.flush()
    client.join()
    return errors


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
async def test_everything_it_sends_arrives(ingest: Ingest, gzip: bool) -> None:
    source = await add_source(ingest)
    assert await asyncio.to_thread(_send, ingest, source.key, gzip) == []
    records = await source.records()
    assert len(records) == EVENTS + 5
    events = await source.events()
    orders = [event for event in events if event.get("event") == "Order Completed"]
    assert {event["messageId"] for event in orders} == {f"m{number}" for number in range(EVENTS)}
    (identified,) = [event for event in events if event["type"] == "identify"]
    assert (identified["userId"], identified["anonymousId"], identified["traits"]) == ("ann", "a1", {"name": "Ann"})
    assert identified["context"]["library"]["name"] == "analytics-python"
    old = [record.time for record in records if datetime.now(UTC) - record.time > timedelta(days=399)]
    assert len(old) == EVENTS  # imports keep their time


async def test_a_wrong_key_reaches_on_error(ingest: Ingest) -> None:
    errors: list[str] = []

    def send() -> None:
        client = Client("rk_wrong", host=ingest.url, max_retries=1, on_error=lambda error, _: errors.append(str(error)))
        client.track("ann", "X")
        client.flush()
        client.join()

    await asyncio.to_thread(send)
    assert len(errors) == 1
    assert "write key" in errors[0]


def _rudder(batch: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {"batch": batch, "sentAt": datetime.now(UTC).isoformat()}


async def test_what_rudderstack_sends(source: Source) -> None:
    """No writeKey in the body, times for each event, an identify's traits in its context, extras."""
    now = datetime.now(UTC)
    ahead = timedelta(minutes=10)  # the client's clock
    event = {
        "type": "identify",
        "userId": "ann",
        "anonymousId": "a1",
        "messageId": "m1",
        "context": {"traits": {"email": "ann@example.com"}, "library": {"name": "rudder"}},
        "originalTimestamp": (now + ahead - timedelta(minutes=3)).isoformat(),
        "sentAt": (now + ahead).isoformat(),
        "_metadata": {"nodeVersion": "20"},
        "channel": "server",
        "integrations": {"All": True},
    }
    answer = await source.post("/v1/batch", _rudder([event]))
    assert answer.json()["results"] == [{"status": "ok", "messageId": "m1"}]
    (record,) = await source.records()
    (stored,) = await source.events()
    assert stored["traits"] == {"email": "ann@example.com"}
    assert stored["context"] == {"library": {"name": "rudder"}}
    assert abs(record.time - (now - timedelta(minutes=3))) < timedelta(seconds=5)
