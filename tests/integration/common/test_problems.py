"""Whatever is wrong with a request, the answer is a problem that says what to do."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from libs.common.http.auth.keyring import generate_keys
from libs.common.http.auth.tokens import mint
from libs.common.settings import Settings
from tests.client import running
from tests.integration.common import tiny

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(jwt_public_key=tiny.PUBLIC, body_limit=200_000, body_seconds=0.3)
    async with running(tiny.create(settings)) as client:
        yield client


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:rapport:problem:")
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["detail"].endswith(".")
    return body


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def post(client: httpx.AsyncClient, body: bytes | str, kind: str = "application/json") -> httpx.Response:
    return await client.post("/v1/things", content=body, headers={"content-type": kind})


async def test_an_unknown_path_is_told_where_the_routes_are(client: httpx.AsyncClient) -> None:
    detail = problem(await client.get("/v1/nothing"), 404)["detail"]
    assert detail == "There is no GET /v1/nothing here. This service serves /v1/things: /docs lists all paths."


async def test_a_path_that_is_nearly_right_is_asked_about(client: httpx.AsyncClient) -> None:
    for path, said in (
        ("/v1/v1/things", "leave /v1 off the host, the path is /v1/things."),
        ("/things", "did you mean /v1/things?"),
        ("//v1/things", "did you mean /v1/things?"),
        ("/v1/thing", "did you mean /v1/things?"),
    ):
        url = f"{str(client.base_url).rstrip('/')}{path}"
        assert said in problem(await client.post(url, json={}), 404)["detail"]


async def test_what_is_not_served_is_said_before_what_is_wrong_with_its_body(client: httpx.AsyncClient) -> None:
    zipped = {"content-encoding": "gzip", "content-type": "application/json"}
    for headers, body in ((zipped, b"x"), ({}, b"a=b"), ({"content-type": "application/json"}, b"x" * 3_000_000)):
        problem(await client.post("/v1/nothing", content=body, headers=headers), 404)
        response = await client.put("/v1/things", content=body, headers=headers)
        assert "takes POST, not PUT" in problem(response, 405)["detail"]
        assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "name",
    [
        "team/7",
        "a/b/c",
        "/",
        "a%2Fb",
        "100%",
        "a b",
        " ",
        ".",
        "..",
        "é☃😀",
        "a?b=c#d",
        "a\nb",
        "a//b",
        "x/",
        "a;b=c",
        "&+",
    ],
)
async def test_any_name_can_stand_in_a_path(client: httpx.AsyncClient, name: str) -> None:
    """A slash inside a segment is sent as %2F."""
    for encoded in (quote(name, safe=""), quote(name, safe="").replace("%2F", "%2f")):
        response = await client.get(f"/v1/things/named/user:{encoded}")
        assert (response.status_code, response.json()) == (200, {"name": f"user:{name}"})
        response = await client.get(f"/v1/things/named/user:{encoded}/more")
        assert (response.status_code, response.json()) == (200, {"name": f"user:{name}", "more": True})


async def test_a_path_with_an_encoded_slash_that_is_not_served(client: httpx.AsyncClient) -> None:
    assert "/v1/things%2Fopen" in problem(await client.get("/v1/things%2Fopen"), 404)["detail"]
    response = await client.post("/v1/things/named/a%2Fb")
    assert "takes GET, PATCH, PUT, not POST" in problem(response, 405)["detail"]
    assert response.headers["allow"] == "GET, PATCH, PUT"


async def test_a_wrong_method_is_told_which_is_right(client: httpx.AsyncClient) -> None:
    response = await client.delete("/v1/things/open")
    assert "takes GET, not DELETE" in problem(response, 405)["detail"]
    assert response.headers["allow"] == "GET"


async def test_an_error_of_ours_keeps_its_members(client: httpx.AsyncClient) -> None:
    body = problem(await client.get("/v1/things/fail/conflict"), 409)
    assert (body["type"], body["by"]) == ("urn:rapport:problem:conflict", "bob")


async def test_a_bug_tells_nothing_but_the_id(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/things/fail/bug", headers={"x-request-id": "abc-1"})
    assert problem(response, 500)["request_id"] == "abc-1"
    assert "secret" not in response.text


@pytest.mark.parametrize("how", ["refused", "timeout", "closed"])
async def test_an_unavailable_part_is_a_503_to_come_back_after(client: httpx.AsyncClient, how: str) -> None:
    response = await client.get(f"/v1/things/fail/{how}")
    assert "try again" in problem(response, 503)["detail"]
    assert response.headers["retry-after"] == "1"


async def test_an_answer_that_breaks_is_cut_off_and_not_ended_as_if_whole(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/v1/things/fail/late")


async def test_each_wrong_place_is_named(client: httpx.AsyncClient) -> None:
    body = problem(await post(client, '{"lines": [{"points": 1}, {"points": 0}]}'), 422)
    assert [each["at"] for each in body["errors"]] == ["body.name", "body.lines[1].points"]
    assert "body.lines[1].points: this must be greater than 0" in body["detail"]


async def test_what_is_wrong_is_said_in_plain_words(client: httpx.AsyncClient) -> None:
    body = problem(await post(client, '{"lines": [3]}'), 422)
    assert body["detail"] == "body.name: this is missing; body.lines[0]: this must be a JSON object."
    body = problem(await post(client, '{"name": "two words"}'), 422)
    assert body["detail"] == "body.name: a name is one word."
    response = await client.post("/v1/things/strict", json={"nme": "a"})
    assert problem(response, 422)["detail"] == (
        "header.Idempotency-Key: this header is missing: give a text of your own, and the same one whenever you send this"
        " again; body.nme: nothing of this name is known here."
    )


@pytest.mark.parametrize("text", ["{", "", '{"name": }', "[1,", '{"name": "a"} x', "\xff"])
async def test_what_is_no_json_is_refused(client: httpx.AsyncClient, text: str) -> None:
    response = await post(client, text.encode("latin-1"))
    if text:
        assert "The body " in (detail := problem(response, 400)["detail"])
        assert ": send " in detail or "Send JSON" in detail or "was it cut off" in detail
        assert "char" not in detail
    else:
        assert problem(response, 422)["errors"] == [{"at": "body", "message": "it is empty: send a JSON object"}]


async def test_json_may_be_64_deep_and_no_deeper(client: httpx.AsyncClient) -> None:
    def nested(depth: int) -> str:
        return '{"name": "a", "anything": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"

    assert (await post(client, nested(64))).status_code == 200
    assert "64 levels" in problem(await post(client, nested(65)), 400)["detail"]
    assert "64 levels" in problem(await post(client, "[" * 100_000), 400)["detail"]


async def test_brackets_in_texts_and_beside_each_other_are_not_depth(client: httpx.AsyncClient) -> None:
    wide = {"name": '"[{' * 100 + "\\", "anything": [[i] for i in range(500)]}
    response = await post(client, json.dumps(wide))
    assert response.status_code == 200
    assert response.json()["name"] == wide["name"]


async def test_nul_is_refused_and_what_only_looks_like_it_is_not(client: httpx.AsyncClient) -> None:
    for text in ('{"name": "a\\u0000b"}', '{"name": "a\\\\\\u0000"}', '{"name": "a\0"}'):
        assert "NUL" in problem(await post(client, text), 400)["detail"]
    kept = await post(client, '{"name": "a\\\\u0000"}')
    assert kept.json()["name"] == "a\\u0000"


async def test_half_a_character_is_refused(client: httpx.AsyncClient) -> None:
    for text in ('{"name": "\\ud800"}', '{"name": "\\uDC00\\uD800"}', '{"name": "\\\\\\ud83d\\\\ude00"}'):
        assert "half of a character" in problem(await post(client, text), 400)["detail"]
    assert (await post(client, '{"name": "\\ud83d\\ude00"}')).json()["name"] == "😀"


async def test_what_is_not_called_json_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/things", data={"name": "a"})
    assert "Content-Type: application/json" in problem(response, 415)["detail"]
    response = await client.post(
        "/v1/things", content=b"x", headers={"content-encoding": "gzip", "content-type": "application/json"}
    )
    assert "gzip" in problem(response, 415)["detail"]
    assert (await post(client, '{"name": "a"}', "application/merge-patch+json; charset=utf-8")).status_code != 415


async def test_an_oversize_body_is_refused_before_it_is_sent(client: httpx.AsyncClient) -> None:
    assert "at most 200,000" in problem(await post(client, b"x" * 3_000_000), 413)["detail"]


async def test_an_oversize_body_in_chunks_is_refused_on_the_way(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 50_000

    response = await client.post("/v1/things", content=chunks(), headers={"content-type": "application/json"})
    assert "larger than the 200,000 bytes" in problem(response, 413)["detail"]


async def test_a_path_may_have_a_limit_of_its_own(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/things/raw", json="x" * 20_000)
    assert "at most 10,000" in problem(response, 413)["detail"]


async def test_a_body_that_dawdles_is_refused_and_the_connection_closed(client: httpx.AsyncClient) -> None:
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(
        b"POST /v1/things HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{"
    )
    answer = await reader.read()  # to the end of the connection
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"did not arrive within 0.3 seconds" in answer


async def test_a_caller_who_leaves_in_mid_body_harms_nobody(client: httpx.AsyncClient) -> None:
    _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(b"POST /v1/things HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
    await writer.drain()
    writer.close()
    assert (await client.get("/v1/things/open")).status_code == 200


async def test_without_a_token_the_answer_says_how_to_get_one(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer"}):
        response = await client.get("/v1/things/mine", headers=headers)
        assert "rapport token" in problem(response, 401)["detail"]
        assert response.headers["www-authenticate"] == "Bearer"


async def test_a_wrong_token_is_refused(client: httpx.AsyncClient) -> None:
    other, _ = generate_keys()
    scopes = ["customers:read", "rewards:read"]
    expired = mint(tiny.PRIVATE, "ann", scopes, -HOUR)
    assert "expired at" in problem(await client.get("/v1/things/mine", headers=bearer(expired)), 401)["detail"]
    foreign = mint(other, "ann", scopes, HOUR)
    assert "another key" in problem(await client.get("/v1/things/mine", headers=bearer(foreign)), 401)["detail"]


async def test_a_missing_scope_is_named_beside_those_held(client: httpx.AsyncClient) -> None:
    token = mint(tiny.PRIVATE, "ann", ["customers:read", "operate"], HOUR)
    body = problem(await client.get("/v1/things/mine", headers=bearer(token)), 403)
    assert body["detail"] == "This needs the scope rewards:read; the token of ann holds customers:read, operate."
    assert (body["missing"], body["held"]) == (["rewards:read"], ["customers:read", "operate"])


async def test_the_right_scopes_pass(client: httpx.AsyncClient) -> None:
    token = mint(tiny.PRIVATE, "ann", ["customers:read", "rewards:read"], HOUR)
    assert (await client.get("/v1/things/mine", headers=bearer(token))).json() == {"subject": "ann"}


@pytest.mark.parametrize("sent", ["x" * 65, "a b", "a\tb", "<script>", ""])
async def test_a_request_id_that_is_not_sane_is_replaced(client: httpx.AsyncClient, sent: str) -> None:
    returned = (await client.get("/v1/things/open", headers={"x-request-id": sent})).headers["x-request-id"]
    assert returned != sent
    assert len(returned) == 32


async def test_a_service_may_add_members_to_its_problems() -> None:
    def members(body: Any) -> dict[str, Any]:
        return {"success": False, "code": body["title"], "message": body["detail"]}

    async with running(tiny.create(Settings(body_limit=100), (), members)) as client:
        for response, status in [
            (await client.get("/nothing"), 404),
            (await client.post("/v1/things", json={}), 422),
            (await client.post("/v1/things", json="x" * 200), 413),
            (await client.get("/v1/things/fail/bug"), 500),
        ]:
            body = problem(response, status)
            assert (body["success"], body["message"]) == (False, body["detail"])
