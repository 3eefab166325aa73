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
        endpoint = _endpoint(receiver, kind)
        add_raw(router, f"/{kind}", endpoint, SAYS[kind], documentation(EXAMPLES[kind]))
        add_raw(router, f"/{short}", endpoint)
    batch = _endpoint(receiver, None)
    add_raw(router, "/batch", batch, "Many events at once", documentation(BATCH))
    add_raw(router, "/b", batch)
    history = documentation(BATCH, OF_IMPORTS)
    add_raw(router, "/import", _endpoint(importer, None), "Many events of the past", history)
    add_raw(router, "/m", receiver.discard, "What browsers' SDKs measure of themselves: taken and forgotten", key=False)
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


def add_raw(
    router: APIRouter,
    path: str,
    endpoint: Endpoint,
    says: str | None = None,
    documented: dict[str, Any] | None = None,
    key: bool = True,
) -> None:
    """Add a route that takes a POST from any page, with and without a slash at the end, with a write key if `key` says so.
    Without `says` it is on no page of the API."""
    for each in (path, f"{path}/"):
        router.add_api_route(
            each,
            endpoint,
            methods=["POST"],
            name=path.rpartition("/")[2],
            summary=says,
            description=(documented or {}).get("description"),
            response_model=None,
            dependencies=[Depends(_KEY)] if key else [],
            include_in_schema=says is not None and each == path,
            openapi_extra=documented,
        )
        router.add_api_route(each, allow, methods=["OPTIONS"], response_model=None, include_in_schema=False)
