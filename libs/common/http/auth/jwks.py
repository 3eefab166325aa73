"""The public keys of an identity provider (JWKS, RFC 7517): fetched when they are needed, kept while it is away."""

import asyncio
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import msgspec

from libs.common.errors import Unavailable
from libs.common.observability.telemetry import log

ALGORITHMS = ("EdDSA", "ES256", "RS256")
AGE = 600.0
"""Seconds after which the keys are fetched again, so that a key that was taken back is not trusted for ever."""
SECONDS = 5.0
"""In which the provider must have answered."""
LARGEST = 256 * 1024
SMALLEST_RSA = 2048
_CURVES = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256", ("RSA", None): "RS256"}

logger = log("identity provider")


@dataclass(frozen=True)
class Key:
    """One key. `algorithm` follows from what the key is, never from what a token says."""

    kid: str | None
    algorithm: str
    key: Any


class KeySet:
    """The keys at `url`; fetched at most every `pause` seconds, however many tokens name a key that is not there."""

    def __init__(self, url: str, pause: float) -> None:
        self._url = url
        self._pause = pause
        self._keys: Sequence[Key] = ()
        self._tried = self._fetched = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key of this id and algorithm; without an id the only one of that algorithm. None: there is none.

        Raises Unavailable when the provider has never answered yet.
        """
        found = self._found(kid, algorithm)
        if found is None:
            if self._due() or self._fetching is not None:
                await asyncio.shield(self._fetch())
            found = self._found(kid, algorithm)
        elif time.monotonic() - self._fetched > AGE and self._due():
            self._fetch()  # nobody waits for it
        if found is None and not self._keys:
            raise Unavailable(
                "The identity provider's keys cannot be fetched just now, so its tokens cannot be checked.", 2
            )
        return found

    def _found(self, kid: str | None, algorithm: str) -> Key | None:
        fitting = [key for key in self._keys if key.algorithm == algorithm and kid in (None, key.kid)]
        return fitting[0] if len(fitting) == 1 else None

    def _due(self) -> bool:
        pause = self._pause if self._keys else min(self._pause, 1.0)
        return time.monotonic() - self._tried >= pause

    def _fetch(self) -> "asyncio.Task[None]":
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._refresh(), name="fetch the identity provider's keys")
            self._fetching.add_done_callback(self._done)
        return self._fetching

    def _done(self, _: "asyncio.Task[None]") -> None:
        self._fetching = None

    async def _refresh(self) -> None:
        """Fetch the keys; when that fails, or there is none that can be used, those that are known stay."""
        self._tried = time.monotonic()
        try:
            async with asyncio.timeout(SECONDS):
                keys = list(read(await self._get()))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, ValueError) as error:
            logger.warning("the identity provider's keys cannot be fetched", error=f"{type(error).__name__}: {error}")
            return
        if not keys:
            logger.warning("the identity provider has no key that can be used", algorithms=ALGORITHMS)
            return
        self._keys, self._fetched = keys, time.monotonic()

    async def _get(self) -> bytes:
        verify = ssl.create_default_context()
        async with (
            httpx.AsyncClient(verify=verify, trust_env=False, timeout=SECONDS) as http,
            http.stream("GET", self._url, headers={"accept": "application/json"}) as answer,
        ):
            if answer.status_code != 200:
                raise ValueError(f"it answered {answer.status_code}")
            text = b""
            async for chunk in answer.aiter_bytes():
                text += chunk
                if len(text) > LARGEST:
                    raise ValueError(f"it answered more than {LARGEST} bytes")
            return text


def read(text: bytes) -> Iterator[Key]:
    """The keys of a JWKS that tokens may be checked with: public ones, for signatures, of a kind that we take.

    Raises ValueError when it is no JWKS.
    """
    try:
        listed = msgspec.json.decode(text, type=dict[str, Any])["keys"]
    except (msgspec.DecodeError, KeyError) as error:
        raise ValueError(f"it is no JWKS: {error}") from error
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and (key := _usable(each)) is not None:
            yield key


def _usable(jwk: Mapping[str, Any]) -> Key | None:
    kind = (jwk.get("kty"), None if jwk.get("kty") == "RSA" else jwk.get("crv"))
    algorithm = _CURVES.get(kind) if all(isinstance(part, str | None) for part in kind) else None  # type: ignore[arg-type]
    if algorithm is None or jwk.get("use", "sig") != "sig" or jwk.get("alg", algorithm) != algorithm:
        return None
    public = {name: value for name, value in jwk.items() if name not in ("d", "p", "q", "dp", "dq", "qi")}
    try:
        key = jwt.PyJWK.from_dict(public, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        logger.warning("a key of the identity provider cannot be read", kid=jwk.get("kid"), error=repr(error))
        return None
    if algorithm == "RS256" and key.key_size < SMALLEST_RSA:
        logger.warning("a key of the identity provider is too short", kid=jwk.get("kid"), bits=key.key_size)
        return None
    kid = jwk.get("kid")
    return Key(kid if isinstance(kid, str) else None, algorithm, key)
