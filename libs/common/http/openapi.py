"""The OpenAPI page: the errors of all routes, described once."""

from typing import Any

from fastapi import FastAPI

from libs.common import errors
from libs.common.errors import NotFound, RapportError
from libs.common.http.problems import MEDIA_TYPE, AddMembers

_PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "RFC 9457. `detail` is a sentence that says what to do; `request_id` is in the logs too.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:rapport:problem:not-found"]},
        "title": {"type": "string", "examples": ["Not found"]},
        "status": {"type": "integer", "examples": [404]},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "description": "What is wrong, place by place (422).",
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "at": {"type": "string", "examples": ["body.points"]},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
_TYPES = {bool: "boolean", str: "string", int: "integer"}
_MEANINGS = {
    "400": "The body cannot be read: it is not JSON, is nested too deeply, or contains a NUL.",
    "401": "No token, or one that is not valid.",
    "403": "The token lacks a scope that this needs.",
    "404": "Not found.",
    "408": "The body did not arrive in time: send it again.",
    "409": "Conflict with the current state: a name is taken, a key was used for another body, or the balance is too small.",
    "412": "It has changed since the state that `If-Match` names: read it again.",
    "413": "The body is too large.",
    "415": "The body is not sent as JSON, or is compressed.",
    "422": "Something in the request is wrong: `errors` says where.",
    "429": "Too many requests: try again after `Retry-After` seconds.",
    "503": "A dependency is unavailable: try again after `Retry-After` seconds.",
}
#: The member of a route's `openapi_extra` that says what a status means there, where that differs.
OWN_MEANINGS = "x-meanings"
#: Of routes that take a write key.
_OF_EVENTS = {
    "401": "No write key, or an unknown one.",
    "403": "Pages of this origin may not send with this write key.",
    "429": "The write key has had its events: nothing is stored, send it again after `Retry-After` seconds.",
    "503": "Nothing is stored: send it again after `Retry-After` seconds.",
}
_ERRORS: dict[str, type[RapportError]] = {
    str(kind.status): kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, RapportError)
}


def document(app: FastAPI, members: AddMembers | None = None) -> None:
    """Give `app`'s OpenAPI page the problems that its routes answer with; `members` adds to each (`Problems`)."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = made()
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = _problem(members)
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            for path, operations in schema["paths"].items():
                for method, operation in operations.items():
                    _describe(path, method, operation, members)
        assert app.openapi_schema is not None  # noqa: S101 - made() has set it
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _problem(members: AddMembers | None) -> dict[str, Any]:
    """The schema, with a service's own members as they are in an example."""
    if members is None:
        return _PROBLEM
    own = members(NotFound("There is nothing here.").problem())
    described = {name: {"type": _TYPES[type(value)], "examples": [value]} for name, value in own.items()}
    return {
        **_PROBLEM,
        "required": [*_PROBLEM["required"], *own],
        "properties": {**_PROBLEM["properties"], **described},
    }


def _describe(path: str, method: str, operation: dict[str, Any], members: AddMembers | None) -> None:
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)
    of_events = "events" in operation.get("tags", ())
    if not path.startswith("/v1") and not of_events:
        responses["503"] = {"description": "Not ready: the body says what is missing."}
        return
    wanted = ["503", *(status for status in responses if status in _MEANINGS)]
    if not of_events:
        wanted.append("422")
    if "security" in operation:
        wanted += ["401", "403"]
    if "{" in path:
        wanted.append("404")
    if "requestBody" in operation:
        wanted += ["400", "408", "413", "415"] if "422" in wanted else ["400", "408"]
    if method != "get" and "422" in wanted and "security" in operation:
        wanted.append("409")
    meanings = (_MEANINGS | _OF_EVENTS if of_events else _MEANINGS) | operation.pop(OWN_MEANINGS, {})
    for status in sorted(set(wanted)):
        said, problem = meanings[status], {"$ref": "#/components/schemas/Problem"}
        content = {MEDIA_TYPE: {"schema": problem, "example": _example(status, said, members)}}
        responses[status] = {"description": said, "content": content}


def _example(status: str, said: str, members: AddMembers | None) -> dict[str, Any]:
    """A problem of this status, as it is answered."""
    kind = _ERRORS[status]
    error = kind(said, 5) if issubclass(kind, errors.TooMany) else kind(said)
    body = {**error.problem(), "request_id": "7c0f6b1de2a94f5d8c3e5a7b9d1f2e34"}
    if status == "422":
        body["errors"] = [{"at": "body.points", "message": "this is missing"}]
    return body | dict(members(body)) if members else body
