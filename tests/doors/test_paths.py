"""Every customer whom ingest takes can be read in every service, and what is not served is named."""

import gzip
import uuid
from datetime import timedelta
from urllib.parse import quote

import httpx
import pytest

from libs.common.contracts.registry import OWN_SCOPES, SERVICES
from libs.common.http.auth.tokens import mint_customer
from tests.doors.five import CUSTOMERS, Five
from tests.openapi import Operation, operations
from tests.support import eventually

IDS = [
    "team/7",
    "a//b/",
    "/",
    "50%",
    "a%2Fb",
    "ann smith",
    "a.b",
    "..",
    "é☃😀",
    "a?b=c#d",
    "a:b",
    "a\\b",
    "a+b&c;d=e",
    "a\nb",
]
OF_CUSTOMERS = [
    each
    for each in operations()
    if each.method == "GET" and "{ref}" in each.path and each.path.count("{") == 1 and "stream" not in each.path
]


async def test_every_id_that_is_taken_can_be_read(five: Five) -> None:
    run = uuid.uuid4().hex
    ids = [f"{text}{run}{text}" for text in IDS]
    events = [
        {
            "type": "track",
            "event": "Order Completed",
            "userId": each,
            "messageId": each,
            "properties": {"revenue": "5.00"},
        }
        for each in ids
    ]
    async with httpx.AsyncClient(base_url=five.url("ingest"), auth=(five.write_key, ""), timeout=60) as client:
        results = (await client.post("/v1/batch", json={"batch": events})).json()["results"]
    assert [result["status"] for result in results] == ["ok"] * len(ids)
    assert {each.service for each in OF_CUSTOMERS} == {"profile", "rewards", "triggers", "metrics"}
    for operation in OF_CUSTOMERS:
        for each in ids:
            path = operation.path.replace("{ref}", f"user:{quote(each, safe='')}")

            async def found(operation: Operation = operation, path: str = path) -> bool:
                answer = await five.call(operation.service, "GET", path)
                assert answer.status_code in (200, 404, 409), answer.text
                said = answer.json().get("detail", "")
                assert "There is no GET" not in said
                return "is known" not in said  # a customer who is known may have no score yet

            await eventually(found)


@pytest.mark.parametrize("name", ["userId", "anonymousId"])
async def test_customers_reach_what_is_theirs_whatever_their_id(five: Five, name: str) -> None:
    """Their own token, a ticket for a stream, and a command on their points: for one id, and not for one written alike."""
    run = uuid.uuid4().hex
    mine, other = f"team/{run}/", f"team%2F{run}%2F"
    prefix = {"userId": "user", "anonymousId": "anon"}[name]
    events = [{"type": "track", "event": "Order Completed", name: each, "messageId": each} for each in (mine, other)]
    async with httpx.AsyncClient(base_url=five.url("ingest"), auth=(five.write_key, ""), timeout=60) as client:
        assert (await client.post("/v1/batch", json={"batch": events})).is_success

    def path(identifier: str, what: str) -> str:
        return f"/v1/customers/{prefix}:{quote(identifier, safe='')}/{what}"

    token = mint_customer(CUSTOMERS[0], f"{prefix}:{mine}", OWN_SCOPES, ttl=timedelta(hours=1))
    headers = {"authorization": f"Bearer {token}"}
    for service, what in (("rewards", "points"), ("triggers", "inbox")):

        async def known(service: str = service, what: str = what) -> bool:
            answers = [await five.call(service, "GET", path(each, what)) for each in (mine, other)]
            return all(answer.status_code == 200 for answer in answers)

        await eventually(known)
        assert (await five.call(service, "GET", path(mine, what), headers=headers)).status_code == 200
        assert (await five.call(service, "GET", path(other, what), headers=headers)).status_code == 403

    gift = {"points": 5, "reason": "a gift"}
    await five.made("rewards", path(mine, "adjustments"), gift, **{"Idempotency-Key": f"{name}-{run}"})

    async def credited() -> bool:
        has = [(await five.call("rewards", "GET", path(each, "points"))).json()["balance"] for each in (mine, other)]
        return bool(has[0] - has[1] == 5)

    await eventually(credited)

    issued = await five.call("triggers", "POST", path(mine, "inbox/stream/tickets"), headers=headers)
    ticket = {"ticket": issued.json()["ticket"]}
    async with (
        httpx.AsyncClient(base_url=five.url("triggers"), timeout=60) as client,
        client.stream("GET", path(mine, "inbox/stream"), params=ticket) as stream,
    ):
        assert stream.status_code == 200
        assert await anext(line async for line in stream.aiter_lines() if line.startswith("event:")) == "event: ready"


@pytest.mark.parametrize("service", SERVICES)
async def test_a_path_that_is_not_served_is_said_to_be_none_whatever_its_body(five: Five, service: str) -> None:
    zipped = gzip.compress(b"{}")
    for path in ("/nowhere", "/v1/nowhere"):
        answer = await five.call(service, "POST", path, content=zipped, headers={"content-encoding": "gzip"})
        assert answer.status_code == 404
        assert "This service serves /v1/" in answer.json()["detail"]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_wrong_method_is_answered_with_all_right_ones(five: Five, service: str) -> None:
    served: dict[str, set[str]] = {}
    for operation in operations():
        if operation.service == service and "/v1/" in operation.path:
            served.setdefault(operation.path, set()).add(operation.method)
    for path, methods in served.items():
        answer = await five.call(service, "TRACE", path.replace("{", "").replace("}", ""), content=b"x")
        if answer.status_code == 404:  # another route takes the name of the parameter for a value of its own
            continue
        assert answer.status_code == 405, path
        assert set(answer.headers["allow"].split(", ")) - {"OPTIONS"} >= methods, path


async def test_a_host_with_v1_at_its_end_is_recognised(five: Five) -> None:
    for path, said in (
        ("/v1/v1/batch", "leave /v1 off the host, the path is /v1/batch."),
        ("/identify", "did you mean /v1/identify?"),
        ("/v1/tracks", "did you mean /v1/track?"),
    ):
        answer = await five.call("ingest", "POST", path, json={})
        assert answer.status_code == 404
        assert said in answer.json()["detail"]


async def test_a_source_with_a_wrong_name_is_told_how_names_are_written(five: Five) -> None:
    answer = await five.call("ingest", "POST", "/v1/sources", json={"name": "WEB1"})
    assert answer.json()["detail"] == (
        "body.name: a name has 1 to 64 lower-case letters, digits and hyphens, such as shop-web."
    )
