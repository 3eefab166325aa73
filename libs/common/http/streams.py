"""Server-sent events: a limited number of streams, opened with a token or a ticket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol

from fastapi import Query, Request, Security
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from libs.common.contracts.registry import OwnScope
from libs.common.contracts.registry import Scope as TokenScope
from libs.common.db.pool import Tx
from libs.common.errors import TooMany
from libs.common.http.auth import tickets, verifier
from libs.common.http.auth.tokens import Principal

RETRY = 2000
"""Milliseconds after which a browser connects again."""
HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that proxies and clients see that the stream lives."""
PATIENCE = 1.0
"""Seconds within which a silent stream notices that it should end."""
STILL_HERE = b": still here\n\n"
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The events, as they come.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
    429: {"description": "Too many streams are open: try again after `Retry-After` seconds."},
}


class Edge(Protocol):
    """Where transactions begin and end (`libs.common.fold.service.ConsumerService`)."""

    def tx(self) -> AbstractAsyncContextManager[Tx]: ...


class Ticket(BaseModel):
    """`ticket` opens the stream once, as `?ticket=…`, until `expires_at`."""

    ticket: str
    expires_at: datetime


class ConnectionLimit:
    """At most `most` streams at a time, in this process."""

    def __init__(self, most: int, instead: str) -> None:
        self._free = most
        self._instead = instead

    def enter(self) -> None:
        """Count a stream in; `leave` counts it out. Raises TooMany at the limit."""
        if self._free <= 0:
            raise TooMany(f"Too many streams are open: try again later, or use {self._instead}.", 10)
        self._free -= 1

    def leave(self) -> None:
        self._free += 1


class EventStream(StreamingResponse):
    """A stream of server-sent events. It counts towards `places` until it ends, however it ends."""

    def __init__(self, places: ConnectionLimit, events: AsyncIterator[bytes]) -> None:
        places.enter()
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._places.leave()


class Tickets:
    """The tickets of one stream of a service; they stand for tokens that hold `scope`, or `own` for a customer's."""

    def __init__(self, edge: Edge, schema: str, stream: str, scope: TokenScope, own: OwnScope | None = None) -> None:
        self._edge = edge
        self._schema = schema
        self._stream = stream
        self._scope = scope
        self._own = own

    async def issue(self, who: Principal, customer: str | None = None) -> Ticket:
        """A ticket that lets `who` in once, to what is `customer`'s (by id) if one is given. Raises TooMany."""
        async with self._edge.tx() as tx:
            issued = await tickets.issue(tx, self._schema, self._stream, who, customer)
        return Ticket(ticket=issued.ticket, expires_at=issued.expires_at)

    def reader(self) -> Callable[..., Awaitable[Principal]]:
        """A FastAPI dependency: the Principal of the ticket, or of the token in the header. A ticket is used up."""

        async def principal(
            request: Request,
            given: HTTPAuthorizationCredentials | None = Security(verifier.bearer),
            ticket: Annotated[str | None, Query(description="instead of a token; from POST …/tickets")] = None,
        ) -> Principal:
            if ticket is None:
                return await verifier.authorized(request, given, (self._scope,), self._own)
            async with self._edge.tx() as tx:
                return await tickets.redeem(tx, self._schema, self._stream, ticket)

        return principal


def over(who: Principal) -> bool:
    """Whether the time of the token has passed that opened a stream."""
    return who.expires is not None and datetime.now(UTC) >= who.expires


def event(id: str, name: str, data: bytes) -> bytes:
    """A server-sent event. A browser sends the last `id` back as `Last-Event-ID`."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (id.encode(), name.encode(), data)


async def whenever(
    woken: asyncio.Event, come: Callable[[], Iterable[bytes]], who: Principal, draining: asyncio.Event
) -> AsyncIterator[bytes]:
    """What has `come` each time that `woken` is set (taking it clears `woken`), and heartbeats in between; until the service
    drains or the token of `who` expires."""
    quiet = 0.0
    while not draining.is_set() and not over(who):
        try:
            async with asyncio.timeout(PATIENCE):
                await woken.wait()
        except TimeoutError:
            quiet += PATIENCE
            if quiet >= HEARTBEAT:
                yield STILL_HERE
                quiet = 0.0
            continue
        quiet = 0.0
        for each in come():
            yield each
