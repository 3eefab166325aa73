"""Inboxes as streams, over real HTTP: tickets, nothing lost, nothing twice, and a polite end."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from libs.common.auth import OWN_SCOPES, OwnScope, mint_customer
from libs.common.db import Database, Tx
from libs.common.settings import Settings as CommonSettings
from services.triggers import queries
from services.triggers.inbox import LOOK
from services.triggers.settings import Settings
from tests.conftest import CUSTOMER_KEYS
from tests.integration.common.running import free_port
from tests.integration.triggers.service import ANN, BEN, Triggers, known_as, order, serving, token
from tests.integration.triggers.test_messages import merge
from tests.support import eventually

ROOT = Path(__file__).parents[3]
STREAM = "/v1/customers/user:ann/inbox/stream"


def own(ref: str = "user:ann", *scopes: OwnScope, ttl: timedelta = timedelta(hours=1)) -> dict[str, str]:
    return {"Authorization": f"Bearer {mint_customer(CUSTOMER_KEYS[0], ref, scopes or OWN_SCOPES, ttl=ttl)}"}


@dataclass
class Event:
    """One event of a stream."""

    name: str
    id: str
    data: dict[str, Any]


@asynccontextmanager
async def followed(
    client: httpx.AsyncClient, path: str = STREAM, **options: Any
) -> AsyncIterator[AsyncIterator[Event]]:
    """Follow a stream without the client's own token."""
    async with (
        httpx.AsyncClient(base_url=client.base_url, timeout=30) as http,
        http.stream("GET", path, **options) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer)


async def events(answer: httpx.Response) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Event(fields["event"], fields["id"], msgspec.json.decode(fields["data"]))
            fields = {}


async def ticket(triggers: Triggers, ref: str = "user:ann", headers: dict[str, str] | None = None) -> str:
    answer = await triggers.client.post(f"/v1/customers/{ref}/inbox/stream/tickets", headers=headers or own(ref))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["ticket"])


