"""One partition as it is read from Kafka: what was accepted, what comes next, how sure we are of where we read."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any

from aiokafka import TopicPartition as KafkaPartition

from libs.common.log.reader import Gap, Position, Record, TopicPartition, contiguous


class Proof(Enum):
    """What is known of the place in Kafka that is read."""

    NONE = auto()  # nothing: it has to be sought
    HINT = auto()  # one before the hint was sought; the record there must lie before the one expected
    BEGINNING = auto()  # the beginning was sought; if it lies after the record expected, Kafka no longer has that
    READING = auto()  # in the right place


class PartitionReader:
    """The state of one partition's reading; does no I/O.

    `records` were accepted, and stay until the caller's position has passed them. `next` is the offset (ours) that is to
    follow them, `native` the offset (Kafka's) that is read next. While `next` is below `older_until`, records come from
    PostgreSQL, which has what Kafka no longer has under the same offsets.
    """

    def __init__(self, tp: TopicPartition, partition: KafkaPartition, base: int = 0) -> None:
        """Where the topic is written to directly, its offsets count on from `base`."""
        self.tp = tp
        self.partition = partition
        self._base = base
        self.lock = asyncio.Lock()
        self.proof = Proof.NONE
        self.records: list[Record] = []
        self.next = 0
        self.native = 0
        self.older_until = 0
        #: Of `next`; and the position that was left for it, when a higher epoch led elsewhere.
        self.epoch = 0
        self.turned: Position | None = None
        self.gap: Gap | None = None
        #: The record that was last missed, and then looked for from the beginning on.
        self.searched: int | None = None
        #: When it was last asked for (time.monotonic).
        self.wanted = 0.0

    def unwanted(self, since: float) -> bool:
        """Whether nobody has asked for it since then."""
        return self.wanted < since and not self.lock.locked()

    def seek(self, position: Position, native: int, proof: Proof) -> None:
        """Forget what was read: `position` is wanted, and Kafka is read from `native` on."""
        self.records = []
        self.next = self.older_until = position.next
        self.epoch, self.turned = position.epoch, None
        self.native = native
        self.proof = proof

    def forget(self) -> None:
        """Free what is held; the place has to be sought again."""
        self.records = []
        self.proof = Proof.NONE

    def is_at(self, position: Position) -> bool:
        """Drop the records that `position` has passed; whether what is here, and then what is read, follows it exactly."""
        if self.proof is not Proof.NONE and self.turned is not None and position[:2] == self.turned[:2]:
            return True
        first = self.records[0].offset if self.records else self.next
        if self.proof is Proof.NONE or position.epoch != self.epoch or not first <= position.next <= self.next:
            return False
        self.turned = None
        del self.records[: position.next - first]
        return True

    def ahead_of(self, position: Position) -> tuple[int, int] | None:
        """Where in Kafka the reading from `position` goes on, and how many records come from PostgreSQL before that.

        None when that is not known.
        """
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
        """Accept what Kafka gave; the gap, if one was met now.

        Raises Elsewhere when this turns out to be the wrong place, and the first time that a record is missing: a topic
        that was made anew has it before the place that we read.
        """
        found = [as_record(self.tp, message, self._base) for message in messages]
        ahead = found[0].offset - self.next
        if (self.proof is Proof.HINT and ahead >= 0) or (self.proof is Proof.BEGINNING and ahead > 0):
            raise Elsewhere(found[0])
        self.proof = Proof.READING
        self.native = found[-1].native + 1
        gap = self._accept_epochs(found)
        if gap and self.searched != gap.expected:
            self.searched, self.gap = gap.expected, None
            raise Elsewhere(found[-1])
        return gap

    def _accept_epochs(self, found: Sequence[Record]) -> Gap | None:
        """Accept what follows; where a higher epoch leads back, only once what was accepted before it has been taken."""
        change = next((at for at, each in enumerate(found) if (each.epoch or 0) > self.epoch), len(found))
        gap = self.accept(found[:change]) if change else None
        if change == len(found) or found[change].since > self.next:
            return gap if change == len(found) else self.accept(found[change:]) or gap
        if self.records:
            self.native = found[change].native
            return gap
        self.turned = Position(self.epoch, self.next)
        self.epoch, self.next = found[change].epoch or 0, found[change].since
        self.older_until = self.next
        self.gap = None
        return self._accept_epochs(found[change:])

    def accept(self, found: Sequence[Record]) -> Gap | None:
        """Accept the records that follow without a gap; the gap, if one was met now."""
        accepted, gap = contiguous(Position(self.epoch, self.next), found)
        if accepted:
            self.records += accepted
            self.next = accepted[-1].offset + 1
            self.gap = None
        return gap if gap and self.miss(gap.found) else None

    def miss(self, found: int) -> bool:
        """The next record is missing, `found` came instead; whether that is news."""
        if self.gap is not None:
            return False
        self.gap = Gap(self.next, found)
        return True


class Elsewhere(Exception):
    """What was found where we looked lies after the record that was to come."""

    def __init__(self, first: Record) -> None:
        super().__init__(f"{first.offset} was found")
        self.first = first


def as_record(tp: TopicPartition, message: Any, base: int = 0) -> Record:
    """A record with our offset: the forwarder's header, or Kafka's own (from `base` on) where it is written to directly."""
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
