"""Webhooks of other systems: declared, signed, mapped, stored, counted once; secrets shown once and changed."""

import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from tests.integration.ingest.conftest import ADMIN, Ingest, Source
from tests.support import eventually

SECRET = "hush-from-the-settings"
ORDER = {"id": 1001, "created_at": "2026-01-31T12:00:00Z", "total_price": "29.33", "currency": "EUR",
         "customer": {"id": 7, "email": "ann@example.com"}, "line_items": []}  # fmt: skip
OWN = {
    "delivery": "payload.id",
    "events": [
        {
            "event": {"value": "Ping"},
            "userId": "payload.who",
            "properties": {"headers": "headers", "n": "payload.n * 2"},
        }
    ],
}


async def declare(client: httpx.AsyncClient, source: Source, status: int = 201, **members: Any) -> Any:
    body = {"name": "Shop", "mapping": "shopify", "secret": SECRET, **members}
    answer = await client.post(f"/v1/sources/{source.id}/hooks", json=body, headers=ADMIN)
    assert answer.status_code == status, answer.text
    return answer.json()


async def post(
    client: httpx.AsyncClient, hook: Any, payload: Any, topic: str = "orders/paid", id: str = "w1", secret: str = SECRET
) -> httpx.Response:
    """As Shopify posts."""
    body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    signature = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()
    headers = {"X-Shopify-Topic": topic, "X-Shopify-Hmac-Sha256": signature, "X-Shopify-Webhook-Id": id}
    return await client.post(hook["path"], content=body, headers={**headers, "content-type": "application/json"})


async def test_an_order_is_stored_and_a_retry_counts_once(source: Source, client: httpx.AsyncClient) -> None:
    hook = await declare(client, source)
    for _ in range(2):
        answer = await post(client, hook, ORDER)
        assert answer.status_code == 200, answer.text
        assert [result["status"] for result in answer.json()["results"]] == ["ok", "ok"]
    records = await source.records()
    assert len(records) == 4
    assert len({record.id for record in records}) == 2  # profile drops the second of each
    orders = [event for event in await source.events() if event["type"] == "track"]
    assert {order["userId"] for order in orders} == {"7"}
    assert orders[0]["properties"]["order_id"] == "1001"
    assert {record.time for record in records} == {datetime(2026, 1, 31, 12, tzinfo=UTC)}
    ignored = await post(client, hook, ORDER, "products/update")
    assert (ignored.status_code, ignored.json()) == (200, {"success": True, "results": []})


async def test_what_is_not_signed_so_stores_nothing(source: Source, client: httpx.AsyncClient) -> None:
    hook = await declare(client, source)
    wrong = await post(client, hook, ORDER, secret="another-secret")
    assert wrong.status_code == 401
    assert "does not fit" in wrong.json()["detail"]
    unsigned = await client.post(hook["path"], json=ORDER)
    assert "x-shopify-hmac-sha256 is missing" in unsigned.json()["detail"]
    for path in ("/v1/inbound/nothing", "/v1/inbound/00000000-0000-7000-8000-000000000000"):
        assert (await client.post(path, json=ORDER)).status_code == 404
    assert await source.records() == []


async def test_what_cannot_be_stored_is_refused_and_listed(source: Source, client: httpx.AsyncClient) -> None:
    hook = await declare(client, source, mapping=OWN, signature="shopify")
    assert (await post(client, hook, b"[1]")).status_code == 400
    assert (await post(client, hook, b"{")).status_code == 400
    assert (await post(client, hook, b'{"a": "%b"}' % (b"x" * 600_000))).status_code == 413
    failed = await post(client, hook, {"id": "1", "who": "ann", "n": "many"})
    assert failed.status_code == 422
    assert "events[0].properties.n" in failed.json()["detail"]
    nobody = await post(client, hook, {"id": "2", "n": 1})
    assert nobody.status_code == 422
    assert "an event needs a userId" in nobody.json()["detail"]
    assert await source.records() == []

    async def listed() -> bool:
        page = await client.get("/v1/rejected", params={"source": source.name}, headers=ADMIN)
        return len(page.json()["items"]) == 4  # what is signed, however broken

    await eventually(listed)


async def test_a_header_that_carries_the_secret_reaches_no_event(source: Source, client: httpx.AsyncClient) -> None:
    await declare(client, source, 422, mapping=OWN, signature="header")
    hook = await declare(client, source, mapping=OWN, signature="header", secret_header="X-Hook-Secret")
    headers = {"x-hook-secret": SECRET, "authorization": "Bearer private", "cookie": "a=b", "x-kept": "yes"}
    answer = await client.post(hook["path"], json={"id": "1", "who": "ann", "n": 2}, headers=headers)
    assert answer.status_code == 200, answer.text
    (event,) = await source.events()
    assert event["properties"]["n"] == 4
    assert event["properties"]["headers"]["x-kept"] == "yes"
    assert not {"x-hook-secret", "authorization", "cookie"} & event["properties"]["headers"].keys()
    assert (await client.post(hook["path"], json={}, headers={"x-hook-secret": "no"})).status_code == 401


