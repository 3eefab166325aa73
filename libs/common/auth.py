"""Who may do what over REST: bearer tokens (JWT) with scopes. Services hold public keys only.

Three kinds, told apart by what they say of themselves, and each checked with its own keys alone:

- this installation's (`iss` and `aud` are "rapport"; `rapport token` makes them), for people and programs;
- a customer's (`aud` is "rapport-customer"), which the business's backend signs for the customer who is logged in there:
  it opens their own points and inbox, nobody else's, and nothing more;
- an identity provider's (`iss` is the one that the settings name), checked with the keys that it publishes.
"""

import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import jwt
from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from libs.common.errors import Forbidden, Unauthenticated
from libs.common.jwks import ALGORITHMS, KeySet
from libs.common.keyring import Keyring, generate_keys, kid_of
from libs.common.settings import Settings

__all__ = ["OWN_SCOPES", "SCOPES", "Principal", "Verifier", "generate_keys", "mint", "mint_customer", "require"]

ISSUER = AUDIENCE = "rapport"
CUSTOMER_AUDIENCE = "rapport-customer"
LONGEST_CUSTOMER = timedelta(days=1)
"""A customer's token lies in a browser and cannot be taken back: it may not be valid for longer."""
LEEWAY = 30
"""Seconds that clocks may differ."""

Scope = Literal[
    "customers:read",
    "rewards:read",
    "rewards:write",
    "hooks:read",
    "hooks:write",
    "metrics:read",
    "metrics:write",
    "sources:read",
    "sources:write",
    "operate",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)
OwnScope = Literal["own:points", "own:inbox"]
OWN_SCOPES: tuple[OwnScope, ...] = get_args(OwnScope)
"""What a customer's token may hold: their own points, statement, badges and level; their own inbox."""

