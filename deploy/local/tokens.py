"""The development identity provider: an Ed25519 key pair in the secrets folder, and the tokens that it signs."""

import json
import secrets
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import jwt

from deploy.local.errors import LocalError
from deploy.local.files import write_private
from libs.common.contracts.contract import Role
from libs.common.contracts.registry import scopes_of
from libs.common.http.auth.keyring import generate_keys, kid_of, public_of
from libs.common.http.auth.tokens import AUDIENCE, CUSTOMER_AUDIENCE, ISSUER

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


def consent_secret_file(home: Path) -> Path:
    """The secret with which profile signs the links of double opt-in (0600)."""
    return home / "secrets" / "consent-secret"


def hash_key_file(home: Path) -> Path:
    """The key with which ingest hashes private fields (0600)."""
    return home / "secrets" / "hash-key"


def installation_key_file(home: Path) -> Path:
    """The installation's private key (0600), for certificates of erasure and hashes of erased identifiers."""
    return home / "secrets" / "installation-key.pem"


def make_keys(home: Path) -> bool:
    """Create the missing keys and secrets. Returns whether the pair of this installation's tokens was missing.

    A public key's file keeps the keys that were added to it, as they are while keys are changed.
    """
    (home / "secrets").mkdir(mode=0o700, parents=True, exist_ok=True)
    if not installation_key_file(home).exists():
        write_private(installation_key_file(home), generate_keys()[0])
    _make_pair(customer_private_key_file(home), customer_public_key_file(home))
    for file in (consent_secret_file(home), hash_key_file(home)):
        if not file.exists():
            write_private(file, secrets.token_urlsafe(32))
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
    return _signed(private_key, {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "scope": scope}, ttl)


def mint_customer(private_key: Path, scope: str, ref: str, ttl: float) -> str:
    """A token for the customer `ref`, as the business's backend signs it. Raises LocalError."""
    return _signed(private_key, {"aud": CUSTOMER_AUDIENCE, "sub": ref, "scope": scope}, ttl)


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


async def development_tokens(home: Path, dsn: str, currency: str) -> dict[str, str]:
    """A write key and one token a role, all for 12 h, anew; written to `home/tokens.json` (0600) too.

    Needs only the migrated database at `dsn`: a script that waits for a service to be ready finds the file. `currency` is
    that of the source `development`, if it has to be made.
    """
    tokens = {role: mint(private_key_file(home), scope, f"development-{role}") for role, scope in ROLES.items()}
    tokens = {"write_key": await write_key(dsn, currency), **tokens}
    write_private(home / "tokens.json", json.dumps(tokens, indent=2) + "\n")
    return tokens


async def write_key(dsn: str, currency: str) -> str:
    """A new key of the source named `development`, which is made if there is none; its older keys expire by themselves."""
    import asyncpg  # here: `rapport token` needs neither

    from services.ingest import store

    connection = await asyncpg.connect(dsn, timeout=15)
    try:
        async with connection.transaction():
            source = await connection.fetchval("SELECT id FROM ingest.sources WHERE name = 'development'")
            if source is None:
                _, key = await store.add_key(
                    connection, await store.add_source(connection, "development", currency, None), None
                )
            else:
                _, key = await store.add_key(connection, source, TTL)
    finally:
        await connection.close()
    return key
