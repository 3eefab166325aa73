"""Every error that leaves a service, as one tree.

    RapportError                  500
    ├── Invalid                   422  the request is understood but something in it is wrong; says where
    │   └── Malformed             400  it cannot even be parsed
    ├── Unauthenticated           401  no key or token, or one that is not known
    ├── Forbidden                 403  a known key or token without the right
    ├── NotFound                  404
    ├── MethodNotAllowed          405
    ├── TooSlow                   408  the body did not arrive in time
    ├── Conflict                  409  the state, or an idempotency key, says otherwise
    ├── PreconditionFailed        412  somebody has changed it since the state that `If-Match` names
    ├── TooLarge                  413
    ├── UnsupportedMediaType      415
    ├── TooMany                   429  come back after `retry_after` seconds
    ├── HeadersTooLarge           431
    └── Unavailable               503  a part that we need is away; come back after `retry_after` seconds

Each carries its HTTP status, a title for the kind, a sentence for a person (`detail`), and is answered as RFC 9457
problem+json.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class RapportError(Exception):
    """Base of all errors that are answered to a caller. `detail` is a sentence that says what to do."""

    status: int = 500
    title: str = "Internal error"
    retry_after: int | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members: Mapping[str, Any] = members

    @property
    def slug(self) -> str:
        """The kind of problem, stable for machines: `not-found`."""
        return self.title.lower().replace(" ", "-")

    def problem(self) -> dict[str, Any]:
        """The body of the answer (RFC 9457): type, title, status, detail and the members given."""
        return {
            "type": f"urn:rapport:problem:{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }


class Invalid(RapportError):
    status = 422
    title = "Invalid request"


class Malformed(Invalid):
    status = 400
    title = "Malformed request"


class Unauthenticated(RapportError):
    status = 401
    title = "Unauthenticated"
    headers = MappingProxyType({"www-authenticate": "Bearer"})


class Forbidden(RapportError):
    status = 403
    title = "Forbidden"


class NotFound(RapportError):
    status = 404
    title = "Not found"


class MethodNotAllowed(RapportError):
    status = 405
    title = "Method not allowed"


class TooSlow(RapportError):
    status = 408
    title = "Request timeout"


class Conflict(RapportError):
    status = 409
    title = "Conflict"


class PreconditionFailed(RapportError):
    status = 412
    title = "Precondition failed"


class TooLarge(RapportError):
    status = 413
    title = "Too large"


class UnsupportedMediaType(RapportError):
    status = 415
    title = "Unsupported media type"


class HeadersTooLarge(RapportError):
    status = 431
    title = "Headers too large"


class TooMany(RapportError):
    status = 429
    title = "Too many requests"

    def __init__(self, detail: str, retry_after: int, **members: Any) -> None:
        super().__init__(detail, **members)
        self.retry_after = retry_after


class Unavailable(RapportError):
    status = 503
    title = "Unavailable"

    def __init__(self, detail: str, retry_after: int = 1, **members: Any) -> None:
        super().__init__(detail, **members)
        self.retry_after = retry_after
