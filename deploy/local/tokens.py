"""Development's own identity provider: an Ed25519 key pair in the secrets folder, and the tokens it signs."""

import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.errors import LocalError
from deploy.local.files import write_private

TTL = 12 * 60 * 60  # seconds
ROLES = {
    "marketer": "customers:read rewards:read rewards:write hooks:read hooks:write metrics:read",
    "analyst": "customers:read rewards:read hooks:read metrics:read metrics:write",
    "operator": "operate sources:read sources:write customers:read rewards:read hooks:read metrics:read",
}


def private_key_file(home: Path) -> Path:
    """Mode 0600; whoever can read it can sign any token."""
    return home / "secrets" / "jwt-private-key.pem"


def public_key_file(home: Path) -> Path:
    """What the services check tokens with."""
    return home / "secrets" / "jwt-public-key.pem"


def make_keys(home: Path) -> bool:
    """Make the key pair, unless it is there; returns whether it was made."""
    private, public = private_key_file(home), public_key_file(home)
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = not private.exists()
    if new:
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(private, pem.decode())
    key = serialization.load_pem_private_key(private.read_bytes(), None).public_key()
    public.write_bytes(key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return new


def mint(private_key: Path, scope: str, subject: str, ttl: float = TTL) -> str:
    """A signed token for `scope` (words separated by spaces), valid for `ttl` seconds from now. Raises LocalError."""
    now = int(time.time())
    claims = {
        "iss": "rapport",
        "aud": "rapport",
        "sub": subject,
        "scope": scope,
        "iat": now,
        "exp": now + int(ttl),
        "jti": str(uuid.uuid4()),
    }
    try:
        pem = private_key.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"The key that signs tokens cannot be read: {error}.") from error
    try:
        return jwt.encode(claims, pem, algorithm="EdDSA")
    except (ValueError, TypeError, jwt.PyJWTError) as error:
        raise LocalError(f"{private_key} holds no private key that signs tokens (Ed25519, in PEM form).") from error


async def development_tokens(home: Path, ingest: str) -> dict[str, str]:
    """A write key and one token a role, all for 12 h, anew; written to `home/tokens.json` (0600) too.

    Needs ingest to be up: the write key is asked for over its API, as the operator. Raises LocalError when it refuses.
    """
    tokens = {role: mint(private_key_file(home), scope, f"development-{role}") for role, scope in ROLES.items()}
    tokens = {"write_key": await write_key(ingest, tokens["operator"]), **tokens}
    write_private(home / "tokens.json", json.dumps(tokens, indent=2) + "\n")
    return tokens


async def write_key(ingest: str, operator: str) -> str:
    """A new key of the source named `development`, which is made if there is none; its older keys run out by themselves."""
    headers = {"Authorization": f"Bearer {operator}"}
    async with httpx.AsyncClient(base_url=ingest, headers=headers, timeout=15, trust_env=False) as http:
        source = await find_source(http, "development")
        if source is None:
            answer = await http.post("/v1/sources", json={"name": "development"})
        else:
            answer = await http.post(f"/v1/sources/{source}/keys", json={"expires_in": TTL})
    return str(accepted(answer)["write_key"])


async def find_source(http: httpx.AsyncClient, name: str) -> str | None:
    """The id of the source of this name, None if there is none."""
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
