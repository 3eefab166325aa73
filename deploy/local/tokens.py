"""The development identity provider: an Ed25519 key pair in the secrets folder, and the tokens that it signs."""

import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import httpx
import jwt

from deploy.local.errors import LocalError
from deploy.local.files import write_private
from libs.common.contracts.contract import Role
from libs.common.contracts.registry import scopes_of
from libs.common.http.auth.keyring import generate_keys, kid_of, public_of

TTL = 12 * 60 * 60  # seconds
ROLES = {role: " ".join(scopes_of(role)) for role in get_args(Role)}


def private_key_file(home: Path) -> Path:
    """The private key (0600). It signs any token."""
    return home / "secrets" / "jwt-private-key.pem"


def public_key_file(home: Path) -> Path:
    """The public key with which services check tokens."""
    return home / "secrets" / "jwt-public-key.pem"


def customer_private_key_file(home: Path) -> Path:
    """The business's private key for customers' tokens (0600). In production only the business's backend holds it."""
    return home / "secrets" / "customer-private-key.pem"


def customer_public_key_file(home: Path) -> Path:
    """The public key with which services check customers' tokens."""
    return home / "secrets" / "customer-public-key.pem"


def make_keys(home: Path) -> bool:
    """Create the missing key pairs. Returns whether the one of this installation's tokens was missing.

    A public key's file keeps the keys that were added to it, as they are while keys are changed.
    """
    (home / "secrets").mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_pair(customer_private_key_file(home), customer_public_key_file(home))
    return _make_pair(private_key_file(home), public_key_file(home))


def _make_pair(private: Path, public: Path) -> bool:
    if new := not private.exists():
        write_private(private, generate_keys()[0])
    known = public.read_text() if public.exists() else ""
    own = public_of(private.read_text())
    if own not in known:
        public.write_text(known + own)
    return new


def mint(private_key: Path, scope: str, subject: str, ttl: float = TTL) -> str:
    """A signed token for `scope` (words separated by spaces), valid for `ttl` seconds from now. Raises LocalError."""
    return _signed(private_key, {"iss": "rapport", "aud": "rapport", "sub": subject, "scope": scope}, ttl)


def mint_customer(private_key: Path, scope: str, ref: str, ttl: float) -> str:
    """A token for the customer `ref`, as the business's backend signs it. Raises LocalError."""
    return _signed(private_key, {"aud": "rapport-customer", "sub": ref, "scope": scope}, ttl)


def _signed(private_key: Path, claims: Mapping[str, str], ttl: float) -> str:
    now = int(time.time())
    times = {"iat": now, "exp": now + int(ttl), "jti": str(uuid.uuid4())}
    try:
        pem = private_key.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"The key that signs tokens cannot be read: {error}.") from error
    try:
        return jwt.encode({**claims, **times}, pem, algorithm="EdDSA", headers={"kid": kid_of(pem)})
    except (ValueError, TypeError, jwt.PyJWTError) as error:
        raise LocalError(f"{private_key} holds no private key that signs tokens (Ed25519, in PEM form).") from error


async def development_tokens(home: Path, ingest: str) -> dict[str, str]:
    """A new write key and one new token for each role, all for 12 h; also written to `home/tokens.json` (0600).

    Ingest must be up: its API creates the write key, for the operator. Raises LocalError if it refuses.
    """
    tokens = {role: mint(private_key_file(home), scope, f"development-{role}") for role, scope in ROLES.items()}
    tokens = {"write_key": await write_key(ingest, tokens["operator"]), **tokens}
    write_private(home / "tokens.json", json.dumps(tokens, indent=2) + "\n")
    return tokens


async def write_key(ingest: str, operator: str) -> str:
    """A new key of the source named `development`, which is created if missing. Its older keys expire by themselves."""
    headers = {"Authorization": f"Bearer {operator}"}
    async with httpx.AsyncClient(base_url=ingest, headers=headers, timeout=15, trust_env=False) as http:
        source = await find_source(http, "development")
        if source is None:
            answer = await http.post("/v1/sources", json={"name": "development"})
        else:
            answer = await http.post(f"/v1/sources/{source}/keys", json={"expires_in": TTL})
    return str(accepted(answer)["write_key"])


async def find_source(http: httpx.AsyncClient, name: str) -> str | None:
    """The id of the source of this name; None if it does not exist."""
    query: dict[str, str] = {}
    while True:
        page = accepted(await http.get("/v1/sources", params=query))
        for source in page["items"]:
            if source["name"] == name:
                return str(source["id"])
        if not page.get("next"):
            return None
        query = {"cursor": page["next"]}


def accepted(answer: httpx.Response) -> Mapping[str, Any]:
    if answer.is_error:
        raise LocalError(
            f"ingest refused {answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
        )
    body: Mapping[str, Any] = answer.json()
    return body
