"""Ids: derived ones for what follows from a record (the same on every replay), fresh ones for what REST creates."""

import hashlib
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as _Fast
from uuid_utils.compat import uuid7


def parsed(text: str) -> UUID:
    """The UUID that `text` names, as asyncpg's own class (a subclass), which is made in an eighth of the time. Raises
    ValueError."""
    return _Fast(text)


def derived(*parts: str) -> UUID:
    """UUIDv8 (RFC 9562, section 5.8) from a hash of `parts`: the same parts give the same id, always."""
    digest = bytearray(hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).digest())
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return _Fast(bytes(digest))


def fresh() -> UUID:
    """UUIDv7: unique, and sorted by the time it was made. Never in a fold: a replay would give another."""
    return uuid7()
