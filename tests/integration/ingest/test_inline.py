"""A request that arrives in one piece is answered without a task; it gets what any other gets."""

import asyncio
import gc
import gzip
from base64 import b64encode
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from libs.common.http.auth.tokens import mint
from libs.common.settings import Settings as CommonSettings
from services.ingest.app import create
from services.ingest.settings import Settings
from tests.client import ready, running
from tests.conftest import KEYS
from tests.integration.ingest.conftest import Ingest, Source
from tests.support import eventually

TRACK = {"event": "Product Viewed", "userId": "ann", "messageId": "m1"}
MARTA = {"authorization": f"Bearer {mint(KEYS[0], 'marta', ['sources:write'], timedelta(hours=1))}"}
_OWN = (b"date", b"x-request-id")
Answered = tuple[bytes, dict[bytes, bytes], Any]


class Caller:
    """A kept connection on which bytes are sent as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, ingest: Ingest) -> "Caller":
        return cls(*await asyncio.open_connection("127.0.0.1", ingest.port))

    def send(self, *parts: bytes) -> None:
        self._writer.write(b"".join(parts))

    async def answer(self) -> Answered:
        """Status line, headers and body. What is made for each answer is only looked for."""
        lines = (await self._reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")[:-2]
        headers = {name: value for name, _, value in (line.partition(b": ") for line in lines[1:])}
        size = int(headers.get(b"content-length", b"0"))
        body = msgspec.json.decode(await self._reader.readexactly(size)) if size else None
        if lines[0].endswith(b"100 continue"):
            return lines[0], headers, body
        assert all(headers.pop(name) for name in _OWN)
        if isinstance(body, dict):
            body.pop("request_id", None)
        return lines[0], headers, body

    async def closed(self) -> bool:
        return await self._reader.read() == b""

    def close(self) -> None:
        self._writer.close()


def _head(key: str, size: int, path: str = "/v1/track", more: bytes = b"", version: bytes = b"1.1") -> bytes:
    authorization = b64encode(f"{key}:".encode())
    start = b"POST %b HTTP/%b\r\nHost: shop\r\nAuthorization: Basic %b\r\n" % (path.encode(), version, authorization)
    return start + b"Content-Length: %d\r\n%b\r\n" % (size, more)


async def _inline(source: Source, body: bytes, key: str, path: str, more: bytes) -> Answered:
    caller = await Caller.open(source.ingest)
    caller.send(_head(key, len(body), path, more), body)
    answer = await caller.answer()
    caller.close()
    return answer


async def _through_a_task(source: Source, body: bytes, key: str, path: str, more: bytes) -> Answered:
    """The body comes when it is asked for, which is long after the head."""
    caller = await Caller.open(source.ingest)
    caller.send(_head(key, len(body), path, more + b"Expect: 100-continue\r\n"))
    answer = await caller.answer()
    if answer[0].endswith(b"100 continue"):  # else the head alone is refused
        caller.send(body)
        answer = await caller.answer()
    caller.close()
    return answer


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


@pytest.mark.parametrize(
    ("body", "path", "more"),
    [
        (_json(TRACK), "/v1/track", b""),
        (_json(TRACK), "/v1/t/", b"Origin: https://shop.example\r\n"),
        (
            _json({**TRACK, "timestamp": "yesterday"}),
            "/v1/track",
            b"traceparent: 00-%b-%b-01\r\n" % (b"a" * 32, b"b" * 16),
        ),
        (gzip.compress(_json(TRACK), mtime=0), "/v1/track", b"Content-Encoding: gzip\r\n"),
        (gzip.compress(_json(TRACK), mtime=0), "/v1/track", b"Content-Encoding: br\r\n"),
        (_json({"event": "Lost"}), "/v1/track", b"Origin: https://shop.example\r\n"),
        (_json({"batch": [{"type": "track", **TRACK}, {"type": "odd"}, 5]}), "/v1/batch", b""),
        (_json({"batch": []}), "/v1/import", b""),
        (b"{", "/v1/track", b"Origin: https://shop.example\r\n"),
        (b"", "/v1/page", b""),
        (_json({"messages": []}), "/v1/b", b""),
    ],
)
async def test_both_ways_give_the_same_answer(source: Source, body: bytes, path: str, more: bytes) -> None:
    for key in (source.key, "rk_" + "0" * 40, ""):
        ways = [await way(source, body, key, path, more) for way in (_inline, _through_a_task, _inline)]
        assert ways[0] == ways[1] == ways[2]


async def test_both_ways_store_the_same_record(source: Source) -> None:
    body = _json({**TRACK, "timestamp": "2026-01-01T10:00:00Z"})
    trace = b"traceparent: 00-%b-%b-01\r\n" % (b"a" * 32, b"b" * 16)
    for way in (_inline, _through_a_task):
        await way(source, body, source.key, "/v1/track", trace)
    one, other = await source.records()
    assert one.traceparent == other.traceparent
    assert (one.id, one.time, one.subject, bytes(one.data)) == (other.id, other.time, other.subject, bytes(other.data))


async def test_requests_in_one_piece_are_answered_in_their_order(source: Source) -> None:
    caller = await Caller.open(source.ingest)
    bodies = [_json({**TRACK, "messageId": f"m{number}"}) for number in range(20)]
    caller.send(*(_head(source.key, len(body)) + body for body in bodies))
    for number in range(20):
        _, _, body = await caller.answer()
        assert body["results"] == [{"status": "ok", "messageId": f"m{number}"}]
    caller.close()
    assert len(await source.records()) == 20


@pytest.mark.parametrize(("version", "more"), [(b"1.0", b""), (b"1.1", b"Connection: close\r\n")])
async def test_who_wants_no_more_is_closed(source: Source, version: bytes, more: bytes) -> None:
    caller, body = await Caller.open(source.ingest), _json(TRACK)
    caller.send(_head(source.key, len(body), more=more, version=version), body)
    status, headers, _ = await caller.answer()
    assert (status, headers[b"connection"]) == (b"http/1.1 200 ok", b"close")
    assert await caller.closed()
    caller.close()


async def test_who_has_gone_is_stored_all_the_same(source: Source) -> None:
    caller, body = await Caller.open(source.ingest), _json(TRACK)
    caller.send(_head(source.key, len(body)), body)
    caller.close()

    async def stored() -> bool:
        return len(await source.records()) == 1

    await eventually(stored)


async def test_nothing_of_a_connection_waits_for_a_collection(settings: CommonSettings) -> None:
    """Were its body kept until then, apps that connect anew for each batch would cost 100 MB."""
    async with running(create(Settings(**settings.model_dump()))) as client:
        await eventually(lambda: ready(client))
        made = await client.post("/v1/sources", json={"name": "shop"}, headers=MARTA)
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                async with httpx.AsyncClient(base_url=client.base_url, auth=(made.json()["write_key"], "")) as other:
                    assert (await other.post("/v1/track", json=TRACK)).status_code == 200
            await eventually(_is_one_left)
        finally:
            gc.enable()


async def _is_one_left() -> bool:
    """That of the client which has not gone."""
    return sum(isinstance(each, RequestResponseCycle) for each in gc.get_objects()) == 1
