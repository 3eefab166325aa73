"""`/rapport.js`: the script that a web page includes in one line."""

import gzip
import hashlib
from importlib.resources import files

from fastapi import APIRouter, Request, Response

_HEADERS = {
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
    "cache-control": "public, max-age=3600",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
}


def routes() -> APIRouter:
    """The script, compressed once for all."""
    router = APIRouter(tags=["events"])
    script = (files("services.ingest.api") / "rapport.js").read_bytes()
    packed = gzip.compress(script, 9, mtime=0)
    tag = f'"{hashlib.sha256(script).hexdigest()[:16]}"'

    @router.get(
        "/rapport.js",
        summary="The script for web pages",
        response_class=Response,
        responses={200: {"content": {"text/javascript": {"schema": {"type": "string"}}}}},
    )
    async def read(request: Request) -> Response:
        """`<script async src="…/rapport.js" data-key="rk_…"></script>` sends page views, sessions and campaigns; the page
        itself calls `rapport.track(…)` and `rapport.identify(…)`. Nothing is stored in the browser without consent."""
        headers = {**_HEADERS, "etag": tag}
        asked = request.headers.get("if-none-match", "")
        if tag in asked:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(packed, headers={**headers, "content-encoding": "gzip"}, media_type="text/javascript")
        return Response(script, headers=headers, media_type="text/javascript")

    return router
