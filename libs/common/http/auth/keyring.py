"""Public keys that tokens are checked with: several at a time, so that an old and a new one hold while keys are changed."""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MOST = 8
"""Keys in one ring: each is one more signature to try for a token that names none."""
_BLOCK = re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)


@dataclass(frozen=True)
class Keyring:
    """Ed25519 public keys by their key id (`kid`), which is the thumbprint of the key (RFC 7638)."""

    keys: dict[str, Ed25519PublicKey]

    @classmethod
    def read(cls, pem: str, setting: str) -> Self:
        """The keys of one or more PEM blocks, one after the other; newlines may be written as \\n.

        Raises ValueError, naming the setting, for anything that is no Ed25519 public key.
        """
        text = pem.replace("\\n", "\n").strip()
        wrong = f"{setting} is no Ed25519 public key in PEM form (-----BEGIN PUBLIC KEY-----)"
        blocks = _BLOCK.findall(text)
        if _BLOCK.sub("", text).strip():
            raise ValueError(wrong)
        if len(blocks) > MOST:
            raise ValueError(f"{setting} holds {len(blocks)} keys: leave out the oldest, at most {MOST} are taken")
        found: dict[str, Ed25519PublicKey] = {}
        for block in blocks:
            try:
                key = serialization.load_pem_public_key(block.encode())
            except ValueError as error:
                raise ValueError(wrong) from error
            if not isinstance(key, Ed25519PublicKey):
                raise ValueError(wrong)
            found[thumbprint(key)] = key
        return cls(found)

    def candidates(self, kid: object) -> Sequence[Ed25519PublicKey]:
        """The key that a token names, or all of them when it names none that is here."""
        named = self.keys.get(kid) if isinstance(kid, str) else None
        return list(self.keys.values()) if named is None else [named]


def thumbprint(key: Ed25519PublicKey) -> str:
    """The key's id: SHA-256 of its JWK's required members in order (RFC 7638, RFC 8037), in base64url."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    member = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    digest = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{member}"}}'.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def kid_of(private_pem: str) -> str:
    """The id of the key pair that a private key belongs to. Raises ValueError when it is no Ed25519 key in PEM form."""
    return thumbprint(_private(private_pem).public_key())


def public_of(private_pem: str) -> str:
    """The public key of a private one, both in PEM form. Raises ValueError when it is no Ed25519 key."""
    return _public_pem(_private(private_pem))


def generate_keys() -> tuple[str, str]:
    """A new pair of keys in PEM form: (private, public)."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), _public_pem(key)


def _private(pem: str) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except TypeError as error:  # it is encrypted
        raise ValueError("the private key is protected by a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("the private key is none of Ed25519")
    return key


def _public_pem(key: Ed25519PrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
