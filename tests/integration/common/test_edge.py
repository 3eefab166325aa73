"""What every service has at its edge: problems from PostgreSQL's refusals, metrics, trace context, a page that says it all."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from prometheus_client.parser import text_string_to_metric_families

from libs.common.db.pool import Database
from libs.common.observability.telemetry import current_request
from libs.common.settings import Settings
from tests.client import ready, running
from tests.integration.common import tiny
from tests.support import eventually


async def test_what_postgresql_refuses_is_said_to_who_sent_it(database: Database) -> None:
    router = APIRouter(prefix="/v1/rows")

    async def tx() -> AsyncIterator[Any]:
        async with database.transaction() as opened:
            yield opened

    Tx = Annotated[Any, Depends(tx, scope="function")]

    @router.get("/text/{text}")
    async def text(text: str, tx: Tx) -> Any:
        return await tx.fetchval("SELECT $1::text", text)

    @router.get("/number/{number}")
    async def number(number: int, tx: Tx) -> Any:
        return await tx.fetchval("SELECT $1::int", number)

    @router.get("/sql")
    async def sql(q: str, tx: Tx) -> Any:
        return await tx.fetchval(q)

    async with running(tiny.create(Settings(), (), None, router)) as client:

        async def told(path: str, **params: str) -> tuple[int, str]:
            response = await client.get(f"/v1/rows/{path}", params=params)
            return response.status_code, response.json()["detail"]

        assert await told("text/a%00b") == (
            422,
            "A text in the request contains a character that cannot be stored (NUL, or half a pair).",
        )
        status, detail = await told("number/99999999999")
        assert (status, "out of range" in detail) == (422, True)
        assert (await told("sql", q="SELECT 1/0"))[0] == 422
        assert (await told("sql", q="SELECT nonsense()"))[0] == 500
        status, detail = await told("sql", q="SELECT 1 FROM nothing")
        assert (status, "rapport migrate" in detail) == (503, True)
        assert (await told("sql", q="SELECT pg_terminate_backend(pg_backend_pid())"))[0] == 503
        assert (await client.get("/v1/rows/text/ann")).json() == "ann"


async def test_metrics_count_by_route_and_never_by_path() -> None:
    meter_app = tiny.create(Settings())
    async with running(meter_app) as client:
        await eventually(lambda: ready(client))
        for path in ("/v1/things/open", "/v1/things/open", "/v1/things/fail/bug", "/nothing/1", "/nothing/2"):
            await client.get(path)
        meter_app.state.meter.lag("rewards", "profile.journal", 3, 10, 0.5)
        text = (await client.get("/metrics")).text
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def count(route: str, status: str) -> float:
        return samples["rapport_http_requests_total", ("method", "GET"), ("route", route), ("status", status)]

    assert count("/v1/things/open", "2xx") == 2
    assert count("/v1/things/fail/{how}", "5xx") == 1
    assert count("none", "4xx") == 2
    where = (("partition", "3"), ("reader", "rewards"), ("topic", "profile.journal"))
    assert samples["rapport_lag_records", *where] == 10


async def test_two_services_fit_into_one_process() -> None:
    first, second = tiny.create(Settings()), tiny.create(Settings())
    async with running(first) as one, running(second) as other:
        await one.get("/v1/things/open")
        assert b"things/open" in (await one.get("/metrics")).content
        assert b"things/open" not in (await other.get("/metrics")).content


async def test_trace_context_is_kept_when_it_is_valid_and_made_when_not() -> None:
    router = APIRouter()

    @router.get("/v1/trace")
    async def trace() -> Any:
        return current_request()

    async with running(tiny.create(Settings(), (), None, router)) as client:

        async def trace_of(sent: str) -> str:
            made: str = (await client.get("/v1/trace", headers={"traceparent": sent})).json()[1]
            return made

        valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        assert await trace_of(valid) == valid
        for wrong in ("", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", valid.upper(), "ff" + valid[2:], valid + "-x"):
            assert await trace_of(wrong) != wrong


async def test_openapi_describes_tokens_and_problems() -> None:
    async with running(tiny.create(Settings())) as client:
        page = (await client.get("/openapi.json")).json()
    assert page["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert set(page["paths"]["/v1/things/mine"]["get"]["responses"]) == {"200", "401", "403", "422", "503"}
    assert set(page["paths"]["/v1/things/fail/{how}"]["get"]["responses"]) == {"200", "404", "422", "503"}
    assert "application/problem+json" in page["paths"]["/v1/things"]["post"]["responses"]["422"]["content"]
    assert "HTTPValidationError" not in json.dumps(page)
