"""The tracking plan over REST, as it is in force in a running ingest."""

from typing import Any

import asyncpg
import httpx
import pytest

from tests.integration.ingest.conftest import ADMIN, GOOD, Ingest, Source, add_source
from tests.support import eventually

SCHEMA = {"required": ["sku"], "properties": {"sku": {"type": "string"}}}
PLAN = {"events": {"Product Viewed": {"mode": "refuse", "schema": SCHEMA}, "Seen": {"mode": "warn", "schema": SCHEMA}}}
VIEWED = {**GOOD, "properties": {"sku": "a"}}


class Plans:
    """The plan of a source, or of the workspace when that is None."""

    def __init__(self, client: httpx.AsyncClient, source: Source | None) -> None:
        self.client = client
        self.params = {} if source is None else {"source": source.name}

    async def call(self, method: str, path: str = "", json: object = None, **headers: str) -> httpx.Response:
        return await self.client.request(
            method, f"/v1/tracking-plan{path}", json=json, params=self.params, headers={**ADMIN, **headers}
        )

    async def live(self, plan: dict[str, Any]) -> None:
        for answer in (await self.call("PUT", json=plan), await self.call("POST", "/publish")):
            assert answer.status_code == 200, answer.text


@pytest.fixture
async def plans(client: httpx.AsyncClient, source: Source) -> Plans:
    return Plans(client, source)


async def statuses(source: Source, *events: dict[str, Any]) -> list[str]:
    answer = await source.post("/v1/batch", {"batch": events})
    return [result["status"] for result in answer.json()["results"]]


async def test_a_plan_is_in_force_once_it_is_published(plans: Plans, source: Source) -> None:
    wrong = {**GOOD, "messageId": "wrong", "properties": {"sku": 7}}
    assert (await plans.call("GET")).status_code == 404
    assert (await plans.call("POST", "/publish")).status_code == 404
    draft = (await plans.call("PUT", json=PLAN)).json()
    assert (draft["status"], draft["version"], draft["live_version"]) == ("draft", 1, None)
    assert (await plans.call("POST", "/pause")).status_code == 409
    assert await statuses(source, wrong) == ["ok"]
    live = (await plans.call("POST", "/publish")).json()
    assert (live["status"], live["live_version"], live["published_by"]) == ("live", 1, live["edited_by"])
    assert await statuses(source, wrong, VIEWED) == ["rejected", "ok"]
    seen = {**GOOD, "event": "Seen", "messageId": "seen"}
    (result,) = (await source.post("/v1/track", seen)).json()["results"]
    assert result == {"status": "warning", "messageId": "seen", "reason": "tracking plan: properties.sku is required"}
    assert len(await source.records()) == 3


async def test_violations_are_counted_with_an_example(plans: Plans, source: Source, client: httpx.AsyncClient) -> None:
    await plans.live(PLAN)
    bad = [{**GOOD, "messageId": f"m{number}", "properties": {"sku": number}} for number in range(3)]
    unknown = {**GOOD, "event": "Else", "messageId": "else"}
    assert await statuses(source, *bad, unknown) == ["rejected"] * 3 + ["ok"]

    async def counted() -> bool:
        return len((await plans.call("GET", "/violations")).json()["items"]) == 2

    await eventually(counted)
    items = {item["event"]: item for item in (await plans.call("GET", "/violations")).json()["items"]}
    viewed = items["Product Viewed"]
    assert (viewed["events"], viewed["mode"], viewed["message_id"]) == (3, "refuse", "m2")
    assert viewed["rule"] == "properties.sku is not of type `string`"
    assert viewed["example"] == "properties.sku is not of type `string` (it is the number '2')"
    assert (items["Else"]["rule"], items["Else"]["mode"]) == ("the event is not in the tracking plan", "observe")
    params: dict[str, str | int] = {"source": source.name, "event": "Else", "limit": 1}
    page = (await client.get("/v1/tracking-plan/violations", params=params, headers=ADMIN)).json()
    assert ([item["event"] for item in page["items"]], page["next"]) == (["Else"], None)

    async def listed() -> bool:
        rejected = (await client.get("/v1/rejected", params={"source": source.name}, headers=ADMIN)).json()["items"]
        return [item["reason"] for item in rejected] == [f"tracking plan: {viewed['rule']}"] * 3

    await eventually(listed)


