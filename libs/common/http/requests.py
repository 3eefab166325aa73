"""The outermost layer of every service, plain ASGI for speed: request ids, trace context, metrics, the last resort."""

import logging
import re
import time
from random import getrandbits  # ids are no secrets, and asking the kernel for each costs more than all else here
from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common.http.health import PATHS
from libs.common.http.paths import METHODS
from libs.common.http.problems import Problems, route_of
from libs.common.observability import tracing
from libs.common.observability.log_throttle import LogThrottle
from libs.common.observability.telemetry import Meter, RequestContext, enter_request, log

if TYPE_CHECKING:
    from libs.common.observability.spans import RequestSpan

logger = log("http")
_level = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Requests:
    """Gives each request an id (or keeps a sane `x-request-id`) and a `traceparent`, measures it, and answers whatever
    nobody else caught with a 500 that tells the caller nothing but the id."""

    def __init__(self, app: ASGIApp, meter: Meter, problems: Problems) -> None:
        self.app = app
        self.problems = problems
        self.meter = meter
        # labelled children, looked up once each: labels() takes a lock and builds a key
        self.seconds: dict[tuple[str, str], Histogram] = {}
        self.count: dict[tuple[str, str, int], Counter] = {}
        self.throttle = LogThrottle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        context, traced = context_of(scope)
        enter_request(context)
        request_id = context.request_id.encode()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception as error:
            response = self.problems.answer_any(error, scope)
            if status:  # the answer has begun: it can only be cut off
                raise
            await response(scope, receive, answer)
        finally:
            self.measure(scope, status, time.perf_counter() - started)
            if traced is not None:
                traced.end(route_of(scope), status, context.request_id)

    def measure(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request that was answered with `status` (0: with nothing)."""
        route = route_of(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        timer = self.seconds.get((route, method))
        if timer is None:
            timer = self.seconds[route, method] = self.meter.http_seconds.labels(route, method)
        timer.observe(seconds)
        counter = self.count.get((route, method, status // 100))
        if counter is None:
            counter = self.meter.http_requests.labels(route, method, f"{status // 100}xx" if status else "gone")
            self.count[route, method, status // 100] = counter
        counter.inc()
        # the answers to those who watch are no news: /readyz says 503 as long as it takes
        if status >= 500 and scope["path"] not in PATHS:
            if (times := self.throttle.due((route, method, status))) is not None:
                logger.warning("answered", **_said(scope, status, seconds), times=times)
        elif _level.isEnabledFor(logging.DEBUG):
            logger.debug("answered", **_said(scope, status, seconds))


def _said(scope: Scope, status: int, seconds: float) -> dict[str, object]:
    return {"method": scope["method"], "route": route_of(scope), "status": status, "seconds": round(seconds, 4)}


_METHODS = frozenset(METHODS)


def context_of(scope: Scope) -> tuple[RequestContext, "RequestSpan | None"]:
    """The request's id and trace context, and its span while tracing is on (then the context is the span's)."""
    request_id = traceparent = ""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value.decode()
        elif name == b"traceparent" and _TRACEPARENT.fullmatch(value):
            traceparent = value.decode()
    traced = None
    if tracing.active() and scope["path"] not in PATHS:
        traced = tracing.request(traceparent or None, scope["method"] if scope["method"] in _METHODS else "other")
    if traced is not None:
        return RequestContext(request_id or f"{getrandbits(128):032x}", traced.traceparent), traced
    made = f"{getrandbits(192):048x}"
    # made up, and recorded nowhere: not sampled
    return RequestContext(request_id or made[:32], traceparent or f"00-{made[:32]}-{made[32:]}-00"), None
