"""`/livez`, `/readyz` (and `/healthz`) and `/metrics`. They need no token."""

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from libs.common.errors import RapportError
from libs.common.http.readiness_text import readiness_text
from libs.common.runtime.component import Check, Component

if TYPE_CHECKING:
    from libs.common.http.lifecycle import Lifecycle

PATHS = frozenset(["/livez", "/readyz", "/healthz", "/metrics"])
BLOCKED = 5.0
"""Seconds without a heartbeat after which the event loop counts as blocked."""
PATIENCE = 2.0
"""Seconds that one component's check may take."""


async def check(component: Component) -> Check:
    """A component's check, bounded in time; an error is an answer too."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await component.check()
    except TimeoutError:
        return Check(False, f"no answer within {PATIENCE:g} seconds")
    except RapportError as error:
        return Check(False, error.detail)
    except Exception as error:
        return Check(False, f"{type(error).__name__}: {error}")


def report(service: str, status: str, checks: Mapping[str, Check]) -> dict[str, Any]:
    """Readiness as JSON."""
    readers = [lag for each in checks.values() for lag in each.lag]
    missing = [f"{name}: {each.detail or 'not ready'}" for name, each in checks.items() if not each.ok]
    concerns = [sentence for each in checks.values() for sentence in each.concerns]
    ready = f"Ready, but {'; '.join(concerns)}" if concerns else "Ready."
    sentence = {"ready": ready, "draining": "Draining: no new requests, please."}.get(status, "Not ready.")
    return {
        "status": status,
        "service": service,
        "detail": f"Not ready: {'; '.join(missing)}" if status == "not ready" and missing else sentence,
        "checks": {name: {"ok": each.ok, "detail": each.detail} for name, each in checks.items()},
        "lag": {
            "records": sum(lag.records for lag in readers),
            "seconds": round(max((lag.seconds for lag in readers), default=0.0), 3),
        },
        "readers": [
            {"reader": lag.reader, "topic": lag.topic, "records": lag.records, "seconds": round(lag.seconds, 3)}
            for lag in readers
        ],
        "concerns": concerns,
    }


def _lifecycle(request: Request) -> "Lifecycle":
    lifecycle: Lifecycle = request.app.state.lifecycle
    return lifecycle


_SENTENCES: dict[str, Any] = {"content": {"text/plain": {"schema": {"type": "string"}}}}
router = APIRouter(tags=["health"])


@router.get("/livez", summary="Is the process alive?")
async def livez(request: Request) -> Response:
    """503 when the event loop was blocked for over five seconds, or a task that never ends has ended: restart it."""
    lifecycle = _lifecycle(request)
    blocked = time.monotonic() - lifecycle.heartbeat
    problems = lifecycle.deaths()
    if blocked > BLOCKED:
        problems.append(f"the event loop was blocked for {blocked:.1f} seconds")
    body = {
        "status": "dead" if problems else "live",
        "service": lifecycle.service,
        "detail": "; ".join(problems) or "Live.",
    }
    return JSONResponse(body, 503 if problems else 200)


@router.get("/readyz", summary="Is the service ready, and how far is it behind?", responses={200: _SENTENCES})
@router.get("/healthz", summary="The same as /readyz", include_in_schema=False)
async def readyz(request: Request, verbose: str | None = None) -> Response:
    """200 when every dependency answers, else 503; `?verbose` for people."""
    readiness = await _lifecycle(request).readiness()
    status = 200 if readiness["status"] == "ready" else 503
    if verbose is not None and verbose not in ("0", "false"):
        return PlainTextResponse(readiness_text(readiness), status)
    return JSONResponse(readiness, status)


@router.get("/metrics", summary="Prometheus metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """All metrics in Prometheus' text format."""
    return Response(request.app.state.meter.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
