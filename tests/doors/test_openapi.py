"""What the OpenAPI pages promise is what is answered, whatever is sent: schemathesis on every operation, auth on."""

import uuid
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from libs.common.contracts.registry import SCOPES
from tests.client import token
from tests.doors.five import SIZE, Five
from tests.doors.seed import HOOK
from tests.openapi import Operation, app, operations

#: Endless, so read by itself.
STREAMS = {"/v1/kpis/stream", "/v1/sources/{id}/live"}
STREAMS |= {f"/v1/customers/{{ref}}/{name}/stream" for name in ("inbox", "timeline")}
EVENTS = "events"
"""The tag of the routes that take a write key. A bad event is answered 200 there, and rejected alone."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ALL = [each for each in operations() if each.path not in STREAMS]
PAGES = {service: schemathesis.openapi.from_dict(app(service).openapi()) for service in {each.service for each in ALL}}


@pytest.mark.parametrize("operation", ALL, ids=str)
def test_answers_are_as_described(five: Five, operation: Operation) -> None:
    described = PAGES[operation.service][operation.path][operation.method]
    known = next((ids for path, ids in five.known.items() if operation.path.startswith(path)), {})
    headers, checks = token(*SCOPES), [*CHECKS, negative_data_rejection]
    if EVENTS in operation.said.get("tags", ()):
        headers, checks = {"authorization": f"Bearer {five.write_key}"}, CHECKS

    @hypothesis.settings(
        max_examples=8 * SIZE,
        derandomize=SIZE == 1,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @given(case=st.one_of(described.as_strategy(), described.as_strategy(GenerationMode.NEGATIVE)), data=st.data())
    def holds(case: Case[Any], data: st.DataObject) -> None:
        there = {name: data.draw(st.sampled_from(known[name])) for name in case.path_parameters if known.get(name)}
        sound = case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE
        if there and sound and data.draw(st.integers(0, 3)):
            case.path_parameters.update(there)
        answer = case.call(base_url=five.url(operation.service), headers=headers)
        case.validate_response(answer, checks=checks)
        if answer.status_code >= 400 and operation.path.startswith("/v1"):
            is_problem(operation.service, answer.status_code, answer.headers["content-type"][0], answer.json())

    holds()


def is_problem(service: str, status: int, kind: str, body: dict[str, Any]) -> None:
    """RFC 9457, with what ingest's SDKs read."""
    assert kind == "application/problem+json"
    assert {"type", "title", "status", "detail", "request_id"} <= body.keys()
    assert body["status"] == status
    assert body["type"].startswith("urn:rapport:problem:")
    if service == "ingest":
        assert (body["success"], body["message"]) == (False, body["detail"])
        assert body["code"] == body["type"].rpartition(":")[2]


async def test_the_stream_is_as_described(five: Five) -> None:
    async with (
        httpx.AsyncClient(base_url=five.url("metrics"), headers=token("metrics:read"), timeout=60) as client,
        client.stream("GET", "/v1/kpis/stream") as answer,
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        async for line in answer.aiter_lines():
            if line == "event: totals":
                return
    raise AssertionError("the stream ended without a figure")


ADJUSTMENTS = "/v1/customers/user:user-1/adjustments"
RULE = {"id": "a", "on": "Order Completed"}


@pytest.mark.parametrize(
    ("service", "path", "body", "at"),
    [
        ("ingest", "/v1/sources/{id}/keys", {"expires_in": True}, "expires_in"),
        ("ingest", "/v1/sources/{id}/keys", {"expires_in": "60"}, "expires_in"),
        ("rewards", ADJUSTMENTS, {"points": True, "reason": "a bet"}, "points"),
        ("rewards", ADJUSTMENTS, {"points": "5", "reason": "a bet"}, "points"),
        ("rewards", "/v1/programmes", {"name": "a", "earning": [{**RULE, "earn": {"points": True}}]}, "points"),
        ("rewards", "/v1/programmes", {"name": "a", "levels": [{"id": "a", "name": "a", "points": "1"}]}, "points"),
        ("rewards", "/v1/programmes", {"name": "a", "badges": [{**RULE, "name": "a", "count": True}]}, "count"),
        ("rewards", "/v1/programmes", {"name": "a", "badges": [{**RULE, "name": "a", "repeatable": 1}]}, "repeatable"),
        ("triggers", "/v1/hooks", {**HOOK, "limits": {"cap": {"count": True, "period": "1d"}}}, "count"),
        ("triggers", "/v1/hooks", {**HOOK, "limits": {"history": "yes"}}, "history"),
        ("triggers", "/v1/hooks/{id}/test", {"customer": "user:user-1", "version": True}, "version"),
    ],
)
async def test_true_is_no_number_and_a_text_is_none_either(
    five: Five, service: str, path: str, body: dict[str, Any], at: str
) -> None:
    if "{id}" in path:
        path = path.replace("{id}", next(ids["id"][0] for known, ids in five.known.items() if path.startswith(known)))
    headers = {**token(*SCOPES), "Idempotency-Key": str(uuid.uuid4())}
    answer = await five.call(service, "POST", path, json=body, headers=headers)
    assert answer.status_code == 422, answer.text
    assert any(error["at"].endswith(f".{at}") for error in answer.json()["errors"])


async def test_a_day_is_written_out(five: Five) -> None:
    """Taken as a count of seconds, each of these would be some day of 1970."""
    for day in ("20260101", "1767225600", "-1.5"):
        answer = await five.call("metrics", "GET", f"/v1/metrics/summary?until={day}")
        assert answer.status_code == 422
        assert "2026-01-31" in answer.json()["detail"]
    answer = await five.call("metrics", "POST", "/v1/fits", json={"as_of": 1767225600})
    assert answer.status_code == 422
    sample = {"event": {"time": 1767225600}}
    answer = await five.call("triggers", "POST", f"/v1/hooks/{five.known['/v1/hooks/']['id'][0]}/test", json=sample)
    assert answer.status_code == 422


async def test_parameters_that_are_not_known_are_refused(five: Five) -> None:
    for service, path, meant in (
        ("metrics", "/v1/scores?limt=5", "did you mean limit?"),
        ("ingest", "/v1/rejected?sources=doors", "did you mean source?"),
        ("rewards", "/v1/ledger?until=2026-01-01", "is known here"),
    ):
        answer = await five.call(service, "GET", path)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["message"].endswith(meant)
    open_to_all = [("ingest", "/readyz?verbose"), ("ingest", f"/v1/projects/{five.write_key}/settings?v=2")]
    for service, path in open_to_all:
        assert (await five.call(service, "GET", path, headers={})).status_code == 200
    sent = await five.call("ingest", "POST", "/v1/track?_=1", json={"event": "A", "userId": "u"},
                           headers={"authorization": f"Bearer {five.write_key}"})  # fmt: skip
    assert sent.status_code == 200
