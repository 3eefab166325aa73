"""Every bad input gets a clear answer that says what to do, and nothing else is lost."""

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from tests.client import token
from tests.integration.ingest.conftest import ADMIN, Ingest, Source, add_source
from tests.support import eventually

GOOD = {"type": "track", "event": "Product Viewed", "userId": "ann", "messageId": "good"}
DEEP = b'{"type":"track","event":"X","userId":"ann","messageId":"deep","properties":{"a":%b%b}}'
BAD: list[tuple[bytes, str]] = [
    (b'{"type":"track","event":"X"}', "userId or an anonymousId"),
    (b'{"type":"track","event":"X","userId":"null","anonymousId":"0000"}', "userId or an anonymousId"),
    (b'{"type":"track","userId":"ann"}', "event"),
    (b'{"type":"track","event":7,"userId":"ann"}', "event"),
    (b'{"type":"purchase","userId":"ann"}', "track, identify, page, screen, group, alias"),
    (b'{"userId":"ann"}', "type is missing"),
    (b'{"type":"group","userId":"ann"}', "groupId"),
    (b'{"type":"alias","userId":"ann"}', "previousId"),
    (b'{"type":"track","event":"X","userId":"a\\u0000b"}', "NUL"),
    (b'{"type":"track","event":"X","userId":"ann","messageId":"a\\u0000b"}', "NUL"),
    (b'{"type":"track","event":"X","userId":{"id":1}}', "userId must be a string"),
    (b'{"type":"track","event":"X","userId":true}', "userId must be a string"),
    (b'{"type":"track","event":"X","userId":"%b"}' % (b"a" * 300), "256"),
    (b'{"type":"track","event":"X","userId":"ann","properties":[1]}', "properties must be a JSON object"),
    (b'{"type":"identify","userId":"ann","traits":"rich"}', "traits must be a JSON object"),
    (b'{"type":"track","event":"X","userId":"ann","properties":{"a":"%b"}}' % (b"a" * 33_000), "32,768"),
    (DEEP % (b"[" * 50, b"]" * 50), "32 levels"),
    (DEEP % (b"[" * 5_000, b"]" * 5_000), "32 levels"),
    (b'{"type":"track","event":"X","userId":"ann","properties":{"a":NaN}}', "NaN and Infinity are not JSON"),
    (b'{"type":"track","event":"X","userId":"ann","properties":{"a":1e999}}', "a number is too large"),
    (b'{"type":"track","event":"X","userId":"ann","properties":{"a":%b}}' % (b"9" * 400), "too large"),
    (b'{"type":"track","event":"X","userId":"\\ud800"}', "broken character"),
    (b'{"type":"track","event":"X","userId":"\xff"}', "not UTF-8"),
    (b'"track"', "JSON object"),
    (b"17", "JSON object"),
]


async def test_bad_events_are_refused_alone(source: Source) -> None:
    good = msgspec.json.encode(GOOD)
    body = b'{"batch":[' + b",".join(good + b"," + bad for bad, _ in BAD) + b"]}"
    answer = await source.post("/v1/batch", body)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["ok", "rejected"] * len(BAD)
    for (bad, reason), result in zip(BAD, results[1::2], strict=True):
        assert reason in result["reason"], bad[:100]
    assert len(await source.records()) == len(BAD)


@pytest.mark.parametrize(("bad", "reason"), BAD[:8])
async def test_a_bad_event_alone(source: Source, bad: bytes, reason: str) -> None:
    answer = await source.post("/v1/batch", b'{"batch":[%b]}' % bad)
    assert answer.status_code == 200
    assert reason in answer.json()["results"][0]["reason"]
    assert await source.records() == []


async def test_a_single_event_that_is_too_deep(source: Source) -> None:
    for depth in (50, 5_000):
        answer = await source.post("/v1/track", DEEP % (b"[" * depth, b"]" * depth))
        assert answer.status_code == 200
        assert "32 levels" in answer.json()["results"][0]["reason"]


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
    assert "gzip" in answer.json()["detail"]


def _track(**members: Any) -> dict[str, Any]:
    return {**GOOD, **members}


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ("0001-01-01T00:00:00Z", "1971"),
        ("9999-12-31T23:59:59Z", "future"),
        pytest.param((datetime.now(UTC) + timedelta(days=3)).isoformat(), "future", id="in three days"),
        ("yesterday", "ISO 8601"),
        (1e300, "ISO 8601"),
        (-5_000_000_000, "1971"),
        (0, "1971"),
        ({"now": True}, "ISO 8601"),
    ],
)
async def test_absurd_times_become_the_time_of_receipt(source: Source, stated: object, reason: str) -> None:
    answer = await source.post("/v1/track", _track(timestamp=stated))
    (result,) = answer.json()["results"]
    assert result["status"] == "warning"
    assert reason in result["reason"]
    (record,) = await source.records()
    assert record.time == record.recordedtime


