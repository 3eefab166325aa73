"""Who may follow an inbox: tickets and tokens, for how long, a polite end, and no log that shows a ticket."""

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

import httpx

from libs.common.db.pool import Database
from libs.common.settings import Settings as CommonSettings
from tests.client import token
from tests.conftest import free_port
from tests.integration.triggers.following import STREAM, followed, own, refused, ticket
from tests.integration.triggers.service import ANN, Triggers, known_as, order
from tests.support import eventually

ROOT = Path(__file__).parents[3]


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
    settings: CommonSettings, tmp_path: Path
) -> None:
    database = await Database.connect(settings, "test")
    log = tmp_path / "log"
    with log.open("wb") as out:
        port = free_port()
        environment = {
            **os.environ,
            "RAPPORT_PORT": str(port),
            "RAPPORT_DATABASE_URL": settings.dsn,
            "RAPPORT_JWT_PUBLIC_KEY": settings.jwt_public_key,
            "RAPPORT_CUSTOMER_PUBLIC_KEY": settings.customer_public_key,
            "RAPPORT_LOG_LEVEL": "debug",
            "RAPPORT_DIE_WITH_PARENT": "1",
        }
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.triggers", cwd=ROOT, env=environment, stdout=out, stderr=out
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            client.headers.update(token())
            await eventually(lambda: _answers(client))
            shop = Triggers(client, database)
            await shop.journal(order(ANN, "1", snapshot=known_as(ANN, "ann")))
            given = await ticket(shop)
            async with followed(client, f"{STREAM}?ticket={given}") as stream:
                await anext(stream)
                assert (await refused(shop, f"{STREAM}?ticket={given}"))[0] == 401
                assert (await refused(shop, f"/v1/nothing?ticket={given}"))[0] == 404
                child.terminate()
                assert [event async for event in stream] == []
        assert await asyncio.wait_for(child.wait(), 60) == 0
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        await database.close()
    said = log.read_text()
    assert "/inbox/stream" in said
    assert given.removeprefix("rt_") not in said


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False
