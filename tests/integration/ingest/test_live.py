"""The live view of a source: what it sends is shown as it comes, whichever process takes it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx
import msgspec

from tests.client import token
from tests.integration.ingest.conftest import ADMIN, GOOD, Ingest, Source, add_source
from tests.support import eventually


class Event(NamedTuple):
    name: str
    id: str
    data: dict[str, Any]


@asynccontextmanager
async def followed(url: str, source: Source, **options: Any) -> AsyncIterator[AsyncIterator[Event]]:
    options.setdefault("headers", ADMIN)
    async with (
        httpx.AsyncClient(base_url=url, timeout=60) as http,
        http.stream("GET", f"/v1/sources/{source.id}/live", **options) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        events = _events(answer)
        assert (await anext(events)).name == "ready"
        yield events


async def _events(answer: httpx.Response) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Event(fields["event"], fields["id"], msgspec.json.decode(fields["data"]))
            fields = {}


async def _next(events: AsyncIterator[Event]) -> Event:
    return await anext(events)


async def test_what_is_sent_is_shown(ingest: Ingest, source: Source) -> None:
    other = await add_source(ingest)
    async with followed(ingest.url, source) as events:
        await other.post("/v1/track", GOOD)
        bad: dict[str, object] = {"type": "odd", "messageId": "odd"}
        batch = [
            {**GOOD},
            bad,
            {**GOOD, "messageId": "late", "timestamp": "today"},
            {**GOOD, "messageId": "large", "properties": {"text": "x" * 9_000}},
        ]
        await source.post("/v1/batch", {"batch": batch})
        good, odd, late, large = [await anext(events) for _ in range(4)]
    assert (good.name, good.data["status"], good.data["messageId"]) == ("accepted", "ok", "good")
    assert (good.data["event"]["event"], good.data["event"]["userId"]) == ("Product Viewed", "ann")
    assert (odd.name, odd.data["messageId"]) == ("rejected", "odd")
    assert "type 'odd' is unknown" in odd.data["reason"]
    assert msgspec.json.decode(odd.data["body"]) == {"type": "odd", "messageId": "odd"}
    assert (late.name, late.data["status"]) == ("accepted", "warning")
    assert "ISO 8601" in late.data["reason"]
    assert len(large.data["cut"]) == 4_096
    async with followed(ingest.url, source, params={"last_event_id": good.id}) as events:
        assert [(await anext(events)).id for _ in range(3)] == [odd.id, late.id, large.id]


async def test_a_page_that_comes_back_from_before_a_crash_sees_what_is_new(ingest: Ingest, source: Source) -> None:
    """The numbers of events begin anew after a crash of PostgreSQL."""
    async with followed(ingest.url, source, params={"last_event_id": 1_000_000}) as events:
        await source.post("/v1/track", GOOD)
        async with asyncio.timeout(20):
            assert (await anext(events)).data["messageId"] == "good"


async def test_a_body_that_cannot_be_read_is_shown(ingest: Ingest, source: Source) -> None:
    async with followed(ingest.url, source) as events:
        await source.post("/v1/track", b"nonsense")
        broken = await anext(events)
    assert (broken.name, broken.data["body"]) == ("rejected", "nonsense")
    assert "it is not JSON" in broken.data["reason"]


async def test_nothing_is_kept_of_a_source_that_nobody_watches(ingest: Ingest, source: Source) -> None:
    await source.post("/v1/track", GOOD)
    watched = await add_source(ingest)
    async with followed(ingest.url, watched) as events:  # what comes later is written later
        await watched.post("/v1/track", GOOD)
        await anext(events)
    connection = await asyncpg.connect(ingest.dsn)
    kept = await connection.fetchval("SELECT count(*) FROM ingest.live_events WHERE source_id = $1", source.id)
    await connection.close()
    assert kept == 0


async def test_another_process_shows_it_too(ingest: Ingest, source: Source, tmp_path: Path) -> None:
    second = Ingest(ingest.dsn, tmp_path / "log")
    try:
        await second.ready()
        async with followed(second.url, source) as events:
            shown = asyncio.create_task(_next(events))

            async def sent() -> bool:  # the other process knows within seconds who is watched
                await source.post("/v1/track", GOOD)
                return shown.done()

            await eventually(sent)
            assert (await shown).data["messageId"] == "good"
    finally:
        second.stop()


async def test_a_flood_is_counted(ingest: Ingest, source: Source) -> None:
    async with followed(ingest.url, source) as events:
        await source.post("/v1/batch", {"batch": [GOOD] * 900})
        seen = [await anext(events)]
        while seen[-1].name != "skipped":
            seen.append(await anext(events))
    assert len(seen) - 1 + seen[-1].data["events"] == 900


async def test_who_may_watch(ingest: Ingest, source: Source, client: httpx.AsyncClient) -> None:
    path = f"/v1/sources/{source.id}/live"
    assert (await client.get(path)).status_code == 401
    assert (await client.get(path, headers=token("customers:read"))).status_code == 403
    nobody = path.replace(source.id, "00000000-0000-7000-8000-000000000000")
    assert (await client.get(nobody, headers=ADMIN)).status_code == 404
    assert (await client.get(path, params={"last_event_id": "x"}, headers=ADMIN)).status_code == 422
    ticket = (await client.post(f"{path}/tickets", headers=ADMIN)).json()["ticket"]
    other = await add_source(ingest)
    refused = await client.get(f"/v1/sources/{other.id}/live", params={"ticket": ticket})
    assert refused.status_code == 401
    async with followed(ingest.url, source, headers={}, params={"ticket": ticket}):
        pass
    assert (await client.get(path, params={"ticket": ticket})).status_code == 401
