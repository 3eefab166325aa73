"""What the OpenAPI page says of the event routes, which read their bodies themselves."""

from typing import Any

from libs.common.contracts.events import Kind
from services.ingest.domain.limits import BODY, EVENT, EVENTS, MESSAGE_ID

_COMMON: dict[str, Any] = {
    "messageId": "0f1e2d3c-order-1001",
    "userId": "ann",
    "anonymousId": "a1",
    "timestamp": "2026-01-31T12:00:00.000Z",
}
EXAMPLES: dict[Kind, dict[str, Any]] = {
    "track": {
        **_COMMON,
        "event": "Order Completed",
        "properties": {"order_id": "1001", "revenue": 29.33, "currency": "USD"},
    },
    "identify": {**_COMMON, "traits": {"firstName": "Ann", "email": "ann@example.com"}},
    "page": {**_COMMON, "name": "Home", "properties": {"url": "https://shop.example/"}},
    "screen": {**_COMMON, "name": "Home"},
    "group": {**_COMMON, "groupId": "acme", "traits": {"name": "Acme"}},
    "alias": {"messageId": "0f1e2d3c-alias", "previousId": "a1", "userId": "ann"},
}
BATCH: dict[str, Any] = {
    "sentAt": "2026-01-31T12:00:01.000Z",
    "batch": [{"type": kind, **EXAMPLES[kind]} for kind in ("identify", "track")],
}

_IDS = {"oneOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]}
_TIME = {"type": "string", "format": "date-time"}
_EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "type": {"enum": list(EXAMPLES), "description": "in a batch; elsewhere the path says it"},
        "messageId": {"type": "string", "maxLength": MESSAGE_ID, "description": "the same on each retry"},
        "userId": _IDS,
        "anonymousId": _IDS,
        "groupId": _IDS,
        "previousId": _IDS,
        "event": {"type": "string", "description": "the name of a track"},
        "name": {"type": "string"},
        "category": {"type": "string"},
        "properties": {"type": "object"},
        "traits": {"type": "object"},
        "context": {"type": "object"},
        "timestamp": _TIME,
        "originalTimestamp": _TIME,
        "sentAt": _TIME,
        "writeKey": {"type": "string", "description": "where it is not sent as the user of HTTP Basic"},
    },
}
_BATCH: dict[str, Any] = {
    "type": "object",
    "required": ["batch"],
    "properties": {
        "batch": {"type": "array", "maxItems": EVENTS, "items": _EVENT},
        "sentAt": _TIME,
        "context": {"type": "object", "description": "merged into each event's own"},
        "writeKey": {"type": "string"},
    },
}
_RESULT = {
    "type": "object",
    "properties": {
        "status": {"enum": ["ok", "warning", "rejected"]},
        "messageId": {"type": ["string", "null"]},
        "reason": {"type": "string"},
    },
}
_OK = {
    "description": "Every event that is not `rejected` is stored. `results` has one entry an event, in their order.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"success": {"const": True}, "results": {"type": "array", "items": _RESULT}},
            },
            "example": {"success": True, "results": [{"status": "ok", "messageId": "0f1e2d3c-order-1001"}]},
        }
    },
}
DESCRIPTION = (
    f"At most {BODY:,} bytes a body (gzip, deflate and zstd are taken), {EVENT:,} an event, {EVENTS:,} events a batch. The Content-Type is"
    " ignored. A bad event is rejected alone, with its reason, and listed under `/v1/rejected`. 401: the write key is not"
    " known. 403: pages of this origin may not send. 429 (over a limit of the write key) and 503: not stored, send it again"
    " after `Retry-After` seconds."
)


OF_IMPORTS = (
    "The same as `/v1/batch`, for history: each event keeps its own `timestamp`, counts where it belongs in time, and sends"
    " no message, nor does anything that follows from it. "
)


def documentation(example: dict[str, Any], first: str = "") -> dict[str, Any]:
    """OpenAPI's members for one of Segment's routes that takes such a body; `first` comes before what is said of all."""
    return documented(first + DESCRIPTION, _BATCH if "batch" in example else _EVENT, example)


def documented(description: str, schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI's members for a route that takes events in such a form."""
    return {
        "description": description,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}},
        "responses": {"200": _OK, "429": {}},
    }
