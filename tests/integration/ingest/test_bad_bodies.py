"""Every body that cannot be taken gets an answer that says what to send instead."""

import gzip
import zlib

import cramjam
import msgspec
import pytest

from tests.integration.ingest.conftest import GOOD, Source

SENT = msgspec.json.encode(GOOD)


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/v1/track", b"nonsense", "it is not JSON (byte 4): send a JSON object"),
        ("/v1/track", b"", "it is empty: send a JSON object"),
        ("/v1/track", b"[1]", "is an array: send one event as a JSON object; several go to /v1/batch"),
        ("/v1/track", '{"event":"Café'.encode("latin-1"), "not UTF-8 (byte 13): send JSON as UTF-8"),
        ("/v1/track", "{'event': 'X'}".encode("utf-16"), "not UTF-8 (byte 0)"),
        ("/v1/track", b"{'event': 'X'}", "double quotes"),
        ("/v1/track", b'{"event": "X", "properties": {"a": None}}', "None is not JSON (byte 35): send null"),
        ("/v1/track", b'{"event": "X",}', "leave the comma out"),
        ("/v1/track", b'{"event": "a\nb"}', "a line break"),
        ("/v1/track", b"event=X&userId=ann", "send a JSON object"),
        ("/v1/batch", b"", "it is empty: send a JSON object"),
        ("/v1/batch", b'[{"event":"X"}]', 'is an array: send {"batch": […]}'),
        ("/v1/batch", b'{"batch":{"event":"X"}}', "an object as `batch`: send"),
        ("/v1/batch", b'[{"event":NaN}]', "is an array"),
        ("/v1/batch", b'{"batch":[{"type":"track"', "it ends too early"),
        ("/v1/batch", b'{"batch":7}', "a number as `batch`: send"),
        ("/v1/batch", b"{}", "the body has no `batch`"),
        ("/v1/batch", b'{"batch":[%b]}' % b",".join([b"{}"] * 2_501), "2,500"),
        ("/v1/track", b"\x1f\x8bnonsense", "gzip"),
        ("/v1/track", gzip.compress(b'{"event":"X"}', mtime=0)[:-9], "gzip"),
        ("/v1/track", b" " * 4_200_000, "4,194,304 bytes"),
        ("/v1/track", gzip.compress(b" " * 100_000_000, mtime=0), "4,194,304 bytes"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_body_that_cannot_be_taken(source: Source, path: str, body: bytes, says: str) -> None:
    answer = await source.post(path, body)
    problem = answer.json()
    assert answer.status_code == 400
    assert says in problem["detail"]
    assert problem["success"] is False
    assert await source.records() == []
    good = await source.post("/v1/track", GOOD)
    assert good.status_code == 200


async def test_an_encoding_that_is_not_taken(source: Source) -> None:
    answer = await source.post("/v1/track", GOOD, headers={"content-encoding": "br"})
    assert answer.status_code == 400
    assert "encoding br is not taken: send gzip, deflate, zstd, or none" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("encoding", "body"), [("deflate", zlib.compress(SENT)), ("zstd", cramjam.zstd.compress(SENT))]
)
async def test_encodings_that_are_taken(source: Source, encoding: str, body: bytes) -> None:
    answer = await source.post("/v1/track", bytes(body), headers={"content-encoding": encoding})
    assert answer.json()["results"] == [{"status": "ok", "messageId": "good"}]
    assert [event["messageId"] for event in await source.events()] == ["good"]


async def test_a_shared_context_cannot_blow_up_a_batch(source: Source) -> None:
    batch = {"batch": [GOOD] * 1_000, "context": {"a": "x" * 30_000}}
    answer = await source.post("/v1/batch", batch)
    assert answer.status_code == 400
    assert "context" in answer.json()["detail"]
