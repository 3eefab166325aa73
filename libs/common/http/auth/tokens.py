"""Tokens (JWT): what they say, whether that can be believed, and making them. Knows no HTTP and no settings."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from libs.common.contracts.registry import OWN_SCOPES, SCOPES
from libs.common.errors import Unauthenticated
from libs.common.http.auth.keyring import Keyring, kid_of

ISSUER = AUDIENCE = "rapport"
CUSTOMER_AUDIENCE = "rapport-customer"
LEEWAY = 30
"""Seconds that clocks may differ."""


@dataclass(frozen=True)
class Principal:
    """Who asks: the token's subject, the scopes it holds, and until when. `customer` is the `{ref}` of the one customer
    whose own things a customer's token opens; None for everybody else."""

    subject: str
    scopes: frozenset[str]
    customer: str | None = None
    expires: datetime | None = None


def principal(claims: Mapping[str, Any], scopes: object) -> Principal:
    return Principal(claims["sub"], frozenset(words(scopes) & set(SCOPES)), None, expiry(claims))


def words(claim: object) -> set[str]:
    """Scopes as a text with spaces, or as a list of texts, as identity providers write them."""
    words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else ()
    return {word for word in words if isinstance(word, str)}


def expiry(claims: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def claimed(token: str) -> Mapping[str, Any]:
    """What a token says of itself, not to be believed: it only chooses the keys to check it with."""
    try:
        claims: Mapping[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError):
        return {}
    return claims


def audiences(claims: Mapping[str, Any]) -> Iterable[object]:
    audience = claims.get("aud")
    return audience if isinstance(audience, list) else (audience,)


def checked(token: str, ring: Keyring, audience: str, how: str, issuer: str | None = None) -> Mapping[str, Any]:
    """The claims of a token that one of the ring's keys has signed. Raises Unauthenticated."""
    try:
        keys = ring.candidates(jwt.get_unverified_header(token).get("kid"))
    except (jwt.InvalidTokenError, ValueError) as error:
        raise invalid(error, how) from error
    for key in keys[:-1]:
        try:
            return decoded(token, key, "EdDSA", audience, issuer, how)
        except Unauthenticated as error:
            if not isinstance(error.__cause__, jwt.InvalidSignatureError):
                raise
    return decoded(token, keys[-1], "EdDSA", audience, issuer, how)


def decoded(token: str, key: Any, algorithm: str, audience: str, issuer: str | None, how: str) -> Mapping[str, Any]:
    required = ["exp", "aud", "sub"] + ["iss"] * (issuer is not None)
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY,
            options={"require": required},
        )
    except jwt.ExpiredSignatureError as error:
        raise Unauthenticated(f"The token has expired{_when(token)}: {how}.") from error
    except (jwt.InvalidTokenError, ValueError) as error:
        raise invalid(error, how) from error
    return claims


def invalid(error: Exception, how: str) -> Unauthenticated:
    refused = Unauthenticated(f"The token is not valid ({_reason(error)}): {how}.")
    refused.__cause__ = error
    return refused


def _when(token: str) -> str:
    # the signature has been verified when a token is found to be expired
    expiry = jwt.decode(token, options={"verify_signature": False})["exp"]
    return f" at {datetime.fromtimestamp(expiry, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _reason(error: Exception) -> str:
    match error:
        case jwt.InvalidSignatureError():
            return "it was signed with another key than those that are known here"
        case jwt.InvalidAlgorithmError():
            return "it is not signed with EdDSA"
        case jwt.InvalidAudienceError() | jwt.InvalidIssuerError():
            return "it was made for something else than Rapport"
        case jwt.MissingRequiredClaimError():
            return f"it lacks the claim {error.claim}"
        case jwt.ImmatureSignatureError():
            return "it is not valid yet"
        case _:
            return "it cannot be read"


def mint(private_pem: str, subject: str, scopes: Iterable[str], ttl: timedelta) -> str:
    """A token for `subject` that holds `scopes` for `ttl`. Raises ValueError on a scope that does not exist."""
    held = list(scopes)
    if unknown := [scope for scope in held if scope not in SCOPES]:
        raise ValueError(f"no such scope: {', '.join(unknown)}; the scopes are {', '.join(SCOPES)}")
    return _minted(private_pem, {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "scope": " ".join(held)}, ttl)


def mint_customer(private_pem: str, ref: str, scopes: Iterable[str] = OWN_SCOPES, *, ttl: timedelta) -> str:
    """A customer's token, as the business's backend makes it; `ref` is `user:ann`, `anon:a1` or the customer's id."""
    return _minted(private_pem, {"aud": CUSTOMER_AUDIENCE, "sub": ref, "scope": " ".join(scopes)}, ttl)


def _minted(private_pem: str, claims: Mapping[str, str], ttl: timedelta) -> str:
    now = int(time.time())
    times = {"iat": now, "exp": now + int(ttl.total_seconds())}
    return jwt.encode({**claims, **times}, private_pem, algorithm="EdDSA", headers={"kid": kid_of(private_pem)})
