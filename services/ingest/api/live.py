"""The live view of a source, and the tickets with which browsers open it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Security
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials

from libs.common.db.pool import Tx
from libs.common.http.auth import verifier
from libs.common.http.auth.tokens import Principal
from libs.common.http.streams import ANSWERS, EventStream, Ticket, Tickets
from libs.common.runtime.postgres import Postgres
from services.ingest import store
from services.ingest.api.sources import Reader
from services.ingest.live.stream import LiveStream

Number = Annotated[int | None, Query(ge=0, le=2**63 - 1, description="the same as the header, which a page cannot set")]
Last = Annotated[int | None, Header(ge=0, le=2**63 - 1)]


class _Edge:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    @asynccontextmanager
    async def tx(self) -> AsyncIterator[Tx]:
        async with self._postgres.database.transaction() as tx:
            yield tx


def routes(postgres: Postgres, stream: LiveStream) -> APIRouter:
    """Watch a source."""
    router = APIRouter(prefix="/v1/sources/{id}/live", tags=["sources"])
    edge = _Edge(postgres)

    def tickets(id: UUID) -> Tickets:
        return Tickets(edge, "ingest", f"live {id}", "sources:read")

    async def reader(
        id: UUID,
        request: Request,
        given: HTTPAuthorizationCredentials | None = Security(verifier.bearer),
        ticket: Annotated[str | None, Query(description="instead of a token; from POST …/tickets")] = None,
    ) -> Principal:
        return await tickets(id).reader()(request, given, ticket)

    @router.get("", summary="A source's events as they come", response_class=StreamingResponse, responses=ANSWERS)
    async def follow(
        id: UUID,
        who: Annotated[Principal, Depends(reader)],
        request: Request,
        last_event_id: Last = None,
        last: Annotated[Number, Query(alias="last_event_id")] = None,
    ) -> StreamingResponse:
        """Server-sent events: `ready`, then `accepted` (with the event as it was stored, and its warnings as `reason`) and
        `rejected` (with the reason and the body as it was sent) as they come to any process of ingest; `skipped` counts those
        that came too fast to be shown. A body over 4 KB is cut. A comment comes every 15 seconds. The events of the last five
        minutes are there for who continues with `Last-Event-ID`. 429: too many streams are open."""
        async with postgres.database.connection() as connection:
            await store.require_source(connection, id)
        number = await stream.begin(id, last if last_event_id is None else last_event_id)
        return EventStream(stream.limit, stream.follow(id, number, who, request.app.state.lifecycle.draining))

    @router.post(
        "/tickets",
        status_code=201,
        summary="A ticket for a browser, which opens this source's live view once, within a minute",
        responses={429: ANSWERS[429]},
    )
    async def ticket(id: UUID, who: Reader) -> Ticket:
        async with postgres.database.connection() as connection:
            await store.require_source(connection, id)
        return await tickets(id).issue(who)

    return router
