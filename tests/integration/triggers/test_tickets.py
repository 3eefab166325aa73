"""Who may follow an inbox: tickets and tokens, for how long, a polite end, and no log that shows a ticket."""

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx

from libs.common.db.pool import Database
from libs.common.settings import Settings as CommonSettings
from tests.client import token
from tests.integration.triggers.following import STREAM, followed, own, refused, ticket
from tests.integration.triggers.service import ANN, Triggers, known_as, order
from tests.process import ServiceProcess


async def test_a_ticket_opens_the_stream_once(shop: Triggers) -> None:
    given = await ticket(shop)
    opened = await asyncio.gather(*(_opens(shop, f"{STREAM}?ticket={given}") for _ in range(5)))
    assert sorted(opened) == [200, 401, 401, 401, 401]
    status, said = await refused(shop, f"{STREAM}?ticket={given}")
    assert (status, "used or older" in said) == (401, True)


async def _opens(triggers: Triggers, path: str) -> int:
    async with (
        httpx.AsyncClient(base_url=triggers.client.base_url, timeout=60) as http,
        http.stream("GET", path) as answer,
    ):
        return answer.status_code


async def test_a_ticket_is_for_one_customer_for_a_minute_and_stored_as_a_hash(shop: Triggers) -> None:
    given = await ticket(shop, headers=token("customers:read"))
    stored = await shop.database.pool.fetch("SELECT * FROM triggers.tickets")
    assert len(stored) == 1
    assert given not in str(stored)
    status, said = await refused(shop, f"/v1/customers/user:ben/inbox/stream?ticket={given}")
    assert status == 403
    assert given not in said
    late = await ticket(shop)
    await shop.database.pool.execute("UPDATE triggers.tickets SET expires_at = now() - interval '1 s'")
    assert (await refused(shop, f"{STREAM}?ticket={late}"))[0] == 401
    await ticket(shop)
    assert await shop.database.pool.fetchval("SELECT count(*) FROM triggers.tickets") == 1
    for wrong in ("", "rt_", "x" * 5000, "%00"):
        assert (await refused(shop, f"{STREAM}?ticket={wrong}"))[0] == 401


async def test_who_gets_neither_ticket_nor_stream(shop: Triggers) -> None:
    for path, method in ((STREAM, "GET"), (f"{STREAM}/tickets", "POST")):
        for headers, status in (
            ({"Authorization": ""}, 401),
            (token("hooks:read"), 403),
            (own("user:ben"), 403),
            (own("user:ann", "own:points"), 403),
            (own(ttl=timedelta(minutes=-5)), 401),
        ):
            answer = await shop.client.request(method, path, headers=headers)
            assert answer.status_code == status, (path, headers)
            assert answer.headers["content-type"] == "application/problem+json"
    for _ in range(32):
        await ticket(shop)
    answer = await shop.client.post(f"{STREAM}/tickets", headers=own())
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")


async def test_a_stream_ends_with_its_token_and_not_before(shop: Triggers) -> None:
    short = own(ttl=timedelta(seconds=6))
    by_ticket = await ticket(shop, headers=short)
    async with followed(shop.client, headers=short) as stream:
        assert [event.name async for event in stream] == ["ready"]
    async with followed(shop.client, f"{STREAM}?ticket={by_ticket}") as stream:
        assert [event.name async for event in stream] == ["ready"]


async def test_a_drain_ends_streams_politely_and_no_log_shows_a_ticket(
    settings: CommonSettings, database: Database, tmp_path: Path
) -> None:
    process = ServiceProcess(
        "triggers",
        settings.dsn,
        tmp_path / "log",
        RAPPORT_CUSTOMER_PUBLIC_KEY=settings.customer_public_key,
        RAPPORT_LOG_LEVEL="debug",
    )
    try:
        await process.ready()
        async with httpx.AsyncClient(base_url=process.url, headers=token(), timeout=20) as client:
            shop = Triggers(client, database)
            await shop.journal(order(ANN, "1", snapshot=known_as(ANN, "ann")))
            given = await ticket(shop)
            async with followed(client, f"{STREAM}?ticket={given}") as stream:
                await anext(stream)
                assert (await refused(shop, f"{STREAM}?ticket={given}"))[0] == 401
                assert (await refused(shop, f"/v1/nothing?ticket={given}"))[0] == 404
                process.process.terminate()
                assert [event async for event in stream] == []
        assert await process.ended() == 0
    finally:
        process.stop()
    said = process.printed()
    assert "/inbox/stream" in said
    assert given.removeprefix("rt_") not in said
