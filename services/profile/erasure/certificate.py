"""The certificate of an erasure: a JWT that the installation's key has signed, and that names nobody."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.common.http.auth.keyring import thumbprint
from libs.common.http.auth.tokens import ISSUER

#: It opens nothing: no token has this audience.
AUDIENCE = "rapport-erasure"


def signed(key: Ed25519PrivateKey, erasure: Mapping[str, Any], at: datetime) -> str:
    """The certificate. `erasure` (plain JSON) says which customer id was erased, when, and which service erased how many
    of what."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(erasure["customer"]),
        "iat": int(at.timestamp()),
        "erasure": erasure,
    }
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": thumbprint(key.public_key())})


def public_pem(key: Ed25519PrivateKey) -> str:
    """The public key that certificates are checked with."""
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
