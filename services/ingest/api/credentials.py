"""Where SDKs put their write key, and what browsers ask before they send."""

import base64
import binascii
from collections.abc import Mapping

from libs.common.errors import Forbidden, Unauthenticated
from libs.common.http.cors import SHOWN
from services.ingest.domain import keys
from services.ingest.queries import Grant

HOW = "send it as the user of HTTP Basic (`-u <write key>:`), as `Authorization: Bearer`, or as `writeKey` in the body"

_SHOWN = ", ".join(SHOWN)


def from_header(authorization: bytes | None) -> str | None:
    """The key in an Authorization header: the user of Basic, or the token of Bearer."""
    scheme, _, value = (authorization or b"").partition(b" ")
    match scheme.lower():
        case b"basic":
            try:
                user = base64.b64decode(value.strip(), validate=True).partition(b":")[0]
            except binascii.Error:
                return None
        case b"bearer":
            user = value.strip()
        case _:
            return None
    return user.decode("latin-1") or None


def chosen(header: str | None, body: object) -> str:
    """The key to go by: the first that can be one, the header's before the body's (a proxy may have its own Basic user).

    Raises Unauthenticated when there is none at all.
    """
    sent = [key for key in (header, body) if isinstance(key, str) and key]
    if not sent:
        raise Unauthenticated(f"no write key: {HOW}")
    return next((key for key in sent if keys.is_well_formed(key)), sent[0])


def require_origin(grant: Grant, origin: bytes | None) -> None:
    """Raises Forbidden when the request comes from a browser's page that the source does not allow."""
    if origin is not None and grant.origins is not None and origin.decode("latin-1") not in grant.origins:
        raise Forbidden(
            f"pages of {origin.decode('latin-1')[:100]} may not send events as {grant.source}: add the origin to the"
            " source's allowed_origins"
        )


def cors(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """What lets a page read the answer: any page may, for a key is sent by its script and never by the browser itself."""
    origin = headers.get(b"origin")
    if origin is None:
        return {}
    return {
        "access-control-allow-origin": origin.decode("latin-1"),
        "access-control-expose-headers": _SHOWN,
        "vary": "origin",
    }


def preflight(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """The answer to a browser's question before it sends: yes, for a day; the key decides later."""
    wanted = headers.get(b"access-control-request-headers", b"authorization, content-type").decode("latin-1")
    return {
        **cors(headers),
        "access-control-allow-methods": "GET, POST, OPTIONS",
        "access-control-allow-headers": wanted,
        "access-control-max-age": "86400",
    }
