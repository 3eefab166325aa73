"""All advisory locks of Rapport. PostgreSQL identifies them by number only, so all numbers are listed here.

A lock is one number, or a class and a number; the two kinds never conflict. Advisory locks keep processes from doing
the same work twice. They protect no data; row locks and constraints do.
"""

import zlib
from enum import IntEnum, unique


@unique
class Lock(IntEnum):
    """The numbers. They are arbitrary, but all processes of all releases must use the same."""

    MIGRATION = 7_262_001
    """One migration of a database at a time."""
    REPLAY = 7_262_002
    """A class, with the hash of the shadow's schema: one replay of a kind and a service at a time."""
    DEDUP_PARTITIONS = 7_262_101
    """Profile creates its weekly tables one process at a time."""
    LOG_MAINTENANCE = 7_262_102
    """A class, with the hash of the topic: one process at a time maintains a topic's table."""
    LIVE_EVENTS = 7_262_103
    """Ingest writes the events of its live view one process at a time, so that their numbers become visible in order."""


def reader_class(reader: str, name: str) -> int:
    """The class for a reader and a topic. With the partition as the number, it locks the partition for one process.

    The name `members` is for the reader's live processes, each with a random number. The class is a hash, as a signed
    integer, as PostgreSQL requires.
    """
    number = zlib.crc32(f"{reader}/{name}".encode())
    return number - 2**32 if number >= 2**31 else number
