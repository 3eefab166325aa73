"""Timelines over REST and as server-sent events."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse

from libs.common.fold.customers import Customers
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.require_self import require_self
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.http.streams import ANSWERS, EventStream, Ticket, Tickets
from services.profile import timeline
from services.profile.api import answers
from services.profile.domain.state import Customer
from services.profile.timeline import Filter
from services.profile.timeline_stream import TimelineStreams

Reader = Annotated[Principal, Depends(require("customers:read"))]
Kind = Annotated[
    Literal["event", "fact"] | None, Query(description="`event`: what apps sent; `fact`: what services decided")
]
Names = Annotated[
    list[str],
    Query(max_length=20, description="entries of these names", examples=[["Order Completed", "Badge Earned"]]),
]


def timeline_routes(part: ConsumerService, streams: TimelineStreams) -> APIRouter:
    """The routes need the scope `customers:read`, or for the stream a ticket."""
    router = APIRouter(prefix="/v1/customers/{ref}/timeline", tags=["customers"])
    customers = Customers("profile", Customer)
    tickets = Tickets(part, "profile", "timeline", "customers:read")

    @router.get("", summary="What a customer did and what followed, newest first", response_model=answers.Timeline)
    async def page(
        ref: str,
        who: Reader,
        kind: Kind = None,
        name: Names = [],  # noqa: B006 - FastAPI copies it
        limit: Annotated[int, Query(ge=1, le=200, description="at most so many items")] = 50,
        cursor: Annotated[str | None, Query(max_length=1000)] = None,
    ) -> dict[str, Any]:
        """With a filter, a request looks at about 1,000 entries: the page may then be short or empty. Go on with `next` until
        it is null."""
        async with part.read() as tx:
            customer = await customers.resolve(tx, ref)
            return await timeline.page(tx, customer, limit, cursor, Filter(kind, frozenset(name)))

    @router.get(
        "/stream",
        summary="New entries of a timeline as server-sent events",
        response_class=StreamingResponse,
        responses=ANSWERS,
    )
    async def follow(
        ref: str,
        who: Annotated[Principal, Depends(tickets.reader())],
        request: Request,
        kind: Kind = None,
        name: Names = [],  # noqa: B006 - FastAPI copies it
        last_event_id: Annotated[str | None, Header(max_length=200)] = None,
        last: Annotated[
            str | None,
            Query(alias="last_event_id", max_length=200, description="the same as the header, which a page cannot set"),
        ] = None,
    ) -> StreamingResponse:
        """`ready` comes first, then an `entry` (as in the timeline) for each new record, in the order in which they were
        journalled. `changed`: the customer was merged into another, whose entries follow; read the timeline again. A comment
        comes every 15 seconds. Send an event's id as `Last-Event-ID` to continue after it. The stream ends when the service
        stops or the token expires: connect again, with another ticket. 429: too many streams are open."""
        async with part.read() as tx:
            await require_self(tx, customers, who, ref)
            customer = await customers.resolve(tx, ref)
            subscriber = await streams.begin(tx, customer, last_event_id or last, Filter(kind, frozenset(name)))
        return EventStream(streams.connections, streams.follow(subscriber, who, request.app.state.lifecycle.draining))

    @router.post(
        "/stream/tickets",
        status_code=201,
        summary="A ticket for a browser, which opens this customer's stream once, within a minute",
        responses={429: ANSWERS[429]},
    )
    async def ticket(ref: str, who: Reader) -> Ticket:
        async with part.read() as tx:
            customer = await customers.resolve(tx, ref)
        return await tickets.issue(who, str(customer))

    return router