@pytest.mark.parametrize(
    ("members", "status", "reason"),
    [
        ({"messageId": "m" * 101}, "warning", "is too long"),
        ({"messageId": None}, "warning", "no messageId"),
        ({"messageId": {"a": 1}}, "warning", "no messageId"),
        ({"messageId": 42}, "ok", ""),
        ({"userId": None, "anonymousId": 17}, "ok", ""),
        ({"userId": "NULL", "anonymousId": "a1"}, "warning", "identifies nobody"),
        ({"context": "web"}, "warning", "context"),
        ({"sentAt": "now"}, "warning", "sentAt"),
        ({"event": "Order Completed", "properties": {"revenue": "a lot"}}, "warning", "dead letters"),
        ({"event": "Order Completed", "properties": {"revenue": "NaN"}}, "warning", "dead letters"),
        ({"event": "Order Completed", "properties": {"revenue": "29.33"}}, "ok", ""),
        ({"event": "Order Completed", "properties": {"order_id": "1"}}, "warning", "no revenue"),
        ({"event": "Order Refunded", "properties": {"order_id": "1"}}, "ok", ""),
    ],
)
async def test_what_is_stored_with_a_warning(source: Source, members: dict[str, Any], status: str, reason: str) -> None:
    answer = await source.post("/v1/track", _track(**members))
    (result,) = answer.json()["results"]
    assert result["status"] == status, result
    assert reason in result.get("reason", "")
    (event,) = await source.events()
    if "is too long" not in reason:
        assert event["messageId"] == result["messageId"]
    assert len(event["messageId"]) <= 100


async def test_nul_and_long_numbers_become_what_can_be_stored(source: Source) -> None:
    body = (
        b'{"event":"X","userId":7,"messageId":"m","properties":{"a\\u0000":"b\\u0000c","n":123456789012345678901234}}'
    )
    assert (await source.post("/v1/track", body)).json()["results"][0]["status"] == "ok"
    (event,) = await source.events()
    assert event["properties"] == {"a": "bc", "n": 1.2345678901234568e23}
    assert event["userId"] == "7"


async def test_a_shared_context_cannot_blow_up_a_batch(source: Source) -> None:
    batch = {"batch": [GOOD] * 1_000, "context": {"a": "x" * 30_000}}
    answer = await source.post("/v1/batch", batch)
    assert answer.status_code == 400
    assert "context" in answer.json()["detail"]


async def test_one_bad_event_costs_only_itself_whatever_the_size(source: Source) -> None:
    """rudder-sdk-python writes NaN as Python does; 100 events of 8 KB and 500 of 7 KB, one body each."""
    for events, size in ((100, 8_000), (500, 7_000)):
        batch = [
            {**GOOD, "messageId": f"{events}-{number}", "properties": {"p": "x" * size}} for number in range(events)
        ]
        batch[7]["properties"] = {"price": float("nan")}
        answer = await source.post("/v1/batch", json.dumps({"batch": batch}).encode())
        results = answer.json()["results"]
        assert [result["messageId"] for result in results] == [f"{events}-{number}" for number in range(events)]
        assert [number for number, result in enumerate(results) if result["status"] != "ok"] == [7]
        assert "NaN and Infinity are not JSON" in results[7]["reason"]


async def test_an_event_that_is_refused_keeps_its_message_id(source: Source, client: httpx.AsyncClient) -> None:
    bad = [
        b'{"type":"track","event":"X","userId":"ann","messageId":"nan","properties":{"messageId":"inner","a":NaN}}',
        b'{"type":"track","event":"X","userId":"ann","messageId":"large","properties":{"a":"%b"}}' % (b"a" * 33_000),
        b'{"type":"track","event":"X","properties":{"a":%b%b},"messageId":"deep"}' % (b"[" * 5_000, b"]" * 5_000),
        b'{"type":"track","event":"X","messageId":17}',
    ]
    answer = await source.post("/v1/batch", b'{"batch":[%b]}' % b",".join(bad))
    wanted = ["nan", "large", "deep", "17"]
    assert [result["messageId"] for result in answer.json()["results"]] == wanted
    await source.post("/v1/track", bad[0].replace(b'"nan"', b'"alone"'))

    async def listed() -> bool:
        page = await client.get("/v1/rejected", params={"source": source.name}, headers=ADMIN)
        return {(item["type"], item["message_id"]) for item in page.json()["items"]} == {
            ("track", identity) for identity in [*wanted, "alone"]
        }

    await eventually(listed)


async def test_a_message_id_that_is_too_long_comes_back_as_it_came(source: Source) -> None:
    answer = await source.post("/v1/track", {**GOOD, "messageId": "m" * 101})
    (result,) = answer.json()["results"]
    (event,) = await source.events()
    assert result["messageId"] == "m" * 101
    assert event["messageId"] in result["reason"]


