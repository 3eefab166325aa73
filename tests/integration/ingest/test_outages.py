"""What is answered with 200 is in the log, whatever ends or goes away; what cannot be stored is answered 503."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from deploy.local.postgres import Postgres
from tests.integration.ingest.conftest import ADMIN, Ingest, Source, add_source, new_database
from tests.support import eventually

DEADLINE = {"RAPPORT_INGEST_APPEND_DEADLINE": "2", "RAPPORT_INGEST_QUEUE_LIMIT": "20"}


@pytest.fixture
async def own(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Ingest]:
    """An ingest of this test alone, impatient and with a short queue."""
    service = Ingest(await new_database(postgres), tmp_path / "log", **DEADLINE)
    try:
        await service.ready()
        yield service
    finally:
        service.stop()


def _event(number: int) -> dict[str, str]:
    return {"event": "X", "userId": f"u{number % 10}", "messageId": f"m{number}"}


async def _post_all(source: Source, numbers: range) -> dict[int, int]:
    """Each event alone, all at once: the status of each; 0 when there was no answer."""

    async def post(client: httpx.AsyncClient, number: int) -> int:
        try:
            return (await client.post("/v1/track", json=_event(number), auth=(source.key, ""))).status_code
        except httpx.TransportError:
            return 0

    async with httpx.AsyncClient(base_url=source.ingest.url, timeout=30) as client:
        return dict(zip(numbers, await asyncio.gather(*(post(client, number) for number in numbers)), strict=True))


async def _stored(source: Source) -> set[str]:
    return {event["messageId"] for event in await source.events()}


async def test_postgresql_stops_and_returns(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "home", fsync=False)
    server.start()
    service: Ingest | None = None
    try:
        service = Ingest(await new_database(server), tmp_path / "log", **DEADLINE)
        await service.ready()
        source = await add_source(service)
        assert (await source.post("/v1/track", _event(1))).status_code == 200
        other = await add_source(service)
        server.kill()
        away = await source.post("/v1/track", _event(2))
        unknown = await other.post("/v1/track", _event(2))
        for answer in (away, unknown):  # a key that cannot be checked is not wrong
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["success"] is False
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get("/livez")).status_code == 200
        server.launch()
        server.wait_ready()

        async def taken() -> bool:
            return (await source.post("/v1/track", _event(2))).status_code == 200

        async def known() -> bool:
            return (await other.post("/v1/track", _event(2))).status_code == 200

        await eventually(taken)
        await eventually(known)
        assert {"m1", "m2"} <= await _stored(source)
    finally:
        if service is not None:
            service.stop()
        server.stop()


async def test_a_log_that_does_not_answer(own: Ingest) -> None:
    """Waiting requests are answered when their time is up, those beyond the queue at once; then all goes on."""
    source = await add_source(own)
    assert (await source.post("/v1/track", _event(0))).status_code == 200
    blocker = await asyncpg.connect(own.dsn)
    await blocker.execute("BEGIN")
    await blocker.execute("LOCK TABLE log.heads IN EXCLUSIVE MODE")
    statuses = await _post_all(source, range(1, 101))
    assert set(statuses.values()) == {503}
    await blocker.execute("ROLLBACK")
    await blocker.close()

    async def taken() -> bool:
        return (await source.post("/v1/track", _event(101))).status_code == 200

    await eventually(taken)
    after = await _post_all(source, range(200, 210))
    assert set(after.values()) == {200}
    assert {f"m{number}" for number in (0, 101, *after)} <= await _stored(source)


@pytest.mark.parametrize("point", ["ingest.append", "ingest.appended"])
async def test_killed_in_mid_commit(own: Ingest, point: str) -> None:
    source = await add_source(own)
    own.stop()
    await own.start_again(RAPPORT_FAILPOINTS=f"{point}=kill:4", RAPPORT_INGEST_QUEUE_LIMIT="50000")
    answers: dict[int, int] = {}
    for start in range(0, 1_000, 20):
        answers |= await _post_all(source, range(start, start + 20))
        if 0 in answers.values():
            break
    own.process.wait(60)
    acknowledged = {f"m{number}" for number, status in answers.items() if status == 200}
    assert acknowledged
    assert acknowledged <= await _stored(source)
    await own.start_again(RAPPORT_FAILPOINTS="")
    again = await _post_all(source, range(len(answers)))
    assert set(again.values()) == {200}
    records = await source.records()
    assert len({record.id for record in records}) == len(answers)  # a retry has the id of the first try


async def test_stopping_finishes_what_is_begun(own: Ingest) -> None:
    source = await add_source(own)
    assert (await source.post("/v1/track", _event(0))).status_code == 200
    sending = asyncio.create_task(_post_all(source, range(1, 16)))

    async def begun() -> bool:
        return len(await _stored(source)) > 1

    await eventually(begun)
    own.process.send_signal(signal.SIGTERM)
    answers = await sending
    assert own.process.wait(15) == 0
    assert {f"m{number}" for number, status in answers.items() if status == 200} <= await _stored(source)


async def test_a_page_that_is_left_while_sending(own: Ingest) -> None:
    """A beacon: the event is sent, nobody waits for the answer."""
    source = await add_source(own)
    body = b'{"event":"Left","userId":"ann","messageId":"beacon","writeKey":"%b"}' % source.key.encode()
    request = b"POST /v1/t HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(body)
    _, writer = await asyncio.open_connection("127.0.0.1", own.port)
    writer.write(request + body)
    await writer.drain()
    writer.close()
    _, halfway = await asyncio.open_connection("127.0.0.1", own.port)
    halfway.write(request + body[:20])
    await halfway.drain()
    halfway.close()

    async def arrived() -> bool:
        return "beacon" in await _stored(source)

    await eventually(arrived)
    assert set((await _post_all(source, range(15))).values()) == {200}


async def test_what_all_requests_may_hold(postgres: Postgres, tmp_path: Path) -> None:
    service = Ingest(await new_database(postgres), tmp_path / "log", RAPPORT_INGEST_MEMORY_LIMIT="100000")
    try:
        await service.ready()
        source = await add_source(service)
        large = await source.post("/v1/batch", b'{"batch":[' + b" " * 120_000 + b"]}")
        assert large.status_code == 503
        assert "retry-after" in large.headers
        assert (await source.post("/v1/track", _event(1))).status_code == 200
    finally:
        service.stop()


async def test_health_names_its_parts(ingest: Ingest) -> None:
    async with httpx.AsyncClient(base_url=ingest.url, timeout=60) as client:
        ready = (await client.get("/readyz")).json()
    assert {"postgres", "write keys", "rejections", "group commit"} <= set(ready["checks"])
    assert "events wait" in ready["checks"]["group commit"]["detail"]


async def test_old_rejected_events_are_deleted(own: Ingest) -> None:
    source = await add_source(own)
    await source.post("/v1/batch", {"batch": [{"type": "track"}]})
    async with httpx.AsyncClient(base_url=own.url, headers=ADMIN, timeout=60) as client:

        async def listed() -> bool:
            return len((await client.get("/v1/rejected")).json()["items"]) == 1

        await eventually(listed)
    connection = await asyncpg.connect(own.dsn)
    await connection.execute("UPDATE ingest.rejected SET received_at = now() - interval '8 days'")
    own.stop()
    await own.start_again()

    async def deleted() -> bool:
        return not await connection.fetchval("SELECT count(*) FROM ingest.rejected")

    await eventually(deleted)
    await connection.close()
