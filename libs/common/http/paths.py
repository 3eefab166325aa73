"""Paths: a slash inside a segment, what methods a path takes, and which path was meant by one that is not served."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from urllib.parse import unquote

from fastapi import FastAPI
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.routing import Match
from starlette.types import Scope

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
#: Stands for an encoded slash while a route is looked for. Decoded bytes never give half a pair of surrogates.
_SLASH = "\udc2f"
_ENCODED = re.compile("%2f", re.IGNORECASE)
_KEY = re.compile("rk_[0-9A-Za-z]+")  # a write key


class _Segment(StringConvertor):
    """A path parameter: one segment, in which the caller may have encoded slashes (`user:team%2F7`)."""

    def convert(self, value: str) -> str:
        return value.replace(_SLASH, "/")


register_url_convertor("str", _Segment())  # the type of every parameter that names none


def keep_encoded_slashes(scope: Scope) -> Scope:
    """The scope by which to look for a route: an encoded slash does not end a segment."""
    raw: bytes = scope.get("raw_path") or b""
    if b"%2F" not in raw and b"%2f" not in raw:
        return scope
    segments = _ENCODED.split(raw.decode("latin-1"))
    path = _SLASH.join(unquote(segment) for segment in segments)
    return {**scope, "path": path.rstrip("/") if len(path) > 1 else path}


def shown(scope: Scope) -> str:
    """The path for people, without write keys."""
    path: str = scope["path"]
    return _KEY.sub("rk_…", path.replace(_SLASH, "%2F"))


def methods(scope: Scope) -> list[str]:
    """What the path of a request takes; empty when the service does not serve it."""
    return _methods(scope, scope["path"])


def not_served(scope: Scope) -> str:
    """What to say of a path that the service does not serve: the one that was probably meant, or all."""
    path, where = scope["path"], f"There is no {scope['method']} {shown(scope)} here"
    single = re.sub("/{2,}", "/", path)
    if single.startswith("/v1/v1/") and _methods(scope, single[3:]):
        return f"{where}: leave /v1 off the host, the path is {_KEY.sub('rk_…', single[3:])}."
    for meant in (single, f"/v1{single}"):
        if meant != path and _methods(scope, meant):
            return f"{where}: did you mean {_KEY.sub('rk_…', meant.replace(_SLASH, '%2F'))}? /docs lists all paths."
    app: FastAPI = scope["app"]
    served = [each for each in app.openapi()["paths"] if each.startswith("/v1/")]
    if near := get_close_matches(path.removeprefix("/v1"), [each.removeprefix("/v1") for each in served], 1, 0.85):
        return f"{where}: did you mean /v1{near[0]}? /docs lists all paths."
    return f"{where}. This service serves {', '.join(_resources(served))}: /docs lists all paths."


def _methods(scope: Scope, path: str) -> list[str]:
    app: FastAPI = scope["app"]
    asked = {**scope, "path": path}
    if all(route.matches(dict(asked))[0] is Match.NONE for route in app.router.routes):
        return []
    return [
        method
        for method in METHODS
        if any(route.matches({**asked, "method": method})[0] is Match.FULL for route in app.router.routes)
    ]


def _resources(paths: Iterable[str]) -> list[str]:
    """The first segments of paths, `/v1/customers` for all below it."""
    found = dict.fromkeys("/".join(path.split("/")[:3]) for path in paths)
    return [resource for resource in found if "{" not in resource]
