"""Who may do what over REST: bearer tokens (JWT, Ed25519) with scopes. Services hold only the public key."""

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from libs.common.errors import Forbidden, Unauthenticated
from libs.common.settings import Settings

ISSUER = AUDIENCE = "rapport"
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

_HOW = "get one with `rapport token` and send it as `Authorization: Bearer …`"


@dataclass(frozen=True)
class Principal:
    """Who asks: the token's subject and the scopes it holds."""

    subject: str
    scopes: frozenset[str]


class Verifier:
    """Checks tokens against `settings.jwt_public_key` (PEM). Without a key every token is refused.

    Raises ValueError when the key is no Ed25519 public key.
    """

    def __init__(self, settings: Settings) -> None:
        pem = settings.jwt_public_key.replace("\\n", "\n").strip()
        self.key = _public_key(pem) if pem else None

    def verify(self, token: str) -> Principal:
        """Whose token it is. Raises Unauthenticated, saying what is wrong with it."""
        if self.key is None:
            raise Unauthenticated("No token can be checked here: RAPPORT_JWT_PUBLIC_KEY is not set for this service.")
        if token.startswith("rk_"):
            raise Unauthenticated(f"This is a write key, which can send events and nothing else: {_HOW}.")
        try:
            claims = jwt.decode(
                token,
                self.key,
                algorithms=["EdDSA"],
                issuer=ISSUER,
                audience=AUDIENCE,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated(f"The token has expired{_when(token)}: {_HOW}.") from error
        except (jwt.InvalidTokenError, ValueError) as error:
            raise Unauthenticated(f"The token is not valid ({_reason(error)}): {_HOW}.") from error
        scope = claims.get("scope", "")
        return Principal(claims["sub"], frozenset(scope.split() if isinstance(scope, str) else ()))


def _public_key(pem: str) -> Ed25519PublicKey:
    wrong = "RAPPORT_JWT_PUBLIC_KEY is no Ed25519 public key in PEM form (-----BEGIN PUBLIC KEY-----)"
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError as error:
        raise ValueError(wrong) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(wrong)
    return key


def _when(token: str) -> str:
    # the signature has been verified when a token is found to be expired
    expiry = jwt.decode(token, options={"verify_signature": False})["exp"]
    return f" at {datetime.fromtimestamp(expiry, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _reason(error: Exception) -> str:
    match error:
        case jwt.InvalidSignatureError():
            return "it was signed with another key than this installation's"
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


_bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    scheme_name="token",
    description="A token with the scopes named at each route, made by `rapport token`.",
)


def require(*scopes: Scope) -> Callable[..., Awaitable[Principal]]:
    """A FastAPI dependency that lets only tokens with all of `scopes` pass, and gives the Principal.

    Raises Unauthenticated or Forbidden. `async def route(who: Annotated[Principal, Depends(require("rewards:write"))])`.
    """

    async def principal(request: Request, given: HTTPAuthorizationCredentials | None = Security(_bearer)) -> Principal:
        if given is None:
            raise Unauthenticated(f"This needs a token: {_HOW}.")
        verifier: Verifier = request.app.state.verifier
        who = verifier.verify(given.credentials)
        if missing := [scope for scope in scopes if scope not in who.scopes]:
            raise Forbidden(
                f"This needs the scope {' and '.join(missing)}; the token of {who.subject} holds"
                f" {', '.join(sorted(who.scopes)) or 'none'}.",
                missing=missing,
                held=sorted(who.scopes),
            )
        return who

    return principal


def generate_keys() -> tuple[str, str]:
    """A new pair of keys in PEM form: (private, public)."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def mint(private_pem: str, subject: str, scopes: Iterable[str], ttl: timedelta) -> str:
    """A token for `subject` that holds `scopes` for `ttl`. Raises ValueError on a scope that does not exist."""
    held = list(scopes)
    if unknown := [scope for scope in held if scope not in SCOPES]:
        raise ValueError(f"no such scope: {', '.join(unknown)}; the scopes are {', '.join(SCOPES)}")
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "scope": " ".join(held),
        "iat": now,
        "exp": now + int(ttl.total_seconds()),
    }
    return jwt.encode(claims, private_pem, algorithm="EdDSA")