_HOW = "get one with `rapport token` and send it as `Authorization: Bearer …`"
_HOW_CUSTOMER = "the business's backend signs another one"
_HOW_PROVIDER = "log in again with the identity provider"
_REF = re.compile(r"(user|anon):.{1,512}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.DOTALL)


@dataclass(frozen=True)
class Principal:
    """Who asks: the token's subject, the scopes it holds, and until when. `customer` is the `{ref}` of the one customer
    whose own things a customer's token opens; None for everybody else."""

    subject: str
    scopes: frozenset[str]
    customer: str | None = None
    expires: datetime | None = None


class Verifier:
    """Checks tokens with the keys that the settings name. Without a key for its kind a token is refused.

    Raises ValueError when a key is no Ed25519 public key.
    """

    def __init__(self, settings: Settings) -> None:
        self._own = Keyring.read(settings.jwt_public_key, "RAPPORT_JWT_PUBLIC_KEY")
        self._customers = Keyring.read(settings.customer_public_key, "RAPPORT_CUSTOMER_PUBLIC_KEY")
        self._provider = _Provider(settings) if settings.jwks_url else None

    async def authenticate(self, token: str) -> Principal:
        """Whose token it is. Raises Unauthenticated, saying what is wrong with it; Unavailable when the identity
        provider's keys are not known yet and cannot be fetched."""
        if self._provider is not None and _claimed(token).get("iss") == self._provider.issuer:
            return await self._provider.authenticate(token)
        return self.verify(token)

    def verify(self, token: str) -> Principal:
        """The same for tokens of this installation and of customers. Raises Unauthenticated."""
        if token.startswith("rk_"):
            raise Unauthenticated(f"This is a write key, which can send events and nothing else: {_HOW}.")
        if CUSTOMER_AUDIENCE in _audiences(_claimed(token)):
            return self._customer(token)
        if not self._own.keys:
            raise Unauthenticated("No token can be checked here: RAPPORT_JWT_PUBLIC_KEY is not set for this service.")
        claims = _checked(token, self._own, AUDIENCE, _HOW, issuer=ISSUER)
        scope = claims.get("scope")
        return _principal(claims, scope if isinstance(scope, str) else "")

    def _customer(self, token: str) -> Principal:
        if not self._customers.keys:
            raise Unauthenticated(
                "No customer's token can be checked here: RAPPORT_CUSTOMER_PUBLIC_KEY is not set for this service."
            )
        claims = _checked(token, self._customers, CUSTOMER_AUDIENCE, _HOW_CUSTOMER)
        if _REF.fullmatch(claims["sub"]) is None:
            raise Unauthenticated(
                "The token's subject names no customer: it is user:<userId>, anon:<anonymousId> or their id."
            )
        if claims["exp"] > time.time() + LONGEST_CUSTOMER.total_seconds() + LEEWAY:
            raise Unauthenticated(f"A customer's token may be valid for a day at most: {_HOW_CUSTOMER}.")
        scopes = _words(claims.get("scope")) & set(OWN_SCOPES)
        return Principal(claims["sub"], frozenset(scopes), claims["sub"], _expiry(claims))


class _Provider:
    """An identity provider's tokens. Its scopes count as far as they are ours."""

    def __init__(self, settings: Settings) -> None:
        self.issuer = settings.jwks_issuer
        self._audience = settings.jwks_audience
        self._claim = settings.jwks_scope_claim
        self._keys = KeySet(settings.jwks_url, settings.jwks_refresh_seconds)

    async def authenticate(self, token: str) -> Principal:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise _invalid(error, _HOW_PROVIDER) from error
        kid, algorithm = header.get("kid"), header.get("alg")
        if algorithm not in ALGORITHMS:
            raise Unauthenticated(f"The token is not signed with {', '.join(ALGORITHMS)}: {_HOW_PROVIDER}.")
        key = await self._keys.find(kid, algorithm)
        if key is None:
            raise Unauthenticated(f"The token was signed with a key that {self.issuer} does not have: {_HOW_PROVIDER}.")
        claims = _decoded(token, key.key, key.algorithm, self._audience, self.issuer, _HOW_PROVIDER)
        return _principal(claims, claims.get(self._claim))


def _principal(claims: Mapping[str, Any], scopes: object) -> Principal:
    return Principal(claims["sub"], frozenset(_words(scopes) & set(SCOPES)), None, _expiry(claims))


def _words(claim: object) -> set[str]:
    """Scopes as a text with spaces, or as a list of texts, as identity providers write them."""
    words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else ()
    return {word for word in words if isinstance(word, str)}


def _expiry(claims: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def _claimed(token: str) -> Mapping[str, Any]:
    """What a token says of itself, not to be believed: it only chooses the keys to check it with."""
    try:
        claims: Mapping[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError):
        return {}
    return claims


def _audiences(claims: Mapping[str, Any]) -> Iterable[object]:
    audience = claims.get("aud")
    return audience if isinstance(audience, list) else (audience,)


def _checked(token: str, ring: Keyring, audience: str, how: str, issuer: str | None = None) -> Mapping[str, Any]:
    """The claims of a token that one of the ring's keys has signed. Raises Unauthenticated."""
    try:
        keys = ring.candidates(jwt.get_unverified_header(token).get("kid"))
    except (jwt.InvalidTokenError, ValueError) as error:
        raise _invalid(error, how) from error
    for key in keys[:-1]:
        try:
            return _decoded(token, key, "EdDSA", audience, issuer, how)
        except Unauthenticated as error:
            if not isinstance(error.__cause__, jwt.InvalidSignatureError):
                raise
    return _decoded(token, keys[-1], "EdDSA", audience, issuer, how)


def _decoded(token: str, key: Any, algorithm: str, audience: str, issuer: str | None, how: str) -> Mapping[str, Any]:
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
        raise _invalid(error, how) from error
    return claims


def _invalid(error: Exception, how: str) -> Unauthenticated:
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


bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    scheme_name="token",
    description="A token with the scopes named at each route, made by `rapport token`; where the route says so, a"
    " customer's own, signed by the business's backend.",
)


def require(*scopes: Scope, own: OwnScope | None = None) -> Callable[..., Awaitable[Principal]]:
    """A FastAPI dependency that lets only tokens with all of `scopes` pass, and gives the Principal; with `own`, also a
    customer's token with that scope: the route then sees to it that it is their own (`libs.common.web.own`).

    Raises Unauthenticated or Forbidden. `async def route(who: Annotated[Principal, Depends(require("rewards:write"))])`.
    """

    async def principal(request: Request, given: HTTPAuthorizationCredentials | None = Security(bearer)) -> Principal:
        return await authorized(request, given, scopes, own)

    return principal


async def authorized(
    request: Request, given: HTTPAuthorizationCredentials | None, scopes: Iterable[Scope], own: OwnScope | None
) -> Principal:
    """The Principal of a request's token, if it holds what is needed. Raises Unauthenticated or Forbidden."""
    if given is None:
        raise Unauthenticated(f"This needs a token: {_HOW}.")
    verifier: Verifier = request.app.state.verifier
    who = await verifier.authenticate(given.credentials)
    if who.customer is not None and own is None:
        raise Forbidden(
            "This is a customer's token, which opens their own points and inbox and nothing else.",
            missing=list(scopes),
            held=sorted(who.scopes),
        )
    needed: Iterable[str] = scopes if who.customer is None or own is None else (own,)
    if missing := [scope for scope in needed if scope not in who.scopes]:
        raise Forbidden(
            f"This needs the scope {' and '.join(missing)}; the token of {who.subject} holds"
            f" {', '.join(sorted(who.scopes)) or 'none'}.",
            missing=missing,
            held=sorted(who.scopes),
        )
    return who


def mint(private_pem: str, subject: str, scopes: Iterable[str], ttl: timedelta) -> str:
    """A token for `subject` that holds `scopes` for `ttl`. Raises ValueError on a scope that does not exist."""
    held = list(scopes)
    if unknown := [scope for scope in held if scope not in SCOPES]:
        raise ValueError(f"no such scope: {', '.join(unknown)}; the scopes are {', '.join(SCOPES)}")
    return _minted(private_pem, {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "scope": " ".join(held)}, ttl)


def mint_customer(private_pem: str, ref: str, scopes: Iterable[OwnScope] = OWN_SCOPES, *, ttl: timedelta) -> str:
    """A customer's token, as the business's backend makes it; `ref` is `user:ann`, `anon:a1` or the customer's id."""
    return _minted(private_pem, {"aud": CUSTOMER_AUDIENCE, "sub": ref, "scope": " ".join(scopes)}, ttl)


def _minted(private_pem: str, claims: Mapping[str, str], ttl: timedelta) -> str:
    now = int(time.time())
    times = {"iat": now, "exp": now + int(ttl.total_seconds())}
    return jwt.encode({**claims, **times}, private_pem, algorithm="EdDSA", headers={"kid": kid_of(private_pem)})
