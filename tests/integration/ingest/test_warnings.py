"""Warnings are counted by source, day and wording, because SDKs throw away the answers in which they stand."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from libs.common.log.append import Outgoing
from libs.common.observability.telemetry import Meter
from libs.common.runtime.postgres import Postgres
from libs.common.settings import Settings
from services.ingest import queries, store
from services.ingest.api.rejected import NEWEST
from services.ingest.build_records import BuiltRecords, EventResult
from services.ingest.shared_ids import MANY
from services.ingest.warning_counts import OTHERS, WORDINGS, WarningCounts
from tests.integration.ingest.conftest import ADMIN, GOOD, Source
from tests.support import eventually

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def _listed(client: httpx.AsyncClient, source: Source) -> list[dict[str, Any]]:
    page = await client.get("/v1/warnings", params={"source": source.name, "limit": 200}, headers=ADMIN)
    items: list[dict[str, Any]] = page.json()["items"]
    return items


async def test_they_are_counted_by_their_wording(source: Source, client: httpx.AsyncClient) -> None:
    odd = [{**GOOD, "messageId": f"m{number}", "timestamp": f"day {number}"} for number in range(3)]
    await source.post("/v1/batch", {"batch": [GOOD, *odd, {"type": "odd", "userId": "ann"}]})
    await source.post("/v1/track", {**GOOD, "messageId": "m3", "timestamp": "today", "name": 7})

    async def counted() -> bool:
        return [sum(item["events"] for item in await _listed(client, source))] == [5]

    await eventually(counted)
    items = {item["warning"]: item for item in await _listed(client, source)}
    times = items["timestamp … is not ISO 8601, the time of receipt is used"]
    assert times["events"] == 4
    assert (times["example"], times["message_id"], times["event"]) == (
        "timestamp 'today' is not ISO 8601, the time of receipt is used",
        "m3",
        "Product Viewed",
    )
    assert items["name is not a string and was left out"]["events"] == 1


async def test_pages_and_what_is_not_there(source: Source, client: httpx.AsyncClient) -> None:
    await source.post("/v1/track", {**GOOD, "timestamp": "today", "name": 7})

    async def both() -> bool:
        return len(await _listed(client, source)) == 2

    await eventually(both)
    parameters: dict[str, str | int] = {"source": source.name, "limit": 1}
    first = (await client.get("/v1/warnings", params=parameters, headers=ADMIN)).json()
    second = (await client.get("/v1/warnings", params={**parameters, "cursor": first["next"]}, headers=ADMIN)).json()
    assert len({item["warning"] for page in (first, second) for item in page["items"]}) == 2
    assert second["next"] is None
    assert (await client.get("/v1/warnings", params={"source": "nobody"}, headers=ADMIN)).status_code == 404
    assert (await client.get("/v1/warnings")).status_code == 401


async def test_a_user_id_that_a_crowd_has_is_warned_of(source: Source, client: httpx.AsyncClient) -> None:
    for number in range(MANY):
        sent = {"event": "Seen", "userId": "till", "anonymousId": f"a{number}", "messageId": f"m{number}"}
        assert (await source.post("/v1/track", sent)).json()["results"][0]["status"] == "ok"

    async def found() -> bool:
        return "userId 'till' came with 20 anonymousIds" in str(await _listed(client, source))

    await eventually(found)


def _built(*reasons: str) -> BuiltRecords:
    """What becomes of a rejected event and of as many others with a warning each."""
    results = [EventResult("warning", f"m{number}", reason) for number, reason in enumerate(reasons)]
    records = [Outgoing("k", b"{}", NOW, "X") for _ in reasons]
    return BuiltRecords(records, [EventResult("rejected", None, "bad"), *results])


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[Postgres]:
    component = Postgres(settings, "ingest", Meter("ingest"))
    await component.start()
    yield component
    await component.stop()


async def _written(pool: Postgres, built: BuiltRecords, at: datetime) -> None:
    async with pool.database.transaction() as tx:
        source = await tx.fetchval("SELECT id FROM ingest.sources") or await store.add_source(tx, "shop", "USD", None)
    counts = WarningCounts(pool)
    await counts.start()
    counts.add(source, at, built)
    await counts.stop()


async def test_too_many_wordings_are_counted_together(pool: Postgres) -> None:
    texts = [f"number {number} is odd" for number in range(WORDINGS + 20)]
    await _written(pool, _built(*texts, f"{texts[0]}; {texts[-1]}"), NOW)
    async with pool.database.connection() as connection:
        rows = {row["warning"]: row["events"] for row in await queries.warnings(connection, None, NEWEST, 1_000)}
    assert len(rows) == WORDINGS + 1
    assert (rows[OTHERS], rows[texts[0]], sum(rows.values())) == (21, 2, WORDINGS + 22)


async def test_several_processes_add_up_and_the_newest_example_stays(pool: Postgres) -> None:
    for at, name in ((NOW, "second"), (NOW - timedelta(seconds=9), "first")):
        await _written(pool, _built(f"name '{name}' is odd"), at)
    async with pool.database.connection() as connection:
        (row,) = await queries.warnings(connection, "shop", NEWEST, 10)
    assert (row["warning"], row["events"], row["example"]) == ("name … is odd", 2, "name 'second' is odd")
    assert row["last_at"] == NOW


async def test_old_ones_are_deleted(pool: Postgres) -> None:
    for days in (0, 3, 9):
        await _written(pool, _built("odd"), NOW - timedelta(days=days))
    async with pool.database.transaction() as tx:
        assert not await store.forget_old(tx, NOW - store.KEPT)
        assert len(await queries.warnings(tx, None, NEWEST, 10)) == 2
