"""Where PostHog's clients post events, and what they ask about feature flags: there are none."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.types import ASGIApp

from services.ingest.api.events import add_raw
from services.ingest.api.examples import documented
from services.ingest.api.raw import RawRoute
from services.ingest.domain.protocols import posthog
from services.ingest.receiver import Receiver

#: What clients of all ages read of it: no flags, nothing recorded, nothing asked.
_NO_FLAGS: dict[str, Any] = {
    "flags": {},
    "featureFlags": {},
    "featureFlagPayloads": {},
    "errorsWhileComputingFlags": False,
    "hasFeatureFlags": False,
    "requestId": None,
    "config": {"enable_collect_everything": True},
    "supportedCompression": ["gzip", "gzip-js"],
    "sessionRecording": False,
    "autocaptureExceptions": False,
    "capturePerformance": False,
    "heatmaps": False,
    "surveys": False,
    "siteApps": [],
    "toolbarParams": {},
    "isAuthenticated": False,
}

_EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string"},
        "distinct_id": {"type": "string"},
        "properties": {"type": "object"},
        "timestamp": {"type": "string", "format": "date-time"},
        "uuid": {"type": "string", "description": "the same on each retry"},
        "api_key": {"type": "string", "description": "the write key; in a batch it stands beside the events"},
    },
}
_EXAMPLE = {
    "api_key": "rk_…",
    "event": "Order Completed",
    "distinct_id": "ann",
    "uuid": "0f1e2d3c-4b5a-4678-9abc-def012345678",
    "properties": {"order_id": "1001", "revenue": 29.33},
}
_BATCH = {
    "type": "object",
    "required": ["batch"],
    "properties": {
        "api_key": {"type": "string", "description": "the write key"},
        "batch": {"type": "array", "items": _EVENT},
        "sent_at": {"type": "string", "format": "date-time"},
    },
}
_BATCH_EXAMPLE = {"api_key": "rk_…", "batch": [{name: value for name, value in _EXAMPLE.items() if name != "api_key"}]}
_ANSWER = {"type": "object", "properties": {"flags": {"type": "object", "maxProperties": 0}}}
_FLAGS: dict[str, Any] = {
    "description": "For PostHog's clients. Whatever is asked, the answer is the same.",
    "requestBody": {"content": {"application/json": {"schema": {"type": "object"}, "example": {"distinct_id": "ann"}}}},
    "responses": {
        "200": {
            "description": "No flags.",
            "content": {"application/json": {"schema": _ANSWER, "example": _NO_FLAGS}},
        }
    },
}
NO_FLAGS = msgspec.json.encode(_NO_FLAGS)
_ANY = {"access-control-allow-origin": "*", "cache-control": "public, max-age=300", "x-content-type-options": "nosniff"}
_SAYS = (
    "For PostHog's clients. `$set`, `$identify`, `$create_alias`, `$groupidentify`, `$pageview` and `$screen` become what"
    " Segment calls identify, alias, group, page and screen; all else is a track. The API guide says who an event is about."
)


def routes(receiver: Receiver) -> APIRouter:
    """PostHog's routes, with and without a slash at the end."""
    router = APIRouter(tags=["events"], route_class=RawRoute)

    async def post(request: Request) -> ASGIApp | None:
        return await receiver.receive(request, None, posthog.read)

    async def flags(request: Request) -> ASGIApp | None:
        return await receiver.discard(request, NO_FLAGS)

    add_raw(router, "/capture", post, "An event, from PostHog's clients", documented(_SAYS, _EVENT, _EXAMPLE))
    add_raw(router, "/batch", post, "Many events, from PostHog's clients", documented(_SAYS, _BATCH, _BATCH_EXAMPLE))
    add_raw(router, "/flags", flags, "Feature flags, of which there are none", _FLAGS, key=False)
    for path in ("/e", "/i/v0/e", "/i/v0/ai/batch"):
        add_raw(router, path, post)
    add_raw(router, "/decide", flags, key=False)
    router.add_api_route("/array/{token}/config", config, response_model=None, include_in_schema=False)
    router.add_api_route("/array/{token}/config.js", script, response_model=None, include_in_schema=False)
    return router


async def config(request: Request) -> Response:
    """What PostHog's browser script asks before all else."""
    return Response(NO_FLAGS, media_type="application/json", headers=_ANY)


async def script(request: Request) -> Response:
    """The same as a script, which it tries first."""
    config = b'{"config":%b,"siteApps":[]}' % NO_FLAGS
    known = b"window._POSTHOG_REMOTE_CONFIG"
    token = msgspec.json.encode(request.path_params["token"])
    text = b"(%b=%b||{})[%b]=%b;" % (known, known, token, config)
    return Response(text, media_type="text/javascript", headers=_ANY)
