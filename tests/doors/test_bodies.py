"""Ingest's door, sent anything at all: a verdict on each event or a problem, and what was answered `ok` is in the log."""

import gzip
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import hypothesis
import msgspec
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from tests.client import token
from tests.doors.five import SIZE, Service

ROUTES = ["track", "identify", "page", "screen", "group", "alias", "batch", "import", "events"]
MEMBERS = (
    "type messageId userId anonymousId groupId previousId event name properties traits context timestamp sentAt".split()
)


class Sender:
    """Sends bodies as one source, and remembers what was promised."""

    def __init__(self, service: Service, key: str, name: str) -> None:
        self.service, self.source = service, f"/apps/{name}"
        self.client = httpx.Client(base_url=service.url, timeout=60, auth=(key, ""))
        self.promised: dict[str, str] = {}

    def send(self, route: str, body: bytes, **headers: str) -> None:
        """Sent, and the answer looked at."""
        answer = self.client.post(f"/v1/{route}", content=body, headers=headers)
        assert answer.status_code in (200, 400, 401), answer.text
        said = answer.json()
        if answer.status_code != 200:
            assert answer.headers["content-type"] == "application/problem+json"
            assert (said["status"], said["success"]) == (answer.status_code, False)
            assert said["message"] == said["detail"] != ""
            return
        assert said["success"] is True
        for verdict in said["results"]:
            assert verdict["status"] in ("ok", "warning", "rejected")
            assert (verdict["status"] == "ok") == (verdict.get("reason") is None)
            if verdict["status"] != "rejected":
                self.promised[verdict["messageId"]] = body.decode("latin-1")[:300]


@pytest.fixture(scope="module")
async def sender(ingest: Service) -> AsyncIterator[Sender]:
    name = f"anything-{uuid.uuid4().hex[:8]}"
    async with httpx.AsyncClient(base_url=ingest.url, headers=token("sources:write"), timeout=60) as client:
        made = await client.post("/v1/sources", json={"name": name})
    opened = Sender(ingest, made.json()["write_key"], name)
    yield opened
    opened.client.close()


# -- what is sent -------------------------------------------------------------------------------------------------------
TEXT = st.text(st.characters(codec=None), max_size=30)  # half pairs of surrogates, NUL and all
NUMBERS = st.one_of(
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.sampled_from([2**53 + 1, 2**63, 2**64, -(2**63) - 1]),
)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), NUMBERS, TEXT, st.sampled_from(["", "\0", "\ud800", "null", "0000", "é" * 300])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(TEXT, inner, max_size=5)),
    max_leaves=12,
)
EVENTS = st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=8)
SOUND = st.builds(
    lambda id, name, more: {"userId": "u", "messageId": id, "event": name, "type": "track", "properties": more},
    st.uuids().map(str),
    st.text(min_size=1, max_size=20),
    st.dictionaries(TEXT, VALUES, max_size=3),
)
BATCHES = st.builds(
    lambda events, more: {**more, "batch": events},
    st.one_of(st.lists(st.one_of(SOUND, EVENTS, VALUES), max_size=6), VALUES),
    st.dictionaries(st.sampled_from(["sentAt", "context", "writeKey", "integrations"]), VALUES, max_size=2),
)
ASCII = st.booleans()


def written(value: Any, ascii: bool) -> bytes:
    """As JSON, with what JSON does not allow left in (Infinity, halves of pairs)."""
    return json.dumps(value, ensure_ascii=ascii).encode("utf-8", "surrogatepass")


JSON = st.builds(written, st.one_of(EVENTS, SOUND, BATCHES, VALUES), ASCII)


@st.composite
def twice(draw: st.DrawFn) -> bytes:
    """An object with the same keys again and again."""
    pairs = draw(st.lists(st.tuples(st.sampled_from([*MEMBERS, "batch", "writeKey"]), VALUES), min_size=2, max_size=8))
    return b"{" + b",".join(written(key, True) + b":" + written(value, True) for key, value in [*pairs, *pairs]) + b"}"


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """JSON with something cut out, put in or turned over."""
    body = bytearray(draw(JSON))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 4))] = draw(
            st.one_of(
                st.binary(max_size=4), st.sampled_from([b'"', b"}", b"]", b",", b"\\", b"\\ud800", b"\0", b"[" * 99])
            )
        )
    return bytes(body)


@st.composite
def deep(draw: st.DrawFn) -> bytes:
    """Nested far too deeply, somewhere."""
    depth = draw(st.sampled_from([31, 32, 33, 64, 65, 1000, 20_000]))
    inner = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]))
    hole = inner[0] * depth + b"1" + inner[1] * draw(st.sampled_from([depth, depth - 1, 0]))
    around = draw(st.sampled_from([
        b"%b", b'{"userId":"u","event":"A","properties":%b}', b'{"batch":[{"type":"track","event":"A","userId":"u"},%b]}',
        b'{"context":%b,"batch":[{"type":"track","event":"A","userId":"u"}]}', b'{"userId":%b}',
    ]))  # fmt: skip
    return around % hole


@st.composite
def zipped(draw: st.DrawFn) -> bytes:
    """Gzip, sound, cut, overwritten, several in one, or inside each other."""
    body = gzip.compress(draw(st.one_of(JSON, st.binary(max_size=50))))
    match draw(st.integers(0, 4)):
        case 0:
            return body
        case 1:
            return body[: draw(st.integers(2, len(body)))]
        case 2:
            at = draw(st.integers(2, len(body) - 1))
            return body[:at] + draw(st.binary(min_size=1, max_size=3)) + body[at + 1 :]
        case 3:
            return body + draw(st.one_of(st.binary(max_size=9), st.just(body)))
        case _:
            return gzip.compress(body)


BODIES = st.one_of(JSON, broken(), twice(), deep(), zipped(), st.binary(max_size=200))


@hypothesis.settings(
    max_examples=400 * SIZE,
    derandomize=SIZE == 1,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(route=st.sampled_from(ROUTES), body=BODIES, encoding=st.sampled_from(["", "gzip", "identity"]))
@example(route="track", body=b"", encoding="")
@example(route="batch", body=b"\x1f\x8b", encoding="gzip")
@example(route="batch", body=b'{"batch":[{"type":"track","event":"A","userId":"u","userId":"v"},{}]}', encoding="")
@example(route="track", body=b'\xef\xbb\xbf{"event":"A","userId":"\\ud83d"}', encoding="")
def test_anything_gets_a_verdict_or_a_problem(sender: Sender, route: str, body: bytes, encoding: str) -> None:
    sender.send(route, body, **({"content-encoding": encoding} if encoding else {}))


async def test_what_was_promised_is_in_the_log(sender: Sender) -> None:
    """Every event that was answered `ok` or `warning`, as JSON that any reader can read."""
    if not sender.promised:  # this test was asked for alone
        sender.send("track", b'{"event":"A","userId":"u","messageId":"alone"}')
    connection = await asyncpg.connect(sender.service.environment["RAPPORT_DATABASE_URL"])
    rows = await connection.fetch('SELECT value FROM log."ingest.events"')
    await connection.close()
    records = [msgspec.json.decode(row["value"]) for row in rows]
    stored = {record["data"]["messageId"] for record in records if record["source"] == sender.source}
    assert sender.promised
    assert {message: body for message, body in sender.promised.items() if message not in stored} == {}
    for row in rows:  # by the strictest reader, too
        row["value"].decode()
        assert b"\\u0000" not in row["value"]
        json.loads(row["value"], parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
