"""An inbox as a stream of server-sent events, and the tickets that let browsers in."""

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
    """Follow an inbox."""
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
            Query(alias="last_event_id", max_length=100, description="the same as the header, which no page can set"),
        ] = None,
    ) -> StreamingResponse:
        """`ready` at once; a `message` (as in the inbox) whenever one comes, in their order; `changed` when messages came
        before the place of the stream, as those of another customer do by a merge: read the inbox again. A comment every
        15 seconds. Each event has an id: given back as `Last-Event-ID`, the stream goes on behind it. Ends when the
        service stops, or the token does: connect again, with another ticket. 429 when too many follow."""
        async with part.read() as tx:
            await require_self(tx, handler.customers, who, ref)
            customer = (await queries.customer(tx, handler.customers, ref))[0]
            subscriber = await inboxes.begin(tx, customer, last_event_id or last)
        return EventStream(inboxes.places, inboxes.follow(subscriber, who, request.app.state.lifecycle.draining))

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
