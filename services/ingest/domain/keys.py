"""Write keys: `rk_`, 32 random characters, 6 of a checksum. Whoever holds one may send events as one source, nothing else.

The checksum lets a mistyped or invented key be refused without asking the database. Only the SHA-256 is stored.
"""

import hashlib
import secrets
import zlib
from functools import lru_cache

PREFIX = "rk_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM = 32  # characters: 190 bits
_CHECK = 6
_LENGTH = len(PREFIX) + _RANDOM + _CHECK
SHOWN = len(PREFIX) + 6


def make() -> str:
    """A new write key."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether `key` can be one of ours at all."""
    return (
        len(key) == _LENGTH and key.startswith(PREFIX) and key.isascii() and _checksum(key[:-_CHECK]) == key[-_CHECK:]
    )


def digest(key: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).digest()


def shown(key: str) -> str:
    """The first characters, by which people tell their keys apart."""
    return key[:SHOWN]


@lru_cache(maxsize=1024)
def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECK):
        number, place = divmod(number, len(_ALPHABET))
        digits += _ALPHABET[place]
    return digits
