"""The signed tokens of double opt-in: whoever holds one confirms one consent of one customer, until it expires."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self
from uuid import UUID

import jwt

from libs.common.errors import Conflict, NotFound

AUDIENCE = "rapport-consent"
_ALGORITHM = "HS256"


class Confirmation(NamedTuple):
    """What a token confirms: the request made at `requested` (microseconds) for a purpose and channel (`key`)."""

    customer: UUID
    key: str
    requested: int
    text_version: str | None


class Confirmations:
    """Makes and reads tokens. The first secret signs; all of them are accepted, so that secrets can be changed."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = tuple(secrets)

    @classmethod
    def of(cls, secrets: str) -> Self:
        """From the setting: one or more secrets with spaces or new lines between them."""
        return cls(secrets.split())

    def require(self) -> None:
        """Raises Conflict without a secret."""
        if not self._secrets:
            raise Conflict("Double opt-in is not set up here: your operator sets RAPPORT_PROFILE_CONSENT_SECRET.")

    def token(self, confirmation: Confirmation, expires: datetime) -> str:
        """The same confirmation gives the same token. Raises Conflict without a secret."""
        self.require()
        claims = {
            "aud": AUDIENCE,
            "sub": str(confirmation.customer),
            "key": confirmation.key,
            "requested": confirmation.requested,
            "text_version": confirmation.text_version,
            "exp": int(expires.timestamp()),
        }
        return jwt.encode(claims, self._secrets[0], algorithm=_ALGORITHM)

    def read(self, token: str) -> Confirmation:
        """What a token confirms. Raises NotFound for one that was not made here, or has expired."""
        for secret in self._secrets:
            try:
                claims = jwt.decode(token, secret, [_ALGORITHM], audience=AUDIENCE, options={"require": ["exp", "sub"]})
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError as error:
                raise NotFound("This link has expired: ask for a new one.") from error
            except (jwt.InvalidTokenError, ValueError) as error:
                raise NotFound("This link is not complete or was not made here: ask for a new one.") from error
            return Confirmation(UUID(claims["sub"]), claims["key"], claims["requested"], claims["text_version"])
        raise NotFound("This link is not complete or was not made here: ask for a new one.")


def expiry(requested: int, seconds: int) -> datetime:
    """When the token of a request expires."""
    return datetime.fromtimestamp(requested // 1_000_000, UTC) + timedelta(seconds=seconds)
