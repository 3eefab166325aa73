"""Who may do what over REST: bearer tokens (JWT) with scopes. Services hold public keys only.

Three kinds, told apart by what they say of themselves, and each checked with its own keys alone:

- this installation's (`iss` and `aud` are "rapport"; `rapport token` makes them), for people and programs;
- a customer's (`aud` is "rapport-customer"), which the business's backend signs for the customer who is logged in there:
  it opens their own consents, points and inbox, nobody else's, and nothing more;
- an identity provider's (`iss` is the one that the settings name), checked with the keys that it publishes.
"""

import re
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

import jwt
from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from libs.common.contracts.registry import OWN_SCOPES, OwnScope, Scope
from libs.common.errors import Forbidden, Unauthenticated
from libs.common.http.auth import tokens
from libs.common.http.auth.jwks import ALGORITHMS, KeySet
from libs.common.http.auth.keyring import Keyring
from libs.common.http.auth.tokens import Principal
from libs.common.settings import Settings

LONGEST_CUSTOMER = timedelta(days=1)
"""A customer's token lies in a browser and cannot be taken back: it may not be valid for longer."""

_HOW = "get one with `rapport token` and send it as `Authorization: Bearer …`"
_HOW_CUSTOMER = "the business's backend signs another one"
_HOW_PROVIDER = "log in again with the identity provider"
_REF = re.compile(r"(user|anon):.{1,512}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.DOTALL)


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
        if self._provider is not None and tokens.claimed(token).get("iss") == self._provider.issuer:
            return await self._provider.authenticate(token)
        return self.verify(token)

    def verify(self, token: str) -> Principal:
        """The same for tokens of this installation and of customers. Raises Unauthenticated."""
        if token.startswith("rk_"):
            raise Unauthenticated(f"This is a write key, which can send events and nothing else: {_HOW}.")
        if tokens.CUSTOMER_AUDIENCE in tokens.audiences(tokens.claimed(token)):
            return self._customer(token)
        if not self._own.keys:
            raise Unauthenticated("No token can be checked here: RAPPORT_JWT_PUBLIC_KEY is not set for this service.")
        claims = tokens.checked(token, self._own, tokens.AUDIENCE, _HOW, issuer=tokens.ISSUER)
        scope = claims.get("scope")
        return tokens.principal(claims, scope if isinstance(scope, str) else "")

    def _customer(self, token: str) -> Principal:
        if not self._customers.keys:
            raise Unauthenticated(
                "No customer's token can be checked here: RAPPORT_CUSTOMER_PUBLIC_KEY is not set for this service."
            )
        claims = tokens.checked(token, self._customers, tokens.CUSTOMER_AUDIENCE, _HOW_CUSTOMER)
        if _REF.fullmatch(claims["sub"]) is None:
            raise Unauthenticated(
                "The token's subject names no customer: it is user:<userId>, anon:<anonymousId> or their id."
            )
        if claims["exp"] > time.time() + LONGEST_CUSTOMER.total_seconds() + tokens.LEEWAY:
            raise Unauthenticated(f"A customer's token may be valid for a day at most: {_HOW_CUSTOMER}.")
        scopes = tokens.words(claims.get("scope")) & set(OWN_SCOPES)
        return Principal(claims["sub"], frozenset(scopes), claims["sub"], tokens.expiry(claims))


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
            raise tokens.invalid(error, _HOW_PROVIDER) from error
        kid, algorithm = header.get("kid"), header.get("alg")
        if algorithm not in ALGORITHMS:
            raise Unauthenticated(f"The token is not signed with {', '.join(ALGORITHMS)}: {_HOW_PROVIDER}.")
        key = await self._keys.find(kid, algorithm)
        if key is None:
            raise Unauthenticated(f"The token was signed with a key that {self.issuer} does not have: {_HOW_PROVIDER}.")
        claims = tokens.decoded(token, key.key, key.algorithm, self._audience, self.issuer, _HOW_PROVIDER)
        return tokens.principal(claims, claims.get(self._claim))


bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    scheme_name="token",
    description="A token with the scopes named at each route, made by `rapport token`; where the route says so, a"
    " customer's own, signed by the business's backend.",
)


def require(*scopes: Scope, own: OwnScope | None = None) -> Callable[..., Awaitable[Principal]]:
    """A FastAPI dependency that lets only tokens with all of `scopes` pass, and gives the Principal; with `own`, also a
    customer's token with that scope: the route then sees to it that it is their own (`libs.common.http.auth.require_self`).

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
            "This is a customer's token, which opens their own consents, points and inbox and nothing else.",
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
