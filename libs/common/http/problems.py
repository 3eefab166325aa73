"""Every error as RFC 9457 `application/problem+json`, with a sentence that says what to do and the request's id."""

import http
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from libs.common import errors
from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import RapportError
from libs.common.http import paths, validation
from libs.common.observability.log_throttle import LogThrottle
from libs.common.observability.telemetry import current_request, log

MEDIA_TYPE = "application/problem+json"
logger = log("http")

#: Adds members to every problem a service answers with; is given what is there already.
AddMembers = Callable[[Mapping[str, Any]], Mapping[str, Any]]

#: SQLSTATE classes by which PostgreSQL says "not now" rather than "your program is wrong".
_AWAY = frozenset(["08", "25", "28", "3D", "40", "53", "54", "55", "57", "58"])


class Internal(RapportError):
    """An unexpected error; the caller reads only the request id."""


class Problems:
    """Turns exceptions into answers. `members` may add to each (ingest: success, code, message)."""

    def __init__(self, members: AddMembers | None = None) -> None:
        self.members = members
        self._throttle = LogThrottle()

    def answer(self, error: RapportError) -> Response:
        body = error.problem()
        if (request := current_request()) is not None:
            body["request_id"] = request.request_id
        if self.members is not None:
            body |= self.members(body)
        headers = dict(error.headers)
        if error.retry_after is not None:
            headers["retry-after"] = str(error.retry_after)
        return Response(msgspec.json.encode(body, enc_hook=str), body["status"], headers, MEDIA_TYPE)

    def answer_any(self, error: Exception, scope: Scope) -> Response:
        """The answer to any exception; unexpected ones are logged."""
        problem = translate(error, scope)
        if isinstance(problem, Internal):
            logger.error("a request failed unexpectedly", method=scope["method"], route=route_of(scope), exc_info=error)
        elif problem.status == 503 and not isinstance(error, RapportError):
            self._log_unavailable(error, scope)
        return self.answer(problem)

    def _log_unavailable(self, error: Exception, scope: Scope) -> None:
        """Once a minute: in an outage every request meets it."""
        if (times := self._throttle.due(type(error))) is not None:
            logger.warning(
                "a request met an unavailable part",
                method=scope["method"],
                route=route_of(scope),
                error=f"{type(error).__name__}: {error}",
                times=times,
                exc_info=error,
            )

    def install(self, app: FastAPI) -> None:
        """Make `app` answer its errors as problems. `requests.Requests` handles what escapes its handlers."""

        async def handle(request: Request, error: Exception) -> Response:
            return self.answer_any(error, request.scope)

        for kind in (RapportError, RequestValidationError, HTTPException, *UNAVAILABLE):
            app.add_exception_handler(kind, handle)


def route_of(scope: Scope) -> str:
    """The template of the route that took a request: for logs and metrics, since a path has customers' names and write
    keys in it, and there are as many as anybody thinks of."""
    return getattr(scope.get("route"), "path", "none")


def translate(error: Exception, scope: Scope) -> RapportError:
    """The problem that an exception means to a caller."""
    match error:
        case RapportError():
            return error
        case RequestValidationError():
            return validation.refusal(error)
        case HTTPException():
            return _http(error, scope)
        case asyncpg.PostgresError():
            return _postgres(error)
        case OSError() | TimeoutError() | asyncpg.InterfaceError() | asyncpg.InternalClientError():
            return errors.Unavailable("A dependency of this service does not answer: try again in a second.")
        case _:
            return Internal("Internal error. Give this request_id to your operator.")


def _http(error: HTTPException, scope: Scope) -> RapportError:
    match error.status_code:
        case 404 if error.detail == "Not Found":
            return errors.NotFound(paths.not_served(scope))
        case 404:
            problem: RapportError = errors.NotFound(str(error.detail))
        case 405:
            return not_allowed(scope, paths.methods(scope))
        case 400:
            problem = errors.Malformed(f"{error.detail}.")
        case status:
            problem = RapportError(str(error.detail))
            problem.status = status
            problem.title = http.HTTPStatus(status).phrase.capitalize()
    problem.headers = error.headers or {}
    return problem


def not_allowed(scope: Scope, methods: Sequence[str]) -> RapportError:
    """405: the path is served, with other `methods`."""
    error = errors.MethodNotAllowed(f"{paths.shown(scope)} takes {', '.join(methods)}, not {scope['method']}.")
    error.headers = {"Allow": ", ".join(methods)}
    return error


def not_served(scope: Scope) -> RapportError | None:
    """404 or 405 when no route will take the request; None when one will."""
    methods = paths.methods(scope)
    if not methods:
        return errors.NotFound(paths.not_served(scope))
    return None if scope["method"] in methods else not_allowed(scope, methods)


def _postgres(error: asyncpg.PostgresError) -> RapportError:
    state = error.sqlstate or ""
    if state in ("22021", "22P05"):
        return errors.Invalid("A text in the request contains a character that cannot be stored (NUL, or half a pair).")
    if str(error).startswith(
        "invalid input for query argument"
    ):  # asyncpg's own words, with what is not the caller's to see
        return errors.Invalid("A value in the request cannot be stored: a number out of range, or a broken character.")
    if state[:2] == "22" and "server expects" not in str(error):
        return errors.Invalid(f"A value in the request cannot be used: {error}.")
    if state == "23505":
        return errors.Conflict("Something with this name or id exists already.")
    if state in ("42P01", "3F000", "42703"):
        return errors.Unavailable("The database's schema is older than this service: run `rapport migrate`.", 10)
    if state[:2] in _AWAY:
        return errors.Unavailable("PostgreSQL cannot answer just now: try again in a second.")
    return Internal("Internal error. Give this request_id to your operator.")
