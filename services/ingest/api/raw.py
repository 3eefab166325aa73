"""Routes that FastAPI documents and does not otherwise touch: its way to a handler costs more than the handler."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send


class RawRoute(APIRoute):
    """Calls `endpoint(request)` and sends the Response that it returns; None when the caller has gone."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.methods and scope["method"] not in self.methods:
            await super().handle(scope, receive, send)
            return
        endpoint: Any = self.endpoint
        response = await endpoint(Request(scope, receive, send))
        if response is not None:
            await response(scope, receive, send)


class Direct:
    """The innermost middleware: finds a router's raw routes in a dict, where FastAPI would try all routes in turn, twice."""

    def __init__(self, app: ASGIApp, router: APIRouter) -> None:
        self.app = app
        self.routes = {
            (method, route.path): route
            for route in router.routes
            if isinstance(route, RawRoute)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        scope["route"] = route
        await route.handle(scope, receive, send)
