"""Where SDKs post events: Segment's routes, long and short, with or without a slash at the end."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPBasic
from starlette.types import ASGIApp

from libs.common.contracts.events import Kind
from libs.common.http.fast.inline import Handlers
from services.ingest.api.credentials import preflight
from services.ingest.api.examples import BATCH, EXAMPLES, OF_IMPORTS, documentation
from services.ingest.api.raw import RawRoute
from services.ingest.receiver import Receiver

SHORT: dict[Kind, str] = {"track": "t", "identify": "i", "page": "p", "screen": "s", "group": "g", "alias": "a"}
SAYS: dict[Kind, str] = {
    "track": "A customer did something",
    "identify": "Who a customer is: their ids and traits",
    "page": "A page was viewed",
    "screen": "A screen of an app was viewed",
    "group": "A customer belongs to a group",
    "alias": "Two ids are the same customer",
}
_KEY = HTTPBasic(
    scheme_name="write key", description="The write key as the user, without a password.", auto_error=False
)  # for the OpenAPI page: the receiver reads the header itself
Endpoint = Callable[[Request], Awaitable[ASGIApp | None]]


async def allow(request: Request) -> Response:
    """A browser asks whether its page may send: it may, the write key decides."""
    return Response(status_code=204, headers=preflight(dict(request.scope["headers"])))


def routes(receiver: Receiver, importer: Receiver) -> APIRouter:
    """All routes that take events; `importer` takes those of imports."""
    router = APIRouter(prefix="/v1", tags=["events"], route_class=RawRoute)
    for kind, short in SHORT.items():
        _add(router, [kind, short], _endpoint(receiver, kind), SAYS[kind], documentation(EXAMPLES[kind]))
    _add(router, ["batch", "b"], _endpoint(receiver, None), "Many events at once", documentation(BATCH))
    _add(router, ["import"], _endpoint(importer, None), "Many events of the past", documentation(BATCH, OF_IMPORTS))
    _add(router, ["m"], receiver.discard, "What browsers' SDKs measure of themselves: taken and forgotten", {})
    return router


def inline(receiver: Receiver, importer: Receiver) -> Handlers:
    """Inline handlers of the same routes, except /v1/m."""
    taken: list[tuple[Receiver, Kind | None, str]] = [
        (receiver, None, "batch"),
        (receiver, None, "b"),
        (importer, None, "import"),
    ]
    for kind, short in SHORT.items():
        taken += [(receiver, kind, kind), (receiver, kind, short)]
    return {
        ("POST", f"/v1/{path}{slash}"): partial(by.inline, kind=kind) for by, kind, path in taken for slash in ("", "/")
    }


def _endpoint(receiver: Receiver, kind: Kind | None) -> Endpoint:
    async def post(request: Request) -> ASGIApp | None:
        return await receiver.receive(request, kind)

    return post


def _add(router: APIRouter, paths: list[str], endpoint: Endpoint, says: str, documented: dict[str, Any]) -> None:
    for path in paths:
        for slash in ("", "/"):
            router.add_api_route(
                f"/{path}{slash}",
                endpoint,
                methods=["POST"],
                name=paths[0],
                summary=says,
                description=documented.get("description"),
                response_model=None,
                dependencies=[Depends(_KEY)] if documented else [],
                include_in_schema=path == paths[0] and not slash,
                openapi_extra=documented,
            )
            router.add_api_route(
                f"/{path}{slash}", allow, methods=["OPTIONS"], response_model=None, include_in_schema=False
            )
