"""Customers over REST, through the whole service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.registry import Scope
from libs.common.db.pool import Database
from libs.common.http.auth.tokens import mint
from libs.common.log.append import append
from libs.common.settings import Settings
from services.profile.app import create
from services.profile.settings import Settings as ProfileSettings
from tests.conftest import KEYS
from tests.integration.profile.said import said
from tests.support import eventually


def bearer(scope: Scope = "customers:read") -> dict[str, str]:
    return {"authorization": f"Bearer {mint(KEYS[0], 'ann', [scope], timedelta(hours=1))}"}


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app: FastAPI = create(ProfileSettings(**settings.model_dump()))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://profile", headers=bearer()) as client,
    ):

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await eventually(ready)
        yield client


@pytest.fixture
async def client(settings: Settings, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Profile, having heard of ann (with device a1, merged) and of device a2."""
    events = [
        said("page", device="a1", message="m1", minute=0, properties={"path": "/"}),
        said("track", "ann", message="m2", minute=1),
        said("page", device="a2", message="m3", minute=2),
    ]
    order = {"order_id": "o1", "revenue": 12.3, "currency": "EUR"}
    later = [
        said("identify", "ann", "a1", message="m4", minute=3, traits={"email": "ann@example.org", "old": None}),
        said("track", "ann", "a1", message="m5", minute=4, event="Order Completed", properties=order),
    ]
    async with serving(settings) as client:
        for batch in (events, later):
            async with database.transaction() as tx:
                await append(tx, EVENTS, batch, 8)
            await eventually(lambda: _read_all(client))
        yield client


async def _read_all(client: httpx.AsyncClient) -> bool:
    return bool((await client.get("/readyz", params={"verbose": ""})).text.count("has read everything") == 4)


async def _items(client: httpx.AsyncClient, path: str, limit: int) -> list[dict[str, Any]]:
    """All pages of a list."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = await client.get(path, params={"limit": limit, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= limit
        items += page["items"]
        if (cursor := page["next"]) is None:
            return items


async def test_a_customer_by_every_reference(client: httpx.AsyncClient) -> None:
    ann = (await client.get("/v1/customers/user:ann")).json()
    assert (ann["refs"], ann["user_id"]) == (["user:ann", "anon:a1"], "ann")
    assert (ann["traits"], ann["orders"], ann["revenue"]) == ({"email": "ann@example.org"}, 1, {"EUR": "12.30"})
    assert (ann["first_seen"], ann["last_seen"]) == ("2026-03-02T12:00:00Z", "2026-03-02T12:04:00Z")
    (merged,) = ann["merged_from"]
    for ref in ("anon:a1", ann["id"], merged):
        assert (await client.get(f"/v1/customers/{ref}")).json() == ann


async def test_the_timeline_spans_who_was_merged_newest_first(client: httpx.AsyncClient) -> None:
    whole = (await client.get("/v1/customers/user:ann/timeline")).json()
    assert whole["next"] is None
    names = [item["name"] for item in whole["items"]]
    assert (names[0], names[-2:]) == ("Order Completed", ["Clicked", "Page Viewed"])
    assert set(names[1:4]) == {"Identified", "Customer Merged", "Customer Left"}
    assert whole["items"][0]["data"]["properties"]["order_id"] == "o1"
    assert "customer" not in whole["items"][0]["data"]
    assert whole["items"][-1]["source"] == "/apps/test"
    for limit in (1, 2, 6):
        assert await _items(client, "/v1/customers/user:ann/timeline", limit) == whole["items"]


async def test_the_list_is_paged_and_searched(client: httpx.AsyncClient) -> None:
    everybody = await _items(client, "/v1/customers", 1)
    assert {item["refs"][0] for item in everybody} == {"user:ann", "anon:a2"}
    (found,) = (await client.get("/v1/customers", params={"q": "an"})).json()["items"]
    assert found["user_id"] == "ann"
    assert (await client.get("/v1/customers", params={"q": "%"})).json()["items"] == []


async def test_the_summary_counts_exactly(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/customers/summary")).json() == {
        "customers": 2,
        "identified": 1,
        "anonymous": 1,
        "merges": 1,
        "claims": 0,
        "duplicates": 0,
        "events": 5,
        "skipped": 0,
        "duplicates_by_source": {},
        "refused": {},
    }


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/customers/user:nobody", 404),
        ("/v1/customers/ann", 422),
        ("/v1/customers/018f0000-0000-8000-8000-000000000000", 404),
        ("/v1/customers/user:ann/timeline?cursor=%21", 422),
        ("/v1/customers/user:ann/timeline?cursor=YWJj", 422),
        ("/v1/customers/user:ann%00", 422),
        ("/v1/customers?limit=0", 422),
        ("/v1/customers?q=%00", 422),
        ("/v1/customers?cursor=x", 422),
    ],
)
async def test_what_cannot_be_answered_says_why(client: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]


async def test_a_token_needs_the_scope(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/customers/user:ann", headers=bearer("rewards:read"))
    assert answer.status_code == 403
    assert (await client.get("/v1/profile/dead-letters", headers=bearer("operate"))).json() == {
        "items": [],
        "next": None,
    }