async def refused(triggers: Triggers, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    async with httpx.AsyncClient(base_url=triggers.client.base_url) as http:
        answer = await http.get(path, headers=headers)
        return answer.status_code, answer.json()["detail"]


@pytest.fixture
async def shop(triggers: Triggers) -> Triggers:
    """Ann and Ben are known, each with one message; a hook thanks for each order."""
    await triggers.hook(
        action={"channel": "inbox", "text": "{{ event.properties.order_id }}"}, trigger={"event": "Order Completed"}
    )
    await triggers.journal(
        order(ANN, "first", snapshot=known_as(ANN, "ann")), order(BEN, "other", snapshot=known_as(BEN, "ben"))
    )
    return triggers


async def test_messages_come_as_they_come(shop: Triggers) -> None:
    async with followed(shop.client, headers=own()) as stream:
        assert (await anext(stream)).name == "ready"
        await shop.journal(order(ANN, "a"), order(BEN, "b"), order(ANN, "c"))
        texts = [(await anext(stream)).data["text"] for _ in range(2)]
        assert sorted(texts) == ["a", "c"]
        await shop.journal(order(ANN, "d"))
        last = await anext(stream)
        assert last.name == "message"
        (shown, *_) = (await shop.get("customers/user:ann/inbox"))["items"]
        assert last.data == shown


async def test_a_ticket_opens_the_stream_once(shop: Triggers) -> None:
    given = await ticket(shop)
    opened = await asyncio.gather(*(_opens(shop, f"{STREAM}?ticket={given}") for _ in range(5)))
    assert sorted(opened) == [200, 401, 401, 401, 401]
    status, said = await refused(shop, f"{STREAM}?ticket={given}")
    assert (status, "used or older" in said) == (401, True)


async def _opens(triggers: Triggers, path: str) -> int:
    async with httpx.AsyncClient(base_url=triggers.client.base_url) as http, http.stream("GET", path) as answer:
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


@pytest.mark.parametrize("how", ["header", "query"])
async def test_who_comes_back_misses_nothing_and_gets_nothing_twice(shop: Triggers, how: str) -> None:
    heard: list[str] = []
    last = ""
    for number in range(12):
        headers = own()
        params: dict[str, str] = {}
        if last:
            headers |= {"Last-Event-ID": last} if how == "header" else {}
            params |= {"last_event_id": last} if how == "query" else {}
        async with followed(shop.client, headers=headers, params=params) as stream:
            last = (await anext(stream)).id
            if number == 0:
                await shop.journal(order(ANN, "n0"))
            event = await anext(stream)
            heard.append(event.data["text"])
            last = event.id
        # what comes while nobody follows, in several batches
        await shop.journal(order(ANN, f"n{number + 1}"))
    assert heard == [f"n{number}" for number in range(12)]


async def test_messages_of_several_processes_keep_one_order(shop: Triggers, triggers_settings: Settings) -> None:
    """A second process delivers too: who follows one of them hears each message once, in the order of the inbox."""
    async with serving(triggers_settings) as second, followed(second.client, headers=own()) as stream:
        await anext(stream)
        for number in range(40):
            await shop.append(order(ANN, f"n{number}"))
        heard = [(await anext(stream)).data for _ in range(40)]
        await shop.settled()
        assert len({each["id"] for each in heard}) == 40
        inbox = (await shop.get("customers/user:ann/inbox", limit=40))["items"]
        assert [each["id"] for each in heard] == [each["id"] for each in reversed(inbox)]


async def test_a_clock_that_is_behind_hides_no_message(shop: Triggers) -> None:
    """The newest message lies in the future, as if another process' clock were ahead."""
    await shop.database.pool.execute(
        "UPDATE triggers.deliveries SET settled_at = settled_at + interval '1 hour' WHERE customer = $1", ANN
    )
    async with followed(shop.client, headers=own()) as stream:
        await anext(stream)
        await shop.journal(order(ANN, "later"))
        assert (await anext(stream)).data["text"] == "later"


async def test_a_merge_goes_on_with_the_survivor_and_says_that_the_inbox_changed(shop: Triggers) -> None:
    async with (
        followed(shop.client, headers=own()) as anns,
        followed(shop.client, "/v1/customers/user:ben/inbox/stream", headers=own("user:ben")) as bens,
    ):
        place = (await anext(anns)).id
        await anext(bens)
        await shop.journal(*merge(BEN, ANN))
        # the other's message lies behind one's place, and is told, or before it: then the inbox has changed
        told = [(await anext(stream)).name for stream in (anns, bens)]
        assert sorted(told) == ["changed", "message"]
        await shop.journal(order(ANN, "together"))
        for stream in (anns, bens):
            assert (await anext(stream)).data["text"] == "together"
    # who was away meanwhile hears the same
    async with followed(shop.client, headers={**own(), "Last-Event-ID": place}) as stream:
        await anext(stream)
        assert [(await anext(stream)).name for _ in range(2)] == [told[0], "message"]


async def test_a_place_that_is_none_is_refused(shop: Triggers) -> None:
    for wrong in ("abc", "!!!", "A" * 90):
        status, said = await refused(shop, STREAM, {**own(), "Last-Event-ID": wrong})
        assert (status, "none of this stream's" in said) == (422, True)


async def test_so_many_may_follow(triggers_settings: Settings, database: Database) -> None:
    settings = triggers_settings.model_copy(update={"inbox_streams": 2})
    async with serving(settings) as shop:
        await shop.journal(order(ANN, "1", snapshot=known_as(ANN, "ann")))
        async with followed(shop.client, headers=own()) as one, followed(shop.client, headers=own()) as two:
            await anext(one)
            await anext(two)
            assert (await refused(shop, STREAM, own()))[0] == 429

        async def free() -> bool:
            return await _opens_with(shop, own()) == 200

        assert await eventually(free)


async def _opens_with(triggers: Triggers, headers: dict[str, str]) -> int:
    async with (
        httpx.AsyncClient(base_url=triggers.client.base_url) as http,
        http.stream("GET", STREAM, headers=headers) as answer,
    ):
        return answer.status_code


async def test_a_stream_ends_with_its_token_and_not_before(shop: Triggers) -> None:
    short = own(ttl=timedelta(seconds=3))
    by_ticket = await ticket(shop, headers=short)
    async with followed(shop.client, headers=short) as stream:
        assert [event.name async for event in stream] == ["ready"]
    async with followed(shop.client, f"{STREAM}?ticket={by_ticket}") as stream:
        assert [event.name async for event in stream] == ["ready"]


async def test_one_look_serves_all(shop: Triggers, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many follow, the database is asked no more often."""
    asked: list[int] = []
    real = queries.come

    async def counted(tx: Tx, followed: Sequence[queries.Followed], limit: int) -> dict[int, list[queries.Row]]:
        asked.append(len(followed))
        return await real(tx, followed, limit)

    monkeypatch.setattr(queries, "come", counted)
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        streams = []
        for number in range(24):
            ref = "user:ann" if number % 2 else "user:ben"
            path = f"/v1/customers/{ref}/inbox/stream"
            streams.append(await stack.enter_async_context(followed(shop.client, path, headers=own(ref))))
        for stream in streams:
            await anext(stream)
        await shop.journal(order(ANN, "a"), order(BEN, "b"))
        for number, stream in enumerate(streams):
            assert (await anext(stream)).data["text"] == ("a" if number % 2 else "b")
    assert len(asked) <= (time.monotonic() - started) / LOOK + 1
    assert max(asked) == 2  # two inboxes, each asked for once


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
            await eventually(lambda: _answers(client), within=30)
            shop = Triggers(client, database)
            await shop.journal(order(ANN, "1", snapshot=known_as(ANN, "ann")))
            given = await ticket(shop)
            async with followed(client, f"{STREAM}?ticket={given}") as stream:
                await anext(stream)
                assert (await refused(shop, f"{STREAM}?ticket={given}"))[0] == 401
                assert (await refused(shop, f"/v1/nothing?ticket={given}"))[0] == 404
                child.terminate()
                assert [event async for event in stream] == []
        assert await asyncio.wait_for(child.wait(), 20) == 0
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
