"""Keyed hashes of identifiers: who does not have the installation's key can neither read nor guess them."""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.common.errors import Unavailable
from libs.common.settings import Settings

#: A member of an object whose value is a string or a number, also in JSON that is cut off or broken.
_MEMBER = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:\s*(?:"((?:[^"\\]|\\.)*)"|(-?\d[\d.]*))')
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/]))')
#: Members that hold identifiers: short values are looked for only there, because `"1"` is also a quantity.
_IDENTIFYING = frozenset(
    ["userId", "anonymousId", "previousId", "user_id", "anonymous_id", "distinct_id", "email", "phone"]
)
_SHORT = 6
NO_KEY = "nobody can be erased yet: RAPPORT_INSTALLATION_KEY_FILE is not set (docs/operations.md#erasure)"


def installation_key(settings: Settings) -> Ed25519PrivateKey:
    """The installation's key, read when it is needed. Raises Unavailable when none is set, or it is no Ed25519 private key in
    PEM form."""
    pem = settings.installation_key.get_secret_value()
    try:
        if not pem and settings.installation_key_file:
            pem = settings.installation_key_file.read_text()
    except OSError as error:
        raise Unavailable(f"RAPPORT_INSTALLATION_KEY_FILE cannot be read: {error}") from error
    pem = pem.replace("\\n", "\n").strip()
    if not pem:
        raise Unavailable(NO_KEY)
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError) as error:
        raise Unavailable("RAPPORT_INSTALLATION_KEY is no Ed25519 private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Unavailable("RAPPORT_INSTALLATION_KEY is no Ed25519 private key in PEM form")
    return key


class KeyedHash:
    """Hashes texts with a key that is derived from the installation's. Raises Unavailable like `installation_key`."""

    def __init__(self, settings: Settings) -> None:
        raw = installation_key(settings).private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )
        self._key = hashlib.sha256(b"rapport: identifiers\0" + raw).digest()

    def of(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode(errors="surrogatepass"), "sha256")


def no_key() -> KeyedHash:
    """The keyed hash of an installation without a key. Raises Unavailable."""
    raise Unavailable(NO_KEY)


def mentions(value: bytes, is_theirs: Callable[[str], bool]) -> bool:
    """Whether a member's value in some JSON, which may be broken, is one of somebody's texts."""
    return any(map(is_theirs, _values(value)))


def _values(value: bytes) -> Iterator[str]:
    for name, text, number in _MEMBER.findall(value):
        said = _unescaped((text or number).decode(errors="replace"))
        if len(said) >= _SHORT or name.decode(errors="replace") in _IDENTIFYING:
            yield said


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