@pytest.mark.parametrize(
    ("event", "meant"),
    [
        ({"type": "track", "event": "X", "user_id": "ann"}, "userId instead of user_id"),
        ({"type": "track", "event": "X", "anonymous_id": "a1"}, "anonymousId instead of anonymous_id"),
        ({"type": "track", "event": "X", "UserID": "ann"}, "userId instead of UserID"),
        ({"type": "track", "event": "X", "distinct_id": "ann"}, "userId instead of distinct_id"),
        ({"type": "track", "event_name": "X", "userId": "ann"}, "event instead of event_name"),
        ({"type": "group", "group_id": "acme", "userId": "ann"}, "groupId instead of group_id"),
    ],
)
async def test_a_name_that_is_nearly_right_is_asked_about(source: Source, event: dict[str, Any], meant: str) -> None:
    (result,) = (await source.post("/v1/batch", {"batch": [event]})).json()["results"]
    assert f"did you mean {meant}?" in result["reason"]


async def test_a_key_in_the_wrong_place_or_of_another_kind(source: Source) -> None:
    for members, query, said in (
        ({"api_key": source.key}, "", "did you mean writeKey instead of api_key?"),
        ({"write_key": source.key}, "", "did you mean writeKey instead of write_key?"),
        ({}, f"?writeKey={source.key}", "a key in the URL (?writeKey=) is not read"),
        ({}, "", "no write key"),
    ):
        answer = await source.post(f"/v1/track{query}", {**GOOD, **members}, auth=None)
        assert answer.status_code == 401
        assert said in answer.json()["detail"]
        assert source.key not in answer.text
    answer = await source.post("/v1/track", GOOD, auth=None, headers=ADMIN)
    assert answer.status_code == 401
    assert "that is an API token, not a write key" in answer.json()["detail"]


async def test_rejected_events_are_listed_with_their_reason(source: Source, client: httpx.AsyncClient) -> None:
    await source.post("/v1/batch", {"batch": [GOOD, {**GOOD, "event": "", "messageId": "bad", "x": "y" * 9_000}]})
    await source.post("/v1/track", b"nonsense")

    async def listed() -> bool:
        page = await client.get("/v1/rejected", params={"source": source.name}, headers=ADMIN)
        return len(page.json()["items"]) == 2

    await eventually(listed)
    page = await client.get("/v1/rejected", params={"source": source.name, "limit": 1}, headers=ADMIN)
    (broken,) = page.json()["items"]
    assert "it is not JSON" in broken["reason"]
    assert broken["body"] == "nonsense"
    rest: dict[str, str | int] = {"source": source.name, "limit": 1, "cursor": page.json()["next"]}
    (bad,) = (await client.get("/v1/rejected", params=rest, headers=ADMIN)).json()["items"]
    assert (bad["type"], bad["message_id"]) == ("track", "bad")
    assert len(bad["body"]) == 4_096
    assert bad["size"] > 9_000
    unknown = await client.get("/v1/rejected", params={"source": "nobody"}, headers=ADMIN)
    assert unknown.status_code == 404


async def test_a_flood_of_rejected_events_is_only_counted(source: Source, client: httpx.AsyncClient) -> None:
    answer = await source.post("/v1/batch", {"batch": [{"type": "track"}] * 500 + [GOOD]})
    assert [result["status"] for result in answer.json()["results"]][-1] == "ok"
    page: dict[str, Any] = {}

    async def written() -> bool:
        nonlocal page
        parameters: dict[str, str | int] = {"source": source.name, "limit": 200}
        page = (await client.get("/v1/rejected", params=parameters, headers=ADMIN)).json()
        return bool(page["items"])

    await eventually(written)
    assert len(page["items"]) == 60
    assert page["only_counted"] == 440
    assert len(await source.records()) == 1


async def test_a_token_without_the_scope(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/sources", json={"name": "shop"}, headers=token("sources:read"))
    assert answer.status_code == 403
    assert "sources:write" in answer.json()["detail"]
    assert (await client.get("/v1/rejected")).status_code == 401
    assert (await client.get("/v1/rejected", headers=token("operate"))).status_code == 403


async def test_a_key_is_no_token_and_a_token_is_no_key(source: Source, client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/sources", headers={"authorization": f"Bearer {source.key}"})).status_code == 401
    answer = await client.post("/v1/track", json=GOOD, headers=ADMIN)
    assert answer.status_code == 401
    assert re.search("rk_", answer.json()["detail"])


async def test_names_currencies_and_origins_of_sources(ingest: Ingest, client: httpx.AsyncClient) -> None:
    for body in (
        {"name": "Shop Web"},
        {"name": "a" * 65},
        {"name": "shop", "default_currency": "euro"},
        {"name": "shop", "allowed_origins": ["https://shop.example/path"]},
    ):
        answer = await client.post("/v1/sources", json=body, headers=ADMIN)
        assert answer.status_code == 422, answer.text
    source = await add_source(ingest)
    assert (await client.post("/v1/sources", json={"name": source.name}, headers=ADMIN)).status_code == 409
