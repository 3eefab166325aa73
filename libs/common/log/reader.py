"""The interface for reading the log. PostgreSQL and Kafka implement it; one test suite proves both."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

#: The most bytes of one fetch, whatever its limit of records.
LARGEST_FETCH = 4_000_000


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Position(NamedTuple):
    """The next offset to read, and its epoch. `hint` is Kafka's own offset of it, if known."""

    epoch: int
    next: int
    hint: int | None = None


class Record(NamedTuple):
    """A record from the log. `native` is its offset in the log that it was read from; Kafka's may differ from ours.

    `epoch` is the epoch of its offset, and `since` the first offset of that epoch. PostgreSQL does not give them; then
    the reader's epoch applies.
    """

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    appended_at: datetime
    native: int
    epoch: int | None = None
    since: int = 0


class Lag(NamedTuple):
    """How far a position is behind: unread records, and the age in seconds of the oldest one."""

    records: int
    seconds: float


class Gap(NamedTuple):
    """Missing records: the reader expected offset `expected` and found `found`."""

    expected: int
    found: int


class Reader(Protocol):
    """Reads any partition of some topics. It keeps no position; the caller passes it with each call."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def fetch(self, tp: TopicPartition, position: Position, limit: int, wait: float) -> list[Record]:
        """The next records, exactly from `position` on and without a gap, at most `limit`. Waits up to `wait` seconds.

        Returns fewer if they are large (LARGEST_FETCH), and none if none came in time. Safe to cancel, and to call
        again with the same position. Raises what its driver raises if the log is unavailable.
        """
        ...

    async def lag(self, positions: Mapping[TopicPartition, Position]) -> dict[TopicPartition, Lag]:
        """How far each position is behind the head of its partition."""
        ...

    @property
    def gaps(self) -> Mapping[TopicPartition, Gap]:
        """The partitions in which records are missing now. Normally empty."""
        ...


def contiguous(position: Position, records: Iterable[Record]) -> tuple[list[Record], Gap | None]:
    """The records that follow `position` without a gap, and the gap after them, if there is one.

    A record with a lower offset than expected is a duplicate; one with a higher offset lies behind a gap. Both are
    skipped: the missing record may still come, because a rewound forwarder sends it after the others.

    A record of a higher epoch is followed: the next expected offset is that epoch's first. If that leads back, the
    batch ends before it, so that offsets only rise within a batch. Records of a lower epoch are skipped.
    """
    accepted: list[Record] = []
    epoch, expected = position.epoch, position.next
    gap = None
    for record in records:
        of_record = epoch if record.epoch is None else record.epoch
        if of_record > epoch and record.since <= expected:
            if accepted and record.since < expected:
                break
            epoch, expected = of_record, record.since
        if of_record < epoch:
            continue
        if record.offset == expected:
            accepted.append(record)
            expected += 1
            gap = None
        elif record.offset > expected and gap is None:
            gap = Gap(expected, record.offset)
    return accepted, gap


def after(position: Position, records: list[Record]) -> Position:
    """The position after `records`, which must follow `position` without a gap."""
    if not records:
        return position
    last = records[-1]
    return Position(max(position.epoch, last.epoch or 0), last.offset + 1, last.native + 1)
