"""What SDKs ask before they send: Segment's settings of a write key."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from libs.common.errors import NotFound, RapportError, Unauthenticated
from services.ingest.api.credentials import cors
from services.ingest.api.events import allow
from services.ingest.write_keys import WriteKeys

_PATH = "/v1/projects/{write_key}/settings"


def routes(keys: WriteKeys, public_url: str) -> APIRouter:
    """The settings route, for browsers too. `public_url` is empty where the request's own address is right."""
    router = APIRouter(tags=["events"])

    @router.get(f"{_PATH}/", include_in_schema=False)
    @router.get(_PATH, summary="What an SDK asks before it sends")
    async def settings(write_key: str, request: Request) -> Response:
        """Where to send, and that every event is wanted. 404 when the key is not known."""
        allowed = cors(dict(request.scope["headers"]))
        try:
            await keys.grant(write_key)
        except Unauthenticated as error:
            missing = NotFound(error.detail)
            missing.headers = allowed
            raise missing from None
        except RapportError as error:
            error.headers = allowed
            raise
        return JSONResponse(_settings(write_key, public_url or str(request.base_url)), headers=allowed)

    router.add_api_route(_PATH, allow, methods=["OPTIONS"], response_model=None, include_in_schema=False)
    return router


def _settings(write_key: str, address: str) -> dict[str, object]:
    protocol, _, host = address.rstrip("/").partition("://")
    destination = {
        "apiKey": write_key,
        "apiHost": f"{host}/v1",
        "protocol": protocol,
        "unbundledIntegrations": [],
        "addBundledMetadata": False,
        "versionSettings": {"version": "4.4.7", "componentTypes": ["browser"]},
    }
    return {
        "integrations": {"Segment.io": destination},
        "plan": {name: {"__default": {"enabled": True, "integrations": {}}} for name in ("track", "identify", "group")},
        "edgeFunction": {},
        "analyticsNextEnabled": True,
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
    }
