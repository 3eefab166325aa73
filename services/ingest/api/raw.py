"""A route that FastAPI documents and does not otherwise touch: its way to a handler costs more than the handler."""

from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send


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
