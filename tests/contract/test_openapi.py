"""The OpenAPI pages: one proxy may serve all five, every route is described, every body has an example.

That the examples can be posted as they stand is tested end to end.
"""

import json
import re
from typing import Any

import pytest

from deploy.local.service import ROOT
from libs.common.contracts.registry import SCOPES
from tests.openapi import Operation, operations

HEALTH = {"/livez", "/readyz"}
#: What SDKs ask in Segment's own form, webhooks in the form of their senders, a ZIP, and streams of server-sent events,
#: whose description says what they send.
FREE = {
    *(*HEALTH, "/v1/m", "/v1/projects/{write_key}/settings", "/rapport.js", "/flags", "/v1/inbound/{hook}"),
    *("/v1/kpis/stream", "/v1/sources/{id}/live", "/v1/customers/{ref}/export"),
    *(f"/v1/customers/{{ref}}/{name}/stream" for name in ("inbox", "timeline")),
}
#: What PostHog's clients and web pages ask for.
OF_OTHERS = {"/capture", "/batch", "/flags", "/rapport.js"}


ALL = list(operations())
#: Whose body is its own token.
LINKS = {"/v1/consents/confirm"}
WRITING = [each for each in ALL if each.method != "GET" and each.path not in FREE | LINKS]
WITH_BODY = [each for each in ALL if "requestBody" in each.said]


def example(operation: Operation) -> Any:
    """The body that the page shows for an operation."""
    (content,) = operation.said["requestBody"]["content"].values()
    if "example" in content:
        return content["example"]
    (reference,) = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(content["schema"]))
    return operation.page["components"]["schemas"][reference].get("example")


def test_paths_are_disjoint_over_the_services() -> None:
    owners: dict[str, set[str]] = {}
    for each in ALL:
        if each.path not in HEALTH:
            owners.setdefault(re.sub(r"\{\w+\}", "{}", each.path), set()).add(each.service)
    assert {path: services for path, services in owners.items() if len(services) > 1} == {}
    assert {path for path in owners if not path.startswith("/v1/")} == OF_OTHERS


@pytest.mark.parametrize("operation", ALL, ids=str)
def test_every_route_is_described(operation: Operation) -> None:
    assert len(operation.said["summary"]) > 5
    answers = operation.said["responses"]
    assert any(status.startswith("2") for status in answers)
    assert all(answer["description"] for answer in answers.values())


@pytest.mark.parametrize("operation", [each for each in ALL if each.path not in FREE], ids=str)
def test_every_answer_is_described_member_by_member(operation: Operation) -> None:
    (answer,) = [answer for status, answer in operation.said["responses"].items() if status.startswith("2")]
    for content in answer.get("content", {}).values():
        assert {"$ref", "properties"} & content["schema"].keys()


@pytest.mark.parametrize("operation", WRITING, ids=str)
def test_every_route_that_writes_says_how_it_refuses(operation: Operation) -> None:
    refusals = ("401", "403", "400" if "events" in operation.said["tags"] else "422")
    assert set(refusals) <= operation.said["responses"].keys()
    for status in refusals:
        (kind,) = operation.said["responses"][status]["content"]
        assert kind == "application/problem+json"


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_every_body_has_an_example(operation: Operation) -> None:
    assert example(operation)


@pytest.mark.parametrize("scope", SCOPES)
def test_every_scope_is_in_the_guide(scope: str) -> None:
    assert f"`{scope}`" in (ROOT / "docs/api-guide.md").read_text()


@pytest.mark.parametrize("operation", ALL, ids=str)
def test_each_problem_has_an_example_of_its_own_status(operation: Operation) -> None:
    problem = operation.page["components"]["schemas"]["Problem"]
    for status, answer in operation.said["responses"].items():
        if (content := answer.get("content", {}).get("application/problem+json")) is not None:
            example = content["example"]
            assert str(example["status"]) == status
            assert set(problem["required"]) <= example.keys() <= problem["properties"].keys()
