"""`/v1/kpis` and `/v1/metrics/summary`: key figures by day, in total, and as a stream."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse

from libs.common.contracts.iso_types import Day
from libs.common.contracts.written import CURRENCY
from libs.common.errors import Invalid, NotFound
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.http.streams import ANSWERS, EventStream, Ticket, Tickets
from services.metrics import queries
from services.metrics.api import answers
from services.metrics.kpis import KPIS, KpiQuery
from services.metrics.settings import Settings
from services.metrics.stream import KpiStream

Reader = Annotated[Principal, Depends(require("metrics:read"))]

#: The longest period of a request, in days.
MAX_DAYS = 3660
_DEFINITIONS = "\n".join(f"- `{name}`: {kpi.definition}" for name, kpi in KPIS.items())


def routes(part: ConsumerService, settings: Settings) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["key figures"])
    zone = settings.zone
    stream = KpiStream(part, settings)
    tickets = Tickets(part, "metrics", "kpis", "metrics:read")

    @router.get("/metrics/summary", summary="Total orders, revenue, AOV and repeat rate", response_model=answers.Totals)
    async def summary(
        _: Reader, until: Annotated[Day | None, Query(description="leave out orders of later days")] = None
    ) -> dict[str, Any]:
        """Exact, over all orders received, or those up to the day `until`. Revenue is net of refunds. `repeat_rate` is
        the share of customers with orders who ordered on more than one day. `first_day` and `last_day` are the first and
        the last day with an order."""
        async with part.read() as tx:
            totals = await queries.totals(tx, until)
        return {**queries.jsonable(totals), "timezone": zone.key}

    @router.get(
        "/kpis/stream",
        summary="The totals as server-sent events",
        response_class=StreamingResponse,
        responses=ANSWERS,
    )
    async def subscribe(
        who: Annotated[Principal, Depends(tickets.reader())],
        request: Request,
        last_event_id: Annotated[str | None, Header(max_length=100)] = None,
    ) -> StreamingResponse:
        """An event `totals` (the summary with `active_today`) at once and whenever it changes, at most one a second; a
        comment every 15 seconds. The stream ends when the service stops or the token expires: connect again. 429 if there
        are too many subscribers."""
        return EventStream(stream.limit, stream.subscribe(request.app.state.lifecycle.draining, who, last_event_id))

    @router.post(
        "/kpis/stream/tickets",
        status_code=201,
        summary="A ticket that opens the stream once, within a minute, for a browser",
        responses={429: ANSWERS[429]},
    )
    async def ticket(who: Reader) -> Ticket:
        return await tickets.issue(who)

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
        currency: Annotated[Annotated[str, CURRENCY] | None, Query()] = None,
        by: Literal["day"] = "day",
    ) -> dict[str, Any]:
        if (kpi := KPIS.get(name)) is None:
            raise NotFound(f"There is no key figure {name!r}. Choose one of {', '.join(KPIS)}.", known=list(KPIS))
        end = end or datetime.now(zone).date()
        start = start or end - timedelta(days=min(29, end.toordinal() - 1))
        if start > end:
            raise Invalid(f"from {start} is after to {end}: swap them.")
        if (end - start).days >= MAX_DAYS:
            raise Invalid(f"from {start} to {end} is more than {MAX_DAYS} days: ask for a shorter period.")
        query = KpiQuery(start, end, currency, settings.default_currency)
        async with part.read() as tx:
            series = await kpi.compute(tx, query)
        return {
            "name": name,
            "definition": kpi.definition,
            "timezone": zone.key,
            "currency": series.currency,
            "by": by,
            "from": start,
            "to": end,
            "total": series.total,
            "items": [{"day": day, "value": series.by_day.get(day, series.empty)} for day in query.days],
        }

    return router
