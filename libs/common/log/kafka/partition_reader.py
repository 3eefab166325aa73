"""The state of reading one partition from Kafka: accepted records, the next offset, whether the place is proven."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any

from aiokafka import TopicPartition as KafkaPartition

from libs.common.log.reader import Gap, Position, Record, TopicPartition, contiguous


class Proof(Enum):
    """Whether the consumer is at the right place in Kafka."""

    NONE = auto()  # unknown: a seek is needed
    HINT = auto()  # it is one before the hint; the record there must come before the expected one
    BEGINNING = auto()  # it is at the beginning; if the first record comes after the expected one, Kafka lost that
    READING = auto()  # it is at the right place


class PartitionReader:
    """The state of reading one partition. It does no I/O.

    `records` are the accepted records; they stay until the caller's position has passed them. `next` is the offset
    (ours) after them, and `native` the offset (Kafka's) to read next. While `next` is below `older_until`, records come
    from PostgreSQL, which still has them under the same offsets.
    """

    def __init__(self, tp: TopicPartition, partition: KafkaPartition, base: int = 0) -> None:
        """`base` is added to Kafka's offsets if the topic is written to Kafka directly."""
        self.tp = tp
        self.partition = partition
        self._base = base
        self.lock = asyncio.Lock()
        self.proof = Proof.NONE
        self.records: list[Record] = []
        self.next = 0
        self.native = 0
        self.older_until = 0
        #: The epoch of `next`; and the position before it, if a higher epoch led away from there.
        self.epoch = 0
        self.before_epoch: Position | None = None
        self.gap: Gap | None = None
        #: The last missing offset that was searched for from the beginning.
        self.searched: int | None = None
        #: When a caller last asked for records (time.monotonic).
        self.requested_at = 0.0

    def is_unused(self, since: float) -> bool:
        """Whether no caller has asked for records since then."""
        return self.requested_at < since and not self.lock.locked()

    def seek(self, position: Position, native: int, proof: Proof) -> None:
        """Drop what was read. The caller wants `position`, and Kafka is read from `native` on."""
        self.records = []
        self.next = self.older_until = position.next
        self.epoch, self.before_epoch = position.epoch, None
        self.native = native
        self.proof = proof

    def forget(self) -> None:
        """Drop what was read. The next fetch must seek."""
        self.records = []
        self.proof = Proof.NONE

    def is_at(self, position: Position) -> bool:
        """Whether the records here, and then those read next, follow `position` exactly. Drops records before it."""
        if self.proof is not Proof.NONE and self.before_epoch is not None and position[:2] == self.before_epoch[:2]:
            return True
        first = self.records[0].offset if self.records else self.next
        if self.proof is Proof.NONE or position.epoch != self.epoch or not first <= position.next <= self.next:
            return False
        self.before_epoch = None
        del self.records[: position.next - first]
        return True

    def ahead_of(self, position: Position) -> tuple[int, int] | None:
        """Kafka's offset of `position`, and how many records come from PostgreSQL before it. None if unknown."""
        first = self.records[0].offset if self.records else self.next
        if self.proof is not Proof.READING or position.epoch != self.epoch or not first <= position.next <= self.next:
            return None
        if position.next < self.older_until:
            return self.native, self.older_until - position.next
        return (self.records[position.next - first].native if position.next < self.next else self.native), 0

    @property
    def reads_older(self) -> bool:
        return self.next < self.older_until

    def take(self, messages: Sequence[Any]) -> Gap | None:
        """Accept messages from Kafka. Returns the gap, if a new one was found.

        Raises WrongPlace if the messages prove the place wrong. Also raises it the first time a record is missing,
        because in a recreated topic that record may come before this place.
        """
        found = [as_record(self.tp, message, self._base) for message in messages]
        ahead = found[0].offset - self.next
        if (self.proof is Proof.HINT and ahead >= 0) or (self.proof is Proof.BEGINNING and ahead > 0):
            raise WrongPlace(found[0])
        self.proof = Proof.READING
        self.native = found[-1].native + 1
        gap = self._accept_epochs(found)
        if gap and self.searched != gap.expected:
            self.searched, self.gap = gap.expected, None
            raise WrongPlace(found[-1])
        return gap

    def _accept_epochs(self, found: Sequence[Record]) -> Gap | None:
        """Accept records across epochs. If a higher epoch leads back, first lets the caller take all `records`."""
        change = next((at for at, each in enumerate(found) if (each.epoch or 0) > self.epoch), len(found))
        gap = self.accept(found[:change]) if change else None
        if change == len(found) or found[change].since > self.next:
            return gap if change == len(found) else self.accept(found[change:]) or gap
        if self.records:
            self.native = found[change].native
            return gap
        self.before_epoch = Position(self.epoch, self.next)
        self.epoch, self.next = found[change].epoch or 0, found[change].since
        self.older_until = self.next
        self.gap = None
        return self._accept_epochs(found[change:])

    def accept(self, found: Sequence[Record]) -> Gap | None:
        """Accept the records that follow without a gap. Returns the gap, if a new one was found."""
        accepted, gap = contiguous(Position(self.epoch, self.next), found)
        if accepted:
            self.records += accepted
            self.next = accepted[-1].offset + 1
            self.gap = None
        return gap if gap and self.miss(gap.found) else None

    def miss(self, found: int) -> bool:
        """Note that the next record is missing and `found` came instead. Returns whether this is a new gap."""
        if self.gap is not None:
            return False
        self.gap = Gap(self.next, found)
        return True


class WrongPlace(Exception):
    """The record found at this place comes after the expected one."""

    def __init__(self, first: Record) -> None:
        super().__init__(f"{first.offset} was found")
        self.first = first


def as_record(tp: TopicPartition, message: Any, base: int = 0) -> Record:
    """A record with our offset: from the forwarder's header or, if it was written directly, Kafka's own plus `base`."""
    offset, epoch, since = message.offset + base, None, 0
    for name, value in message.headers:
        if name == "offset":
            offset = int(value)
        elif name == "epoch":
            epoch = int(value)
        elif name == "since":
            since = int(value)
    appended_at = datetime.fromtimestamp(message.timestamp / 1000, UTC)
    return Record(
        *tp, offset, (message.key or b"").decode(), message.value or b"", appended_at, message.offset, epoch, since
    )
