"""Sources and write keys: made, listed, changed, expired, revoked."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from services.ingest.domain import keys
from tests.integration.ingest.conftest import ADMIN, Ingest, Source, add_source
from tests.support import eventually

TRACK = {"event": "Product Viewed", "userId": "ann", "messageId": "m1"}


async def test_a_source_and_its_first_key(ingest: Ingest, source: Source, client: httpx.AsyncClient) -> None:
    read = await client.get(f"/v1/sources/{source.id}", headers=ADMIN)
    assert read.json()["name"] == source.name
    assert read.json()["default_currency"] == "USD"
    assert "write_key" not in read.json()
    (key,) = (await client.get(f"/v1/sources/{source.id}/keys", headers=ADMIN)).json()["items"]
    assert source.key.startswith(key["prefix"])
    assert source.key not in str(key)
    connection = await asyncpg.connect(ingest.dsn)
    stored = await connection.fetchval("SELECT hash FROM ingest.write_keys WHERE source_id = $1", source.id)
    await connection.close()
    assert stored == keys.digest(source.key)


async def test_sources_are_listed_in_pages(source: Source, client: httpx.AsyncClient) -> None:
    names: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get("/v1/sources", params={"limit": 2, "cursor": cursor}, headers=ADMIN)).json()
        names += [item["name"] for item in page["items"]]
        cursor = page["next"]
    assert source.name in names
    assert names == sorted(set(names))


async def test_a_revoked_key_is_refused_within_five_seconds(source: Source, client: httpx.AsyncClient) -> None:
    second = (await client.post(f"/v1/sources/{source.id}/keys", headers=ADMIN)).json()
    assert (await source.post("/v1/track", TRACK)).status_code == 200
    assert (await source.post("/v1/track", TRACK, auth=(second["write_key"], ""))).status_code == 200
    revoked = await client.delete(f"/v1/sources/{source.id}/keys/{second['id']}", headers=ADMIN)
    assert revoked.status_code == 204
    assert (await client.delete(f"/v1/sources/{source.id}/keys/{second['id']}", headers=ADMIN)).status_code == 204
    assert (await source.post("/v1/track", TRACK, auth=(second["write_key"], ""))).status_code == 401
    assert (await source.post("/v1/track", TRACK)).status_code == 200


async def test_a_key_revoked_by_another_process(ingest: Ingest, source: Source) -> None:
    assert (await source.post("/v1/track", TRACK)).status_code == 200
    connection = await asyncpg.connect(ingest.dsn)
    await connection.execute("UPDATE ingest.write_keys SET revoked_at = now() WHERE source_id = $1", source.id)

    async def refused() -> bool:
        return (await source.post("/v1/track", TRACK)).status_code == 401

    await eventually(refused)
    await connection.execute("UPDATE ingest.write_keys SET revoked_at = NULL WHERE source_id = $1", source.id)
    await connection.close()

    async def taken() -> bool:
        return (await source.post("/v1/track", TRACK)).status_code == 200

    await eventually(taken)


async def test_a_key_that_expires(ingest: Ingest, source: Source, client: httpx.AsyncClient) -> None:
    made = await client.post(f"/v1/sources/{source.id}/keys", json={"expires_in": 60}, headers=ADMIN)
    key = made.json()["write_key"]
    assert (await source.post("/v1/track", TRACK, auth=(key, ""))).status_code == 200
    connection = await asyncpg.connect(ingest.dsn)
    await connection.execute(
        "UPDATE ingest.write_keys SET expires_at = now() - interval '1 s' WHERE id = $1", made.json()["id"]
    )
    await connection.close()

    async def refused() -> bool:
        return (await source.post("/v1/track", TRACK, auth=(key, ""))).status_code == 401

    await eventually(refused)


async def test_changes_are_soon_in_force(source: Source, client: httpx.AsyncClient) -> None:
    assert (await source.post("/v1/track", TRACK)).status_code == 200
    change = {"default_currency": "EUR", "allowed_origins": ["https://shop.example"]}
    changed = await client.patch(f"/v1/sources/{source.id}", json=change, headers=ADMIN)
    assert changed.json()["allowed_origins"] == ["https://shop.example"]

    async def refused() -> bool:
        answer = await source.post("/v1/track", TRACK, headers={"origin": "https://other.example"})
        return answer.status_code == 403

    await eventually(refused)
    await source.post("/v1/track", {**TRACK, "messageId": "m2"})
    currencies = {event["messageId"]: event.get("currency", "USD") for event in await source.events()}
    assert currencies["m2"] == "EUR"
    cleared = await client.patch(f"/v1/sources/{source.id}", json={"allowed_origins": None}, headers=ADMIN)
    assert cleared.json()["allowed_origins"] is None
    assert cleared.json()["default_currency"] == "EUR"


async def test_what_is_not_there(source: Source, client: httpx.AsyncClient) -> None:
    nobody = "00000000-0000-7000-8000-000000000000"
    for method, path in (
        ("GET", f"/v1/sources/{nobody}"),
        ("PATCH", f"/v1/sources/{nobody}"),
        ("GET", f"/v1/sources/{nobody}/keys"),
        ("POST", f"/v1/sources/{nobody}/keys"),
        ("DELETE", f"/v1/sources/{source.id}/keys/{nobody}"),
    ):
        body: dict[str, str] | None = {} if method in ("PATCH", "POST") else None
        answer = await client.request(method, path, json=body, headers=ADMIN)
        assert answer.status_code == 404, (method, path, answer.text)


async def test_a_key_is_changed_with_an_overlap(ingest: Ingest, source: Source, client: httpx.AsyncClient) -> None:
    path = f"/v1/sources/{source.id}/keys"
    (old,) = (await client.get(path, headers=ADMIN)).json()["items"]
    assert (old["last_used_at"], old["expires_at"]) == (None, None)
    made = (await client.post(path, json={"replaces": old["id"], "overlap": 3600}, headers=ADMIN)).json()
    for key in (source.key, made["write_key"]):
        assert (await source.post("/v1/track", TRACK, auth=(key, ""))).status_code == 200

    async def listed() -> dict[str, Any]:
        return {key["id"]: key for key in (await client.get(path, headers=ADMIN)).json()["items"]}

    async def both_were_used() -> bool:
        return all(key["last_used_at"] for key in (await listed()).values())

    await eventually(both_were_used)
    now = await listed()
    assert now[made["id"]]["expires_at"] is None
    first_end = datetime.fromisoformat(now[old["id"]]["expires_at"])
    assert timedelta(minutes=59) < first_end - datetime.now(UTC) < timedelta(minutes=61)
    # a longer overlap does not let it live longer
    again = await client.post(path, json={"replaces": old["id"], "overlap": 86400}, headers=ADMIN)
    assert again.status_code == 201
    assert datetime.fromisoformat((await listed())[old["id"]]["expires_at"]) == first_end
    # and when the overlap is over, so is the key
    await client.post(path, json={"replaces": old["id"], "overlap": 0}, headers=ADMIN)

    async def refused() -> bool:
        return (await source.post("/v1/track", TRACK)).status_code == 401

    await eventually(refused)
    assert (await source.post("/v1/track", TRACK, auth=(made["write_key"], ""))).status_code == 200
    late = await client.post(path, json={"replaces": old["id"]}, headers=ADMIN)
    assert (late.status_code, "leave `replaces` out" in late.json()["detail"]) == (409, True)


async def test_only_a_sources_own_key_is_replaced(ingest: Ingest, source: Source, client: httpx.AsyncClient) -> None:
    other = await add_source(ingest)
    (theirs,) = (await client.get(f"/v1/sources/{other.id}/keys", headers=ADMIN)).json()["items"]
    before = (await client.get(f"/v1/sources/{source.id}/keys", headers=ADMIN)).json()["items"]
    answer = await client.post(f"/v1/sources/{source.id}/keys", json={"replaces": theirs["id"]}, headers=ADMIN)
    assert answer.status_code == 404
    assert (await client.get(f"/v1/sources/{source.id}/keys", headers=ADMIN)).json()["items"] == before
    assert (await other.post("/v1/track", TRACK)).status_code == 200


async def test_a_key_in_the_wrong_place_or_of_another_kind(source: Source) -> None:
    for members, query, said in (
        ({"api_key": source.key}, "", "did you mean writeKey instead of api_key?"),
        ({"write_key": source.key}, "", "did you mean writeKey instead of write_key?"),
        ({}, f"?writeKey={source.key}", "a key in the URL (?writeKey=) is not read"),
        ({}, "", "no write key"),
    ):
        answer = await source.post(f"/v1/track{query}", {**TRACK, **members}, auth=None)
        assert answer.status_code == 401
        assert said in answer.json()["detail"]
        assert source.key not in answer.text
    answer = await source.post("/v1/track", TRACK, auth=None, headers=ADMIN)
    assert answer.status_code == 401
    assert "that is an API token, not a write key" in answer.json()["detail"]


async def test_a_key_is_no_token_and_a_token_is_no_key(source: Source, client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/sources", headers={"authorization": f"Bearer {source.key}"})).status_code == 401
    answer = await client.post("/v1/track", json=TRACK, headers=ADMIN)
    assert answer.status_code == 401
    assert "rk_" in answer.json()["detail"]


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
