"""What keeps a fold's partitions from moving: logged once a minute for each cause, counted, and shown in /readyz."""

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
    """A partition stopped at a record that can neither be applied nor skipped. `about` describes the record."""

    tp: TopicPartition
    about: Mapping[str, Any]
    error: str
    since: float

    def sentence(self) -> str:
        """A sentence for operators: which partition stopped where, why, and what to do."""
        record = f"record {self.about.get('record_id', '?')} ({self.about.get('type', 'of unknown type')})"
        minutes = (time.monotonic() - self.since) / 60
        return (
            f"partition {self.tp} has been stopped at offset {self.about.get('offset', '?')} for {minutes:.0f} min: {record} fails"
            f" with {self.error[:200]} and must not be skipped; see docs/operations.md#a-partition-has-stopped"
        )


class FailureLog:
    """The failures of one fold. `pauses` counts them by cause; `stopped` holds the partitions that need an operator."""

    def __init__(self) -> None:
        self.pauses: Counter[str] = Counter()
        self.stopped: dict[TopicPartition, Stopped] = {}
        self._suspect: dict[TopicPartition, Record] = {}
        self._throttle = LogThrottle()

    def failed_alone(self, tp: TopicPartition, record: Record) -> None:
        """Note that `record` failed in its own transaction."""
        self._suspect[tp] = record

    def moved(self, tp: TopicPartition) -> None:
        """Note that the partition has advanced."""
        if self._suspect or self.stopped:
            self._suspect.pop(tp, None)
            if self.stopped.pop(tp, None):
                logger.info("a stopped partition moves again", topic_partition=str(tp))

    def paused(self, tp: TopicPartition, error: Exception, pause: float) -> None:
        """Note that the partition failed with `error` and is tried again after `pause` seconds."""
        record = self._suspect.pop(tp, None)
        if is_poison(error):
            self.pauses["record"] += 1
            details = about(record) if record else {}
            before = self.stopped.get(tp)
            since = before.since if before else time.monotonic()
            self.stopped[tp] = Stopped(tp, details, f"{type(error).__name__}: {error}", since)
            if (times := self._throttle.due((tp, record and record.offset))) is not None:
                logger.error(
                    "fold stopped at a record",
                    topic_partition=str(tp),
                    **details,
                    error=repr(error),
                    times=times,
                    exc_info=error,
                )
            return
        cause = outage.cause(error)
        self.pauses[cause] += 1
        if (times := self._throttle.due(cause)) is not None:
            reason, pause = outage.REASONS[cause], round(pause, 2)
            logger.warning(
                "fold paused", topic_partition=str(tp), reason=reason, error=repr(error), pause=pause, times=times
            )

    def lost(self, error: Exception) -> None:
        """Note that the session that holds the locks ended. A new session takes the partitions again."""
        if (times := self._throttle.due("session")) is not None:
            reason = outage.REASONS[outage.cause(error)]
            logger.warning("partitions lost", reason=reason, error=repr(error), times=times)

    def dead_lettered(self, tp: TopicPartition, record: Record, error: Exception) -> None:
        """Log a dead letter. Never throttled, because an operator has to look at each."""
        logger.error("record dead-lettered", topic_partition=str(tp), **about(record), error=repr(error)[:500])


def about(record: Record) -> dict[str, Any]:
    """The log fields of a record, as far as it can be read: its place, ids and customer.

    The key is included only in the journal, where it is our customer id. Elsewhere it is often an e-mail address.
    """
    details: dict[str, Any] = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    if record.topic == JOURNAL:
        details["customer"] = record.key
    try:
        envelope = decode(record.value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return details
    details |= {"record_id": envelope.id, "type": envelope.type, "causation_id": envelope.causationid}
    if envelope.subject:
        details["customer"] = envelope.subject
    if envelope.traceparent:
        details["traceparent"] = envelope.traceparent
    return details
