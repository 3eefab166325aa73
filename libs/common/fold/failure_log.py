"""The failures that stop a fold's partitions: logged without repetition, counted, and shown in /readyz."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import structlog

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import decode
from libs.common.fold import outage
from libs.common.log.failures import is_poison
from libs.common.log.reader import Record, TopicPartition
from libs.common.observability.log_throttle import LogThrottle

logger = structlog.get_logger()


class Stopped(NamedTuple):
    """A partition at a record that can neither be applied nor skipped (one half of a merge, for example)."""

    tp: TopicPartition
    said: Mapping[str, Any]
    error: str
    since: float

    def sentence(self) -> str:
        """The sentence for operators: which partition stands where, why, and what to do."""
        record = f"record {self.said.get('record_id', '?')} ({self.said.get('type', 'of no known type')})"
        minutes = (time.monotonic() - self.since) / 60
        return (
            f"partition {self.tp} has stood at offset {self.said.get('offset', '?')} for {minutes:.0f} min: {record} fails"
            f" with {self.error[:200]}, and must not be passed over; see docs/operations.md#a-partition-has-stopped"
        )


class FailureLog:
    """The failures of one fold. `pauses` counts them by cause; `stopped` holds the partitions that need an operator."""

    def __init__(self) -> None:
        self.pauses: Counter[str] = Counter()
        self.stopped: dict[TopicPartition, Stopped] = {}
        self._suspect: dict[TopicPartition, Record] = {}
        self._throttle = LogThrottle()

    def failed_alone(self, tp: TopicPartition, record: Record) -> None:
        """`record` failed in a transaction of its own."""
        self._suspect[tp] = record

    def moved(self, tp: TopicPartition) -> None:
        """The partition has advanced."""
        if self._suspect or self.stopped:
            self._suspect.pop(tp, None)
            if self.stopped.pop(tp, None):
                logger.info("a stopped partition moves again", topic_partition=str(tp))

    def paused(self, tp: TopicPartition, error: Exception, pause: float) -> None:
        """The partition will be retried after `pause` seconds."""
        record = self._suspect.pop(tp, None)
        if is_poison(error):
            self.pauses["record"] += 1
            said = about(record) if record else {}
            before = self.stopped.get(tp)
            since = before.since if before else time.monotonic()
            self.stopped[tp] = Stopped(tp, said, f"{type(error).__name__}: {error}", since)
            if (times := self._throttle.due((tp, record and record.offset))) is not None:
                logger.error(
                    "fold stopped at a record",
                    topic_partition=str(tp),
                    **said,
                    error=repr(error),
                    times=times,
                    exc_info=error,
                )
            return
        cause = outage.cause(error)
        self.pauses[cause] += 1
        if (times := self._throttle.due(cause)) is not None:
            reason, pause = outage.WORDS[cause], round(pause, 2)
            logger.warning(
                "fold paused", topic_partition=str(tp), reason=reason, error=repr(error), pause=pause, times=times
            )

    def lost(self, error: Exception) -> None:
        """The session that held the partitions is gone. They are released, and taken again when it is back."""
        if (times := self._throttle.due("session")) is not None:
            reason = outage.WORDS[outage.cause(error)]
            logger.warning("partitions lost", reason=reason, error=repr(error), times=times)

    def dead_lettered(self, tp: TopicPartition, record: Record, error: Exception) -> None:
        """The record became a dead letter. This line is never throttled: an operator has to look at each."""
        logger.error("record dead-lettered", topic_partition=str(tp), **about(record), error=repr(error)[:500])


def about(record: Record) -> dict[str, Any]:
    """The fields of a log line about a record, as far as it can be read: its place, its ids, its customer. It leaves
    out keys that apps chose, because these are often e-mail addresses."""
    said: dict[str, Any] = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    if record.topic == JOURNAL:
        said["customer"] = record.key
    try:
        envelope = decode(record.value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return said
    said |= {"record_id": envelope.id, "type": envelope.type, "causation_id": envelope.causationid}
    if envelope.subject:
        said["customer"] = envelope.subject
    if envelope.traceparent:
        said["traceparent"] = envelope.traceparent
    return said
