"""Reading the log: one interface, two implementations (PostgreSQL and Kafka), proven by one suite."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

#: A fetch ends after so many bytes, however many records were asked for.
LARGEST_FETCH = 4_000_000


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Position(NamedTuple):
    """What to read next: offset `next` of `epoch`; `hint` is where Kafka keeps it, if that is known."""

    epoch: int
    next: int
    hint: int | None = None


class Record(NamedTuple):
    """A record as read. `native` is the offset in the log that it was read from (Kafka's own may differ from ours).

    `epoch` is the one it was given its offset in, and `since` the offset at which that one begins; where they are not
    told, as by PostgreSQL, they are the reader's.
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
    """How far a position is behind: records, and the age in seconds of the oldest one not yet read."""

    records: int
    seconds: float


class Gap(NamedTuple):
    """Offset `expected` was to come, `found` came: what lies between is missing from the log that is read."""

    expected: int
    found: int


class Reader(Protocol):
    """Reads any partition of some topics. Keeps no position: the caller's is the truth, given with each call."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def fetch(self, tp: TopicPartition, position: Position, limit: int, wait: float) -> list[Record]:
        """The next records, exactly from `position` on without a gap, at most `limit`; none after `wait` seconds.

        Fewer when they are large (LARGEST_FETCH). Safe to cancel, and to call again with the same position. Raises
        what its driver raises while the log is away.
        """
        ...

    async def lag(self, positions: Mapping[TopicPartition, Position]) -> dict[TopicPartition, Lag]:
        """How far each position is behind the head of its partition."""
        ...

    @property
    def gaps(self) -> Mapping[TopicPartition, Gap]:
        """The partitions at which records are missing now; empty in health."""
        ...


def contiguous(position: Position, records: Iterable[Record]) -> tuple[list[Record], Gap | None]:
    """The records that follow `position` without a gap, and the gap that they end at, if more come after one.

    A lower offset than expected is a duplicate, a higher one lies behind a gap: both are passed over, because the missing
    record may still come (a forwarder that was rewound sends it behind those that were sent before).

    A record of a higher epoch is followed: what comes next is that epoch's first. It ends the batch if it leads back, so
    that offsets only rise within one. Records of a lower epoch are passed over.
    """
    accepted: list[Record] = []
    epoch, expected = position.epoch, position.next
    gap = None
    for record in records:
        told = epoch if record.epoch is None else record.epoch
        if told > epoch and record.since <= expected:
            if accepted and record.since < expected:
                break
            epoch, expected = told, record.since
        if told < epoch:
            continue
        if record.offset == expected:
            accepted.append(record)
            expected += 1
            gap = None
        elif record.offset > expected and gap is None:
            gap = Gap(expected, record.offset)
    return accepted, gap


def after(position: Position, records: list[Record]) -> Position:
    """The position behind `records` (which must follow `position` without a gap)."""
    if not records:
        return position
    last = records[-1]
    return Position(max(position.epoch, last.epoch or 0), last.offset + 1, last.native + 1)
