"""Routes of an inbox as server-sent events, and of the tickets with which browsers open it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse

from libs.common.fold.service import ConsumerService
from libs.common.http.auth.require_self import require_self
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.http.streams import ANSWERS, EventStream, Ticket, Tickets
from services.triggers import queries
from services.triggers.decider import TriggersHandler
from services.triggers.inbox import Inboxes

Reader = Annotated[Principal, Depends(require("customers:read", own="own:inbox"))]


def routes(part: ConsumerService, handler: TriggersHandler, inboxes: Inboxes) -> APIRouter:
    """Routes to follow an inbox."""
    router = APIRouter(prefix="/v1/customers/{ref}/inbox/stream", tags=["customers"])
    tickets = Tickets(part, "triggers", "inbox", "customers:read", "own:inbox")

    @router.get("", summary="The inbox as server-sent events", response_class=StreamingResponse, responses=ANSWERS)
    async def follow(
        ref: str,
        who: Annotated[Principal, Depends(tickets.reader())],
        request: Request,
        last_event_id: Annotated[str | None, Header(max_length=100)] = None,
        last: Annotated[
            str | None,
            Query(alias="last_event_id", max_length=100, description="the same as the header, which a page cannot set"),
        ] = None,
    ) -> StreamingResponse:
        """`ready` comes first, then a `message` (as in the inbox) for each new message, in order. `changed` means that messages
        were inserted before the stream's cursor, for example by a merge: read the inbox again. A comment comes every 15
        seconds. Each event has an id. Send it as `Last-Event-ID` to continue after it. The stream ends when the service stops
        or the token expires: connect again, with another ticket. 429: too many streams are open."""
        async with part.read() as tx:
            await require_self(tx, handler.customers, who, ref)
            customer = (await queries.customer(tx, handler.customers, ref))[0]
            subscriber = await inboxes.begin(tx, customer, last_event_id or last)
        return EventStream(inboxes.connections, inboxes.follow(subscriber, who, request.app.state.lifecycle.draining))

    @router.post(
        "/tickets",
        status_code=201,
        summary="A ticket for a browser, which opens this customer's stream once, within a minute",
        responses={429: ANSWERS[429]},
    )
    async def ticket(ref: str, who: Reader) -> Ticket:
        async with part.read() as tx:
            await require_self(tx, handler.customers, who, ref)
            customer = (await queries.customer(tx, handler.customers, ref))[0]
        return await tickets.issue(who, str(customer))

    return router