async def test_versions_never_change_and_an_edit_needs_publishing(plans: Plans, source: Source) -> None:
    await plans.live(PLAN)
    looser = {"events": {"Product Viewed": {"mode": "observe", "schema": {}}}}
    read = await plans.call("GET")
    stale = await plans.call("PUT", json=looser, **{"If-Match": '"9-live-9"'})
    assert stale.status_code == 412
    edited = await plans.call("PUT", json=looser, **{"If-Match": read.headers["etag"]})
    assert (edited.json()["version"], edited.json()["live_version"], edited.json()["status"]) == (2, 1, "live")
    assert await statuses(source, GOOD) == ["rejected"]
    again = await plans.call("PUT", json=looser)
    assert again.json()["version"] == 2
    await plans.call("POST", "/publish")
    assert await statuses(source, GOOD) == ["ok"]
    first = await plans.client.get("/v1/tracking-plan", params={**plans.params, "version": 1}, headers=ADMIN)
    assert first.json()["events"] == PLAN["events"]
    assert (await plans.call("POST", "/pause")).json()["status"] == "paused"
    await plans.call("PUT", json=PLAN)
    assert await statuses(source, {**GOOD, "messageId": "paused"}) == ["ok"]


async def test_a_source_stands_over_the_workspace(
    plans: Plans, source: Source, ingest: Ingest, client: httpx.AsyncClient
) -> None:
    shared, other = Plans(client, None), await add_source(ingest)
    await shared.live({"unknown": "warn", **PLAN})
    try:
        await plans.live({"unknown": "refuse", "events": {"Product Viewed": {"schema": {}}}})
        events = [GOOD, {**GOOD, "event": "Seen", "messageId": "b"}, {**GOOD, "event": "Else", "messageId": "c"}]
        assert await statuses(source, *events) == ["ok", "warning", "rejected"]
        assert await statuses(other, *events) == ["rejected", "warning", "warning"]
    finally:
        await shared.call("POST", "/pause")
    assert await statuses(other, *events) == ["ok", "ok", "ok"]
    await plans.call("POST", "/pause")
    assert await statuses(source, *events) == ["ok", "ok", "ok"]


async def test_another_process_learns_of_it(plans: Plans, source: Source, ingest: Ingest) -> None:
    """As if it had been published there."""
    await plans.call("PUT", json=PLAN)
    connection = await asyncpg.connect(ingest.dsn)
    await connection.execute(
        "UPDATE ingest.tracking_plans SET status = 'live', live_version = 1"
        " WHERE source_id = (SELECT id FROM ingest.sources WHERE name = $1)",
        source.name,
    )
    await connection.close()

    async def refused() -> bool:
        return await statuses(source, GOOD) == ["rejected"]

    await eventually(refused)


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"events": {"Seen": {"schema": {"type": "objekt"}}}}, "The schema of 'Seen' cannot be used: /type: "),
        ({"events": {"Seen": {"schema": {}, "mode": "block"}}}, "observe"),
        ({"events": {" ": {"schema": {}}}}, "an event's name has no space around it"),
        ({"events": {"Seen": {}}}, "schema"),
        ({"evnets": {}}, "evnets"),
    ],
)
async def test_a_faulty_plan_is_refused_with_its_place(plans: Plans, plan: dict[str, Any], says: str) -> None:
    answer = await plans.call("PUT", json=plan)
    assert answer.status_code == 422
    assert says in answer.text
    assert (await plans.call("GET")).status_code == 404


async def test_a_plan_is_drafted_from_what_arrived(plans: Plans, source: Source) -> None:
    assert (await plans.call("POST", "/infer")).status_code == 409
    paid = [
        {**GOOD, "event": "Paid", "messageId": f"p{number}", "properties": {"amount": number}} for number in range(12)
    ]
    assert await statuses(source, VIEWED, *paid) == ["ok"] * 13
    drafted = (await plans.call("POST", "/infer")).json()
    assert (drafted["status"], drafted["version"]) == ("draft", 1)
    assert drafted["added"] == [{"event": "Paid", "seen": 12}, {"event": "Product Viewed", "seen": 1}]
    schema = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}}
    assert drafted["events"]["Paid"] == {"mode": "observe", "schema": schema}
    assert (await plans.call("PUT", json=PLAN)).json()["version"] == 2
    again = (await plans.call("POST", "/infer")).json()
    assert (again["version"], [each["event"] for each in again["added"]]) == (3, ["Paid"])
    assert again["events"] == {**PLAN["events"], "Paid": drafted["events"]["Paid"]}
    assert (await plans.call("POST", "/infer")).json()["version"] == 3
    await plans.call("POST", "/publish")
    assert await statuses(source, {**GOOD, "event": "Paid", "messageId": "later", "properties": {"amount": 29.33}}) == [
        "ok"
    ]
