"""The script for web pages: how it is served, and what it sends, run in Node against the real service."""

import asyncio
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.ingest.conftest import Source

NODE = shutil.which("node")
SIZE = 6 * 1024


async def test_it_is_served(client: httpx.AsyncClient) -> None:
    plain = await client.get("/rapport.js", headers={"accept-encoding": "identity", "origin": "https://shop.example"})
    assert plain.headers["content-type"].startswith("text/javascript")
    assert plain.headers["access-control-allow-origin"] == "*"
    assert "content-encoding" not in plain.headers
    packed = await client.get("/rapport.js", headers={"accept-encoding": "br, gzip"})
    assert packed.content == plain.content
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(gzip.compress(plain.content, 9)) < SIZE
    known = await client.get("/rapport.js", headers={"if-none-match": plain.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


@pytest.fixture
async def said(source: Source) -> dict[str, Any]:
    """What the scenarios of `browser.mjs` print, by name."""
    if NODE is None:
        pytest.skip("Node is not installed")
    program = str(Path(__file__).with_name("browser.mjs"))
    process = await asyncio.create_subprocess_exec(
        NODE, program, source.ingest.url, source.key, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0
    lines = [json.loads(line) for line in printed.splitlines()]
    return {line.pop("name"): line for line in lines}


async def test_what_it_sends(source: Source, said: dict[str, Any]) -> None:
    without = said["without consent"]
    assert without["touched"] == 0
    page, track = without["events"]
    assert (page["type"], page["name"], page["properties"]["referrer"]) == ("page", "Shop", "https://search.example/")
    assert (page["context"]["campaign"], page["context"]["sessionStart"]) == (
        {"name": "spring", "source": "mail"},
        True,
    )
    assert (track["event"], track["properties"]) == ("Product Viewed", {"product_id": "1"})
    assert track["context"]["sessionId"] == page["context"]["sessionId"]
    assert "sessionStart" not in track["context"]
    assert track["anonymousId"] == page["anonymousId"] != without["other"][0]["anonymousId"]

    consented = said["with consent"]
    first, identified = consented["events"]
    again, called = consented["other"]
    assert identified["traits"] == {"email": "ann@example.com"}
    assert [event.get("userId") for event in (first, identified, again, called)] == [None, "ann", "ann", "ann"]
    assert len({event["anonymousId"] for event in (first, identified, again, called)}) == 1
    assert len({event["context"]["sessionId"] for event in (first, again)}) == 1
    assert again["context"]["campaign"] == {"source": "mail"}
    assert (called["event"], consented["stored"], consented["left"]) == ("Basket Opened", 1, 0)

    leaving = said["leaving"]
    before, shop = "https://search.example/", "https://shop.example/"
    tracks = [["track", number, shop] for number in range(40)]
    assert leaving["events"] == [["page", "/", before], ["page", "/basket", shop], *tracks]
    assert len(leaving["beacons"]) > 1
    assert max(leaving["beacons"]) <= 60_000

    assert len(said["again"]["ids"]) == 3
    assert len(set(said["again"]["ids"])) == 1
    assert 7_000 in said["again"]["waits"]

    users = said["another person"]["events"]
    assert [user for user, _ in users] == [None, "ann", "bob"]
    assert users[0][1] == users[1][1] != users[2][1]

    posted = [event["messageId"] for name in ("without consent", "with consent") for event in said[name]["events"]]
    stored = await source.events()
    assert {event["messageId"] for event in stored} >= {*posted, *said["again"]["ids"]}
    assert len(stored) == 2 + 1 + 2 + 2 + 42 + 1 + 3
