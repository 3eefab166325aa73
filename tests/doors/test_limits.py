"""Limits under attack: too much, too slow, too many at once. Whoever attacks is refused; all others are answered."""

import asyncio
import contextlib
import gzip
import re
import socket
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import msgspec
import psutil  # type: ignore[import-untyped]
import pytest

from libs.common.http.fast.connection import HEAD
from tests.client import token
from tests.doors.five import Service
from tests.support import eventually

IDLE = 10_000
MUCH = 100 * 1024 * 1024
CALM = 48 * 1024 * 1024
"""Bytes by which a service may grow under an attack; each attack sends more."""


class Attacked:
    """The service under attack, and somebody who only wants to send an event."""

    def __init__(self, service: Service, key: str) -> None:
        self.service = service
        self.client = httpx.AsyncClient(base_url=service.url, timeout=60, auth=(key, ""))

    async def answers(self) -> None:
        """An event of somebody else is stored."""
        event = {"event": "Seen", "userId": "bystander", "messageId": uuid.uuid4().hex}
        answer = await self.client.post("/v1/track", json=event)
        assert answer.json()["results"][0]["status"] == "ok"
        assert (await self.client.get("/readyz")).status_code == 200

    def memory(self) -> int:
        return int(psutil.Process(self.service.process.pid).memory_info().rss)

    async def raw(self, *pieces: bytes) -> bytes:
        """All that is answered on a new connection to what is sent, until the connection is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        answer = b""
        with contextlib.suppress(ConnectionError):
            while not _whole(answer) and (more := await reader.read(65536)):
                answer += more
        writer.close()
        return answer


def _whole(answer: bytes) -> bool:
    """Whether the last answer is there to its end, and says that the connection is closed behind it."""
    head, _, body = answer[answer.rfind(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return b"connection: close" in head and length is not None and len(body) >= int(length[1])


@pytest.fixture(scope="module")
async def attacked(ingest: Service) -> AsyncIterator[Attacked]:
    async with httpx.AsyncClient(base_url=ingest.url, headers=token("sources:write"), timeout=60) as client:
        made = await client.post("/v1/sources", json={"name": "attacked"})
    ready = Attacked(ingest, made.json()["write_key"])
    await ready.answers()
    yield ready
    await ready.client.aclose()


def problem(answer: bytes) -> dict[str, Any]:
    """The problem in the only answer, ingest's members with it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    found: dict[str, Any] = msgspec.json.decode(body)
    assert head.startswith(f"HTTP/1.1 {found['status']} ".encode())
    assert (found["success"], found["message"]) == (False, found["detail"])
    return found


