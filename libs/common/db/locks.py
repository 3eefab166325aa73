"""All advisory locks of Rapport. PostgreSQL knows them by number only, so each number stands here, once.

A lock is one number, or a class and a number (of which there is one lock each). The two kinds never meet. Advisory locks
keep processes from doing the same work twice. They protect no data: rows' own locks and constraints do.
"""

import zlib
from enum import IntEnum, unique


@unique
class Lock(IntEnum):
    """The numbers. Any will do, as long as all processes of all releases use the same."""

    MIGRATION = 7_262_001
    """One migration of a database at a time."""
    REPLAY = 7_262_002
    """A class, with the hash of the shadow's schema: one replay of a kind and a service at a time."""
    DEDUP_PARTITIONS = 7_262_101
    """Profile creates its weekly tables one process at a time."""
    LOG_MAINTENANCE = 7_262_102
    """A class, with the hash of the topic: one process at a time maintains a topic's table."""


def reader_class(reader: str, name: str) -> int:
    """A class for each reader and topic, with the partition as the number: the process that has the lock reads it.

    The name `members` stands for the reader's living processes, each with a random number. The class is a hash, signed
    as PostgreSQL takes it.
    """
    number = zlib.crc32(f"{reader}/{name}".encode())
    return number - 2**32 if number >= 2**31 else number
