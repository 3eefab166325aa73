"""A source's private fields are nowhere in the database, whatever is sent."""

import gzip
from typing import Any

import asyncpg
import httpx
import msgspec

from tests.integration.ingest.conftest import ADMIN, Ingest, Source, add_source
from tests.integration.ingest.test_replays import listed, replay
from tests.integration.ingest.test_tracking_plan import Plans
from tests.support import eventually

MARK = "verysecretmark"
FIELDS = {"context.ip": "truncate", "traits.email": "hash", "properties.note": "drop", "traits.phone": {"truncate": 3}}
PRIVATE: dict[str, Any] = {
    "context": {"ip": "203.0.113.77", "traits": {"email": MARK}},
    "traits": {"email": MARK, "phone": f"+43{MARK}"},
    "properties": {"note": MARK, "n": 1},
}


async def found(ingest: Ingest, mark: str = MARK) -> list[str]:
    """The tables of ingest and the log in which the mark is."""
    connection = await asyncpg.connect(ingest.dsn)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname IN ('ingest', 'log')"
        )
        places = []
        for table in tables:
            for row in await connection.fetch(f"SELECT * FROM {table['name']}"):
                if mark in str(tuple(row)):
                    places.append(table["name"])
    finally:
        await connection.close()
    return places


async def test_nothing_private_is_stored(ingest: Ingest, client: httpx.AsyncClient) -> None:
    source = await add_source(ingest, private_fields=FIELDS)
    plan = {"events": {"Planned": {"mode": "refuse", "schema": {"properties": {"n": {"type": "string"}}}}}}
    await Plans(client, source).live(plan)
    async with client.stream("GET", f"/v1/sources/{source.id}/live", headers=ADMIN) as stream:
        lines = stream.aiter_lines()
        async for line in lines:
            if line == "event: ready":
                break
        await _send(source)
        seen = 0
        async for line in lines:
            assert MARK not in line
            seen += line.startswith("data: ")
            if seen >= 8:  # one of them is that of `ready`
                break
    rejected = await listed(client, source, 5)
    assert {"ingest.live_events", "ingest.rejected", 'log."ingest.events"'} <= set(await found(ingest, "ann"))
    assert await found(ingest) == []
    planned = next(item for item in rejected if item["event"] == "Planned")
    await Plans(client, source).live({"events": {}})
    assert (await replay(client, planned["id"])).json()["status"] == "ok"
    mended = {"type": "track", "event": "Mended", "userId": "ann", **PRIVATE}
    assert (await replay(client, rejected[0]["id"], mended)).json()["status"] == "ok"
    assert await found(ingest) == []
    events = {event.get("event"): event for event in await source.events()}
    hashes = {event["traits"]["email"] for event in events.values()}
    assert len(hashes) == 1
    assert hashes.pop().startswith("hmac-sha256:")
    for name in ("Planned", "Mended", "Fine"):
        event = events[name]
        assert (event["context"]["ip"], event["traits"]["phone"], event["properties"]) == (
            "203.0.113.0",
            "+43",
            {"n": 1},
        )


async def _send(source: Source) -> None:
    ids = {"userId": "ann", "messageId": "m"}
    batch = [
        {"type": "track", "event": "Fine", **ids, **PRIVATE, "timestamp": "today"},
        {"type": "identify", **ids, "context": PRIVATE["context"]},
        {"type": "track", "event": "Planned", **ids, **PRIVATE},
        {"type": "dance", **ids, **PRIVATE},
        {"type": "track", "event": "Nobody", **PRIVATE},
    ]
    answer = await source.post("/v1/batch", gzip.compress(msgspec.json.encode({"batch": batch})))
    assert [result["status"] for result in answer.json()["results"]] == ["warning", "ok", *["rejected"] * 3]
    await source.post(
        "/v1/track", f'{{"event": "X", "userId": "ann", "traits": {{"email": "{MARK}", "a": NaN}}}}'.encode()
    )
    await source.post("/v1/batch", f'{{"batch": "{MARK}", "context": {{"ip": "{MARK}"}}}}'.encode())


async def test_they_are_declared_and_shown_with_the_source(source: Source, client: httpx.AsyncClient) -> None:
    async def change(fields: object) -> httpx.Response:
        return await client.patch(f"/v1/sources/{source.id}", json={"private_fields": fields}, headers=ADMIN)

    shown = (await client.get(f"/v1/sources/{source.id}", headers=ADMIN)).json()
    assert shown["private_fields"] is None
    assert (await change(FIELDS)).json() == {**shown, "private_fields": FIELDS}
    sent = 0

    async def private() -> bool:
        nonlocal sent
        sent += 1
        body = {"event": "X", "userId": "ann", "messageId": f"m{sent}", "properties": {"note": "x"}}
        await source.post("/v1/track", body)
        return any(not event.get("properties") for event in await source.events())

    await eventually(private)
    for wrong in ({"userId": "drop"}, {"context.": "drop"}, {"traits.a": "forget"}, {"traits.a": {"truncate": 0}}):
        assert (await change(wrong)).status_code == 422, wrong
    assert (await change({})).json()["private_fields"] is None