async def test_secrets_are_shown_once_and_changed_with_an_overlap(
    ingest: Ingest, source: Source, client: httpx.AsyncClient
) -> None:
    given = await declare(client, source)
    assert given["secret"] is None
    made = await declare(client, source, name="Made", secret=None)
    assert made["secret"]
    base = f"/v1/sources/{source.id}/hooks"
    for path in (base, f"{base}/{made['id']}"):
        shown = (await client.get(path, headers=ADMIN)).text
        assert SECRET not in shown
        assert made["secret"] not in shown
    path = f"{base}/{made['id']}/secret"
    second = (await client.post(path, json={"overlap": 3600}, headers=ADMIN)).json()["secret"]
    for secret in (made["secret"], second):
        assert (await post(client, made, ORDER, secret=secret)).status_code == 200
    assert (await client.post(path, json={"secret": SECRET, "overlap": 0}, headers=ADMIN)).json() == {"secret": None}
    for secret, status in ((made["secret"], 401), (second, 401), (SECRET, 200)):
        assert (await post(client, made, ORDER, secret=secret)).status_code == status
    await client.post(path, json={"overlap": 3600}, headers=ADMIN)
    connection = await asyncpg.connect(ingest.dsn)
    await connection.execute("UPDATE ingest.old_inbound_secrets SET valid_until = now() WHERE hook_id = $1", made["id"])
    await connection.close()
    assert (await post(client, made, ORDER)).status_code == 401
    refused = await client.post(path, json={"secret": "short"}, headers=ADMIN)
    assert (refused.status_code, "at least 8" in refused.json()["detail"]) == (422, True)


async def test_a_trial_shows_what_would_become_and_stores_nothing(source: Source, client: httpx.AsyncClient) -> None:
    hook = await declare(client, source)
    path = f"/v1/sources/{source.id}/hooks/{hook['id']}/try"
    headers = {"X-Shopify-Topic": "orders/paid", "X-Shopify-Webhook-Id": "w7"}
    answer = (await client.post(path, json={"payload": ORDER, "headers": headers}, headers=ADMIN)).json()
    assert answer["delivery"] == "w7"
    identified, ordered, cancelled, refunded = answer["outcomes"]
    assert (identified["status"], ordered["status"]) == ("ok", "ok")
    assert ordered["event"]["properties"]["revenue"] == "29.33"
    assert ordered["event"]["timestamp"] == "2026-01-31T12:00:00+00:00"
    assert any(each.startswith("properties.coupon: ") for each in ordered["left_out"])
    assert [each["status"] for each in (cancelled, refunded)] == ["skipped", "skipped"]
    other = {"payload": {"who": "0", "n": 1}, "mapping": OWN}
    (outcome,) = (await client.post(path, json=other, headers=ADMIN)).json()["outcomes"]
    assert (outcome["status"], "needs a userId" in outcome["reason"]) == ("rejected", True)
    assert await source.records() == []


async def test_webhooks_are_listed_changed_and_removed(source: Source, client: httpx.AsyncClient) -> None:
    hook = await declare(client, source)
    await declare(client, source, 409)
    second = await declare(client, source, name="Second")
    base = f"/v1/sources/{source.id}/hooks"
    first_page = (await client.get(base, params={"limit": 1}, headers=ADMIN)).json()
    rest = (await client.get(base, params={"cursor": first_page["next"]}, headers=ADMIN)).json()
    assert [each["name"] for each in (*first_page["items"], *rest["items"])] == ["Shop", "Second"]
    taken = await client.patch(f"{base}/{second['id']}", json={"name": "Shop"}, headers=ADMIN)
    assert taken.status_code == 409
    changed = await client.patch(f"{base}/{hook['id']}", json={"name": "Own", "mapping": OWN}, headers=ADMIN)
    assert (changed.json()["name"], changed.json()["mapping"]["delivery"]) == ("Own", "payload.id")
    assert (await post(client, hook, {"id": "1", "who": "ann", "n": 1})).status_code == 200
    assert (await client.delete(f"{base}/{hook['id']}", headers=ADMIN)).status_code == 204
    assert (await post(client, hook, ORDER)).status_code == 404
    assert (await client.delete(f"{base}/{hook['id']}", headers=ADMIN)).status_code == 404
    names = (await client.get("/v1/hook-mappings", headers=ADMIN)).json()["items"]
    assert [each["name"] for each in names] == ["shopify", "stripe", "zendesk", "typeform"]


@pytest.mark.parametrize("mapping", ["shopify", "stripe", "zendesk", "typeform"])
async def test_a_ready_mapping_that_is_read_can_be_sent_as_ones_own(
    source: Source, client: httpx.AsyncClient, mapping: str
) -> None:
    ready = (await client.get("/v1/hook-mappings", headers=ADMIN)).json()["items"]
    own = next(each["mapping"] for each in ready if each["name"] == mapping)
    by_name = await declare(client, source, name="By name", mapping=mapping)
    by_hand = await declare(client, source, name="By hand", mapping=own, signature=by_name["signature"])
    assert by_hand["mapping"] == by_name["mapping"] == own


async def test_stripe_is_held_to_its_time(source: Source, client: httpx.AsyncClient) -> None:
    hook = await declare(client, source, mapping="stripe")
    intent = {"id": "pi_1", "amount_received": 2999, "currency": "eur", "customer": "cus_9", "metadata": {}}
    event = {"id": "evt_1", "type": "payment_intent.succeeded", "created": 1769860800, "data": {"object": intent}}
    body, now = msgspec.json.encode(event), int(time.time())
    for stamp, status in ((now, 200), (now - 400, 401)):
        made = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {"stripe-signature": f"t={stamp},v1={made}"}
        assert (await client.post(hook["path"], content=body, headers=headers)).status_code == status
    (stored,) = await source.events()
    assert stored["properties"]["revenue"] == 29.99
