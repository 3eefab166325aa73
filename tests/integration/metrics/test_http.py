"""The API: mistakes, the stream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import alembic.autogenerate
import httpx
import msgspec
import pytest
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from services.metrics.models import metadata
from services.metrics.settings import Settings
from tests.client import token
from tests.integration.metrics.service import Metrics, customer, event, order, serving
from tests.process import ServiceProcess
from tests.support import eventually

TOMORROW = str(datetime.now(UTC).date() + timedelta(days=2))


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/v1/fits", {"as_of": "yesterday"}, 422, "body.as_of"),
        ("POST", "/v1/fits", {"as_of": TOMORROW}, 422, "is in the future"),
        ("POST", "/v1/fits", {"currency": "dollars"}, 422, "body.currency"),
        ("POST", "/v1/fits", {}, 409, "at least 10 customers"),
        ("POST", "/v1/fits", None, 409, "at least 10 customers"),
        ("GET", "/v1/fits/3d0e5f1c-1111-8aaa-8bbb-0c0d0e0f0a0b", None, 404, "There is no fit 3d0e5f1c"),
        ("GET", "/v1/fits/first", None, 422, "path.id"),
        ("GET", "/v1/fits?cursor=x", None, 422, "query.cursor"),
        ("GET", "/v1/scores?cursor=x", None, 422, "cursor"),
        ("GET", "/v1/scores?cursor=Y2x0diBuYW4gYQ==", None, 422, "cursor"),
        ("GET", "/v1/scores?order=luck", None, 422, "query.order"),
        ("GET", "/v1/scores?risk_band=awful", None, 422, "query.risk_band"),
        ("GET", "/v1/customers/ann/score", None, 422, "user:<userId>"),
        ("GET", "/v1/customers/user:ann/score", None, 404, "no customer user:ann"),
        ("GET", "/v1/kpis/happiness", None, 404, "orders, revenue, aov, active_customers, repeat_rate"),
        ("GET", "/v1/kpis/orders?from=2026-02-02&to=2026-02-01", None, 422, "swap them"),
        ("GET", "/v1/kpis/orders?from=1900-01-01", None, 422, "more than 3660 days"),
        ("GET", "/v1/kpis/orders?by=week", None, 422, "query.by"),
        ("GET", "/v1/kpis/orders?to=0001-01-01", None, 200, ""),
        ("GET", "/v1/kpis/revenue?currency=usd", None, 422, "query.currency"),
    ],
)
async def test_mistakes(shared_metrics: Metrics, method: str, path: str, body: Any, status: int, said: str) -> None:
    answer = await shared_metrics.client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert said in answer.json()["detail"]


async def test_nothing_yet(shared_metrics: Metrics) -> None:
    summary = await shared_metrics.get("metrics/summary")
    assert (summary["orders"], summary["revenue"], summary["repeat_rate"], summary["last_day"]) == (0, {}, None, None)
    assert await shared_metrics.get("scores") == await shared_metrics.get("fits") == {"items": [], "next": None}
    figure = await shared_metrics.get("kpis/revenue")
    assert (len(figure["items"]), figure["total"], figure["currency"]) == (30, "0.00", "USD")


async def test_a_buyer_before_any_fit(metrics: Metrics) -> None:
    ann = customer("ann")
    await metrics.journal(order(ann, "a", date(2026, 3, 2), 10))
    assert "because there is no fit" in (await metrics.ask("GET", f"customers/{ann}/score", 404))["detail"]


async def test_the_page_defines_each_figure(shared_metrics: Metrics) -> None:
    page = (await shared_metrics.client.get("/openapi.json")).json()
    described = page["paths"]["/v1/kpis/{name}"]["get"]["description"]
    assert all(f"`{name}`: " in described for name in ("orders", "revenue", "aov", "active_customers", "repeat_rate"))


@asynccontextmanager
async def subscribed(metrics: Metrics, **headers: str) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
    async with metrics.client.stream("GET", "/v1/kpis/stream", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer)


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    id = ""
    async for line in answer.aiter_lines():
        if line.startswith("id: "):
            id = line[4:]
        elif line.startswith("data: "):
            yield id, msgspec.json.decode(line[6:])


async def test_the_stream_sends_what_changed(metrics: Metrics) -> None:
    today = datetime.now(UTC).date()
    async with subscribed(metrics) as stream:
        first, totals = await anext(stream)
        assert (totals["orders"], totals["active_today"]) == (0, 0)
        await metrics.journal(order(customer("ann"), "a", today, 29.33), order(customer("bob"), "b", today, 1))
        second, totals = await anext(stream)
        while totals["orders"] < 2:
            second, totals = await anext(stream)
        assert first != second
        assert (totals["revenue"], totals["repeat_rate"]) == ({"USD": "30.33"}, 0.0)
        assert totals["active_today"] == 2 or datetime.now(UTC).date() > today
        assert totals["customers_with_orders"] == 2
    # a subscriber with the last id gets only what is new
    async with subscribed(metrics, **{"last-event-id": second}) as stream:
        await metrics.journal(event(customer("bob"), "Order Refunded", today, order_id="b"))
        assert (await anext(stream))[1]["revenue"] == {"USD": "29.33"}


async def test_the_number_of_subscribers_is_limited(metrics_settings: Settings) -> None:
    async with serving(metrics_settings.model_copy(update={"streams": 1})) as metrics:
        async with subscribed(metrics) as stream:
            await anext(stream)
            refused = await metrics.client.get("/v1/kpis/stream")
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")

        async def free() -> bool:
            async with metrics.client.stream("GET", "/v1/kpis/stream") as answer:
                return answer.status_code == 200

        assert await eventually(free)


async def test_a_ticket_lets_a_browser_in_once(metrics: Metrics) -> None:
    made = await metrics.post("kpis/stream/tickets", status=201)
    path = f"/v1/kpis/stream?ticket={made['ticket']}"
    async with httpx.AsyncClient(base_url=metrics.client.base_url) as browser:
        async with browser.stream("GET", path) as answer:
            assert answer.status_code == 200
            assert (await anext(events(answer)))[1]["orders"] == 0
        again = await browser.get(path)
    assert (again.status_code, again.headers["content-type"]) == (401, "application/problem+json")


async def test_the_stream_ends_when_the_service_stops(settings: Settings, tmp_path: Path) -> None:
    process = ServiceProcess("metrics", settings.dsn, tmp_path / "log")
    try:
        await process.ready()
        async with (
            httpx.AsyncClient(base_url=process.url, headers=token(), timeout=20) as client,
            client.stream("GET", "/v1/kpis/stream") as answer,
        ):
            stream = events(answer)
            await anext(stream)
            process.process.terminate()
            assert [event async for event in stream] == []
        assert await process.ended() == 0
    finally:
        process.stop()


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no such time zone"):
        Settings(workspace_timezone="Mars/Olympus")


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
