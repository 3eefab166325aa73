"""Handlers that run inline in the connection's callback. A task and the layers around it cost as much as storing an event.

An inline handler answers from a callback, or declines; then the request takes its usual route.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import cast

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from libs.common.http.fast.routes import FastRoutes
from libs.common.http.lifecycle import Lifecycle
from libs.common.http.problems import Problems
from libs.common.http.requests import Requests, context_of
from libs.common.observability import tracing
from libs.common.observability.telemetry import Meter

_FAILURE = "rapport.failure"

#: Takes a request that has arrived as a whole. False declines it: the route of the same path handles it instead.
Handler = Callable[["Exchange"], bool]

#: (method, path) → handler; each is a fast route too.
Handlers = Mapping[tuple[str, str], Handler]


class InlineHandlers:
    """The inline handlers of one service."""

    def __init__(
        self, handlers: Handlers, routes: FastRoutes, lifecycle: Lifecycle, meter: Meter, problems: Problems
    ) -> None:
        self._handlers = handlers
        self._routes = routes
        self._lifecycle = lifecycle
        self.requests = Requests(_fail, meter, problems)

    def handler(self, scope: Scope) -> Handler | None:
        """The handler of a request. None until the service has started, and while requests are traced."""
        at = scope["method"], scope["path"]
        handler = self._handlers.get(at)
        if handler is None or not self._lifecycle.ready or tracing.active():
            return None
        scope["route"] = self._routes[at]
        return handler


class Exchange:
    """A request that has arrived as a whole, and its answer: either `answer` or `fail` is to be called, once."""

    def __init__(
        self,
        cycle: RequestResponseCycle,
        requests: Requests,
        start: Callable[[RequestResponseCycle, Requests], None],
    ) -> None:
        self._cycle = cycle
        self._scope = cast(Scope, cycle.scope)
        self._requests = requests
        self._start = start
        self._begun = time.perf_counter()
        self.headers: dict[bytes, bytes] = dict(self._scope["headers"])
        self.body = bytes(cycle.body)
        self.context, _ = context_of(self._scope)

    def answer(self, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """200, in one piece. `headers` say how long the body is."""
        cycle = self._cycle
        if not cycle.disconnected:
            lines = [b"HTTP/1.1 200 OK\r\n"]
            lines += [b"%b: %b\r\n" % header for header in (*cycle.default_headers, *headers)]
            lines.append(b"x-request-id: %b\r\n" % self.context.request_id.encode())
            lines.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
            lines.append(body)
            cycle.transport.write(b"".join(lines))
            cycle.response_started = cycle.response_complete = True
            if not cycle.keep_alive:
                cycle.transport.close()
            cycle.on_response()
        cycle.on_response = (
            _nothing  # as uvicorn does: it leads back to the connection, and all would stay till a collection
        )
        self._requests.measure(self._scope, 200, time.perf_counter() - self._begun)

    def fail(self, error: Exception) -> None:
        """The answer to `error`, made like any other."""
        self._scope[_FAILURE] = error
        self._start(self._cycle, self._requests)


def _nothing() -> None:
    pass


async def _fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise scope.pop(_FAILURE)  # which holds this frame: it must not lead back to it
