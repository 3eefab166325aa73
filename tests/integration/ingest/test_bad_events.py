"""Every bad event gets an answer that says what to do, and costs no other event."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.integration.ingest.conftest import GOOD, Source

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
