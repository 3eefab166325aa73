"""Where CloudEvents are posted, in any content mode."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.types import ASGIApp

from services.ingest.api.events import add_raw
from services.ingest.api.examples import documented
from services.ingest.api.raw import RawRoute
from services.ingest.domain.protocols import cloudevents
from services.ingest.receiver import Receiver

_EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "description": "with `source`, the messageId: the same on each retry"},
        "source": {"type": "string", "format": "uri-reference"},
        "type": {"type": "string", "description": "the event's name"},
        "subject": {"type": "string", "description": "the customer: a userId, `user:…` or `anon:…`"},
        "anonymousid": {"type": "string", "description": "an extension: the device, where both are known"},
        "time": {"type": "string", "format": "date-time"},
        "data": {"description": "the properties"},
        "data_base64": {"type": "string"},
    },
}
_EXAMPLE = {
    "specversion": "1.0",
    "id": "order-1001",
    "source": "/shop/orders",
    "type": "Order Completed",
    "subject": "user:ann",
    "time": "2026-01-31T12:00:00Z",
    "data": {"order_id": "1001", "revenue": 29.33, "currency": "USD"},
}
_SAYS = (
    "A CloudEvent 1.0 in structured mode (as here), an array of them (batched mode), or one in binary mode: attributes in"
    " `ce-` headers, `data` as the body. The write key comes as HTTP Basic or Bearer. Each event is a track; extensions go"
    " into `context.cloudevent`."
)


def routes(receiver: Receiver) -> APIRouter:
    """The route of CloudEvents."""
    router = APIRouter(tags=["events"], route_class=RawRoute)

    async def post(request: Request) -> ASGIApp | None:
        return await receiver.receive(request, None, cloudevents.read)

    add_raw(router, "/v1/events", post, "CloudEvents", documented(_SAYS, _EVENT, _EXAMPLE))
    return router
