"""`/v1/kpis` and `/v1/metrics/summary`: key figures, by day, in all, and as a stream."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from libs.common.auth import Principal, require
from libs.common.errors import Invalid, NotFound
from libs.common.fold.part import FoldPart
from libs.common.times import Day
from services.metrics import queries
from services.metrics.api import answers
from services.metrics.kpis import KPIS, Asked
from services.metrics.settings import Settings
from services.metrics.stream import KpiStream

Reader = Annotated[Principal, Depends(require("metrics:read"))]

#: So many days are answered at a time.
LONGEST = 3660
_DEFINITIONS = "\n".join(f"- `{name}`: {kpi.definition}" for name, kpi in KPIS.items())


class _Followed(StreamingResponse):
    """A stream that gives its place back however it ends."""

    def __init__(self, stream: KpiStream, request: Request, seen: str | None) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        content = stream.follow(request.app.state.lifecycle.draining, seen)
        super().__init__(content, headers=headers, media_type="text/event-stream")
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.leave()


def routes(part: FoldPart, settings: Settings) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["key figures"])
    zone = settings.zone
    stream = KpiStream(part, settings)

    @router.get(
        "/metrics/summary", summary="Orders, revenue, AOV and repeat rate in all", response_model=answers.Totals
    )
    async def summary(
        _: Reader, until: Annotated[Day | None, Query(description="leave out orders of later days")] = None
    ) -> dict[str, Any]:
        """Exact, over all orders received (those up to the day `until`). Revenue is net of refunds; `repeat_rate` is the
        share of customers with orders who ordered on more than one day; the days are the first and the last with an
        order."""
        async with part.read() as tx:
            totals = await queries.totals(tx, until)
        return {**queries.jsonable(totals), "timezone": zone.key}

    @router.get("/kpis/stream", summary="The totals as server-sent events", response_class=StreamingResponse)
    async def follow(
        _: Reader, request: Request, last_event_id: Annotated[str | None, Header()] = None
    ) -> StreamingResponse:
        """An event `totals` (the summary with `active_today`) at once and whenever it changes, at most every second; a
        comment every 15 seconds. Ends when the service stops: connect again. 429 when too many follow."""
        stream.enter()
        return _Followed(stream, request, last_event_id)

    @router.get(
        "/kpis/{name}",
        summary="A key figure by day",
        response_model=answers.Figure,
        description=f"{_DEFINITIONS}\n\nDays are days of the workspace's zone; the last 30 by default.",
    )
    async def by_day(
        name: str,
        _: Reader,
        start: Annotated[Day | None, Query(alias="from", description="the first day")] = None,
        end: Annotated[Day | None, Query(alias="to", description="the last day; today by default")] = None,
        currency: Annotated[str | None, Query(pattern="^[A-Z]{3}$")] = None,
        by: Literal["day"] = "day",
    ) -> dict[str, Any]:
        if (kpi := KPIS.get(name)) is None:
            raise NotFound(f"There is no key figure {name!r}: there are {', '.join(KPIS)}.", known=list(KPIS))
        end = end or datetime.now(zone).date()
        start = start or end - timedelta(days=min(29, end.toordinal() - 1))
        if start > end:
            raise Invalid(f"from {start} is after to {end}: turn them round.")
        if (end - start).days >= LONGEST:
            raise Invalid(f"from {start} to {end} is more than {LONGEST} days: ask for less at a time.")
        asked = Asked(start, end, currency, settings.default_currency)
        async with part.read() as tx:
            series = await kpi.compute(tx, asked)
        return {
            "name": name,
            "definition": kpi.definition,
            "timezone": zone.key,
            "currency": series.currency,
            "by": by,
            "from": start,
            "to": end,
            "total": series.total,
            "items": [{"day": day, "value": series.by_day.get(day, series.empty)} for day in asked.days],
        }

    return router