def heads(kind: str) -> Iterator[bytes]:
    """100 MB of what is no body, piece by piece."""
    chunk = b"a" * 65536
    if kind == "a path":
        yield b"GET /"
        yield from [chunk] * (MUCH // len(chunk))
        yield b" HTTP/1.1\r\nHost: x\r\n\r\n"
        return
    yield b"POST /v1/track HTTP/1.1\r\nHost: x\r\n"
    if kind == "one header":
        yield b"X-Much: "
        yield from [chunk] * (MUCH // len(chunk))
    elif kind == "a header's name":
        yield from [chunk] * (MUCH // len(chunk))
    elif kind == "many headers":
        some = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 100) for number in range(600))
        yield from [some] * (MUCH // len(some))
    elif kind == "trailers":
        yield b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        some = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 100) for number in range(600))
        yield from [some] * (MUCH // len(some))
    elif kind == "chunks' extensions":
        yield b"Transfer-Encoding: chunked\r\n\r\n2;"
        yield from [chunk] * (MUCH // len(chunk))
    yield b"\r\n\r\n"


@pytest.mark.parametrize(
    "kind", ["one header", "a header's name", "many headers", "a path", "trailers", "chunks' extensions"]
)
async def test_a_hundred_megabytes_of_headers_are_refused(attacked: Attacked, kind: str) -> None:
    before = attacked.memory()
    answer = await attacked.raw(*heads(kind))
    assert attacked.memory() - before < CALM
    if answer:  # the system may drop it while it is still being sent to
        assert problem(answer)["status"] in (400, 431)
    await attacked.answers()


async def test_a_head_is_refused_by_its_size_and_however_it_is_cut(attacked: Attacked) -> None:
    for size, status in ((HEAD - 1000, 200), (HEAD + 1000, 431)):
        head = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Much: " + b"a" * size + b"\r\n\r\n"
        for pieces in ([head], [head[at : at + 9000] for at in range(0, len(head), 9000)], [b"\r\n", head]):
            answer = await attacked.raw(*pieces)
            assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert problem(answer)["code"] == "headers-too-large"


async def test_heads_on_a_kept_connection_are_counted_one_by_one(attacked: Attacked) -> None:
    """Together they are far over the limit, with bodies between them, and all at once."""
    body = b'{"event":"A","userId":"u"}' + b" " * 60_000
    one = b"POST /v1/m HTTP/1.1\r\nHost: x\r\nX-Some: " + b"a" * 30_000 + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await attacked.raw(*[one + body] * 12, last)
    assert answer.count(b"HTTP/1.1 200 OK") == 13


async def test_what_is_no_http_is_refused_with_a_problem(attacked: Attacked) -> None:
    for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"):
        assert problem(await attacked.raw(nonsense))["status"] == 400


async def test_slow_heads_are_cut_off(attacked: Attacked) -> None:
    """One that never comes to its end, and one that comes byte by byte: the connection is closed, with an answer."""

    async def drip() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", attacked.service.port)
        answering = asyncio.create_task(reader.read())
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        while not answering.done():
            with contextlib.suppress(ConnectionError):
                writer.write(b"a")
                await writer.drain()
            await asyncio.wait([answering], timeout=0.05)
        writer.close()
        return await answering

    stuck = attacked.raw(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
    for answer in await asyncio.wait_for(asyncio.gather(stuck, *(drip() for _ in range(20))), 60):
        assert problem(answer)["status"] == 408
    await attacked.answers()


async def test_slow_bodies_hold_nobody_up(attacked: Attacked) -> None:
    """Two hundred on the door and on REST: others are answered; REST's end with 408."""
    slow = []
    for path, key in (("/v1/track", b""), ("/v1/sources", token("sources:write")["authorization"].encode())):
        for _ in range(100):
            reader, writer = await asyncio.open_connection("127.0.0.1", attacked.service.port)
            writer.write(b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n" % (path.encode(), key))
            writer.write(b'Content-Type: application/json\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n{"')
            slow.append((path, reader, writer))
    await attacked.answers()
    for path, reader, writer in slow:
        if path == "/v1/sources":
            assert problem(await asyncio.wait_for(reader.read(), 60))["status"] == 408
        writer.close()


async def test_ten_thousand_idle_connections_hold_nobody_up(attacked: Attacked, files: int) -> None:
    """Half of them say nothing, half have begun a request. As many as this machine lets one process have."""
    count = min(IDLE, files - 500)
    idle: list[socket.socket] = []
    try:
        for number in range(count):
            one = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", attacked.service.port), 60)
            idle.append(one)
            if number % 2:
                one.send(b"POST /v1/track HTTP/1.1\r\nHost: x\r\n")
        await attacked.answers()
        open_ = len(psutil.Process(attacked.service.process.pid).net_connections("tcp"))
        assert open_ > count // 3  # the other half may have been cut off by now, for its slow heads
    finally:
        for one in idle:
            one.close()
    await attacked.answers()
    await eventually(lambda: _gone(attacked, count // 3))


async def _gone(attacked: Attacked, most: int) -> bool:
    return len(psutil.Process(attacked.service.process.pid).net_connections("tcp")) < most


async def test_gzip_bombs(attacked: Attacked) -> None:
    bomb = gzip.compress(b" " * (200 * 1024 * 1024))
    before = attacked.memory()
    for body in (bomb, gzip.compress(bomb), bomb * 15, gzip.compress(b"") * 1000):
        answers = await asyncio.gather(*(attacked.client.post("/v1/batch", content=body) for _ in range(4)))
        assert {answer.status_code for answer in answers} == {400}
    assert attacked.memory() - before < CALM
    sources = {**token("sources:write"), "content-encoding": "gzip", "content-type": "application/json"}
    answer = await attacked.client.post("/v1/sources", content=bomb, headers=sources)
    assert answer.status_code == 415
    await attacked.answers()


MB = 1_000_000
BOMBS = {
    "arrays": b"[" * MB,
    "objects": b'{"a":' * (MB // 5),
    "objects with an end": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "in a batch": b'{"batch":[' + b"[" * (MB - 100),
    "half-closed": (b"[" * 40 + b"]" * 39) * 10_000,
    "keys": b"{" + b",".join(b'"%d":1' % number for number in range(80_000)) + b"}",
    "one key again and again": b"{" + b'"userId":"a",' * 70_000 + b'"event":"A"}',
    "a long number": b'{"event":"A","userId":' + b"9" * 900_000 + b"}",
    "a high exponent": b'{"event":"A","userId":"u","properties":{"n":1e999999999,"m":1e-999999999}}',
    "a long text": b'{"event":"A","userId":"' + b"\\u0061" * 150_000 + b'"}',
    "quotes": b'"' * MB,
    "backslashes": b'{"a":"' + b"\\" * (MB - 100),
    "empty events": b'{"batch":[' + b"{}," * 300_000 + b"{}]}",
    "commas": b'{"batch":[' + b"," * (MB - 100) + b"]}",
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_json_bombs(attacked: Attacked, bomb: str) -> None:
    before = attacked.memory()
    rest = {**token("sources:write"), "content-type": "application/json"}
    for path, headers in (("/v1/track", {}), ("/v1/batch", {}), ("/v1/sources", rest)):
        request = attacked.client.build_request("POST", path, content=BOMBS[bomb][: MB - 1], headers=headers)
        auth = None if headers else attacked.client.auth
        for answer in await asyncio.gather(*(attacked.client.send(request, auth=auth) for _ in range(3))):
            assert answer.status_code in ((400, 422) if headers else (200, 400)), answer.text
            if answer.status_code == 200:
                assert {each["status"] for each in answer.json()["results"]} <= {"rejected", "ok", "warning"}
    assert attacked.memory() - before < CALM
    await attacked.answers()
