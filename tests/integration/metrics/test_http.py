"""What REST answers: rights, mistakes, the stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import alembic.autogenerate
import httpx
import msgspec
import pytest
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from libs.common.db.pool import Database
from libs.common.settings import Settings
from services.metrics.models import metadata
from tests.integration.metrics.conftest import ANALYST, Metrics, bearer, customer, fresh, own, service
from tests.integration.metrics.process import answers, process
from tests.support import eventually

READS = (
    "/v1/fits",
    "/v1/scores",
    "/v1/kpis/orders",
    "/v1/kpis/stream",
    "/v1/metrics/summary",
    "/v1/customers/user:a/score",
)


async def test_rights(metrics: Metrics) -> None:
    for path in READS:
        assert (await metrics.client.get(path)).status_code == 401
        assert (await metrics.client.get(path, headers=bearer("customers:read"))).status_code == 403
    for headers, status in (({}, 401), (bearer("metrics:read"), 403)):
        assert (await metrics.client.post("/v1/fits", json={}, headers=headers)).status_code == status
    assert (await metrics.client.get("/v1/metrics/dead-letters", headers=ANALYST)).status_code == 403
    assert (await metrics.client.get("/v1/metrics/dead-letters", headers=bearer("operate"))).status_code == 200


TOMORROW = str(datetime.now(UTC).date() + timedelta(days=2))


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/v1/fits", {"as_of": "yesterday"}, 422, "body.as_of"),
        ("POST", "/v1/fits", {"as_of": TOMORROW}, 422, "lies in the future"),
        ("POST", "/v1/fits", {"currency": "dollars"}, 422, "body.currency"),
        ("POST", "/v1/fits", {}, 409, "at least 10 customers"),
        ("POST", "/v1/fits", None, 409, "at least 10 customers"),
        ("GET", "/v1/fits/3d0e5f1c-1111-8aaa-8bbb-0c0d0e0f0a0b", None, 404, "there is no fit 3d0e5f1c"),
        ("GET", "/v1/fits/first", None, 422, "path.id"),
        ("GET", "/v1/fits?cursor=x", None, 422, "query.cursor"),
        ("GET", "/v1/scores?cursor=x", None, 422, "cursor"),
        ("GET", "/v1/scores?cursor=Y2x0diBuYW4gYQ==", None, 422, "cursor"),
        ("GET", "/v1/scores?order=luck", None, 422, "query.order"),
        ("GET", "/v1/scores?risk_band=awful", None, 422, "query.risk_band"),
        ("GET", "/v1/customers/ann/score", None, 422, "user:<userId>"),
        ("GET", "/v1/customers/user:ann/score", None, 404, "no customer user:ann"),
        ("GET", "/v1/kpis/happiness", None, 404, "orders, revenue, aov, active_customers, repeat_rate"),
        ("GET", "/v1/kpis/orders?from=2026-02-02&to=2026-02-01", None, 422, "turn them round"),
        ("GET", "/v1/kpis/orders?from=1900-01-01", None, 422, "more than 3660 days"),
        ("GET", "/v1/kpis/orders?by=week", None, 422, "query.by"),
        ("GET", "/v1/kpis/orders?to=0001-01-01", None, 200, ""),
        ("GET", "/v1/kpis/revenue?currency=usd", None, 422, "query.currency"),
    ],
)
async def test_mistakes(quiet: Metrics, method: str, path: str, body: Any, status: int, said: str) -> None:
    answer = await quiet.client.request(method, path, json=body, headers=ANALYST)
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert said in answer.json()["detail"]


@pytest.fixture(scope="module")
async def quiet(postgres: Any, template: str) -> AsyncIterator[Metrics]:
    """A service that has heard nothing."""
    async with fresh(postgres, template) as (settings, database), service(settings, database) as metrics:
        yield metrics


async def test_nothing_yet(quiet: Metrics) -> None:
    summary = await quiet.get("/v1/metrics/summary")
    assert (summary["orders"], summary["revenue"], summary["repeat_rate"], summary["last_day"]) == (0, {}, None, None)
    assert await quiet.get("/v1/scores") == await quiet.get("/v1/fits") == {"items": [], "next": None}
    figure = await quiet.get("/v1/kpis/revenue")
    assert (len(figure["items"]), figure["total"], figure["currency"]) == (30, "0.00", "USD")


async def test_a_buyer_before_any_fit(metrics: Metrics) -> None:
    ann = customer("ann")
    await metrics.told(metrics.journal.order(ann, "a", date(2026, 3, 2), 10))
    answer = await metrics.client.get(f"/v1/customers/{ann}/score", headers=ANALYST)
    assert (answer.status_code, "nothing was ever fitted" in answer.json()["detail"]) == (404, True)


async def test_the_page_defines_each_figure(quiet: Metrics) -> None:
    page = (await quiet.client.get("/openapi.json")).json()
    described = page["paths"]["/v1/kpis/{name}"]["get"]["description"]
    assert all(f"`{name}`: " in described for name in ("orders", "revenue", "aov", "active_customers", "repeat_rate"))


@asynccontextmanager
async def followed(metrics: Metrics, **headers: str) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
    async with metrics.client.stream("GET", "/v1/kpis/stream", headers={**ANALYST, **headers}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer)


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    id = ""
    async for line in answer.aiter_lines():
        if line.startswith("id: "):
            id = line[4:]
        elif line.startswith("data: "):
            yield id, msgspec.json.decode(line[6:])


async def test_the_stream_tells_what_changed(metrics: Metrics) -> None:
    journal = metrics.journal
    today = datetime.now(UTC).date()
    async with followed(metrics) as stream:
        first, totals = await anext(stream)
        assert (totals["orders"], totals["active_today"]) == (0, 0)
        await metrics.told(
            journal.order(customer("ann"), "a", today, 29.33), journal.order(customer("bob"), "b", today, 1)
        )
        second, totals = await anext(stream)
        while totals["orders"] < 2:
            second, totals = await anext(stream)
        assert first != second
        assert (totals["revenue"], totals["repeat_rate"]) == ({"USD": "30.33"}, 0.0)
        assert totals["active_today"] == 2 or datetime.now(UTC).date() > today
        assert totals["customers_with_orders"] == 2
    # who comes back with the last id hears only what is new
    async with followed(metrics, **{"last-event-id": second}) as stream:
        await metrics.told(journal.event(customer("bob"), "Order Refunded", today, order_id="b"))
        assert (await anext(stream))[1]["revenue"] == {"USD": "29.33"}


async def test_so_many_may_follow(settings: Settings, database: Database) -> None:
    async with service(own(settings, streams=1), database) as metrics:
        async with followed(metrics) as stream:
            await anext(stream)
            refused = await metrics.client.get("/v1/kpis/stream", headers=ANALYST)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")

        async def free() -> bool:
            async with metrics.client.stream("GET", "/v1/kpis/stream", headers=ANALYST) as answer:
                return answer.status_code == 200

        assert await eventually(free)


async def test_a_ticket_lets_a_browser_in_once(metrics: Metrics) -> None:
    made = await metrics.client.post("/v1/kpis/stream/tickets", headers=ANALYST)
    assert made.status_code == 201
    path = f"/v1/kpis/stream?ticket={made.json()['ticket']}"
    async with metrics.client.stream("GET", path) as answer:
        assert answer.status_code == 200
        assert (await anext(events(answer)))[1]["orders"] == 0
    again = await metrics.client.get(path)
    assert (again.status_code, again.headers["content-type"]) == (401, "application/problem+json")
    for headers, status in (({}, 401), (bearer("customers:read"), 403)):
        assert (await metrics.client.post("/v1/kpis/stream/tickets", headers=headers)).status_code == status


async def test_the_stream_ends_when_the_service_stops(settings: Settings, database: Database) -> None:
    async with process(settings) as (child, client):
        await eventually(lambda: answers(client))
        async with client.stream("GET", "/v1/kpis/stream", headers=ANALYST) as answer:
            stream = events(answer)
            await anext(stream)
            child.terminate()
            assert [event async for event in stream] == []
        assert await asyncio.wait_for(child.wait(), 60) == 0


async def test_an_unknown_zone_is_refused_at_the_start(settings: Settings) -> None:
    with pytest.raises(ValueError, match="no such time zone"):
        own(settings, workspace_timezone="Mars/Olympus")


async def test_models_and_migrations_agree(settings: Settings) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == "metrics",
                "include_object": lambda _, name, kind, *__: name != "alembic_version",
                "compare_server_default": True,
            },
        )
        return list(alembic.autogenerate.compare_metadata(context, metadata))

    engine = create_async_engine(settings.dsn.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()
