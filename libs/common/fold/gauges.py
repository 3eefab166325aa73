"""The readiness and metrics of a fold and its forwarder: measured once, for /readyz and /metrics."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from libs.common.contracts.registry import written_by
from libs.common.fold.loop import Fold
from libs.common.fold.outage import REASONS
from libs.common.log.reader import Gap, Lag, TopicPartition
from libs.common.observability.telemetry import Meter, Totals
from libs.common.runtime.component import Check, ReaderLag

if TYPE_CHECKING:
    from libs.common.log.forward import Forwarder

#: Seconds to wait for the log's lag. Shorter than a check's own timeout, so that the answer can name the cause.
LAG_TIMEOUT = 1.2
_WAITING = 'SELECT count(*) FROM "{service}".dead_letters WHERE outcome IS NULL'


class Gauges:
    """Measures one consumer service. `check` gives its readiness, and sets the metrics."""

    def __init__(
        self, meter: Meter, fold: Fold, forwarder: "Forwarder | None", topics: Iterable[str], totals: Totals
    ) -> None:
        self._meter = meter
        self._fold = fold
        self._forwarder = forwarder
        self._topics = list(topics)
        self._totals = totals

    async def check(self) -> Check:
        """Whether the log is complete, how far each reader is behind, and what needs an operator."""
        fold, forwarder = self._fold, self._forwarder
        self._count()
        try:
            async with asyncio.timeout(LAG_TIMEOUT):
                lags = await fold.lag()
        except TimeoutError:
            server = "Kafka" if fold.database.settings.log == "kafka" else "PostgreSQL"
            detail = f"{server} did not give the ends of the log within {LAG_TIMEOUT:g} s"
            return Check(False, detail, (), self._concerns())
        readers = [*self._behind("fold", lags)]
        self._show_gaps("fold", fold.reader.gaps)
        self._show_stopped()
        async with fold.database.connection() as connection:
            waiting = await connection.fetchval(_WAITING.format(service=fold.service))
        self._meter.dead_letters_waiting.set(waiting)
        concerns = self._concerns()
        if forwarder is not None:
            forwarding = await forwarder.check()
            readers += self._behind("forwarder", await forwarder.lag())
            if not forwarding.ok:
                return Check(False, forwarding.detail, tuple(readers), concerns)
        if gaps := fold.reader.gaps:
            tp, gap = next(iter(gaps.items()))
            detail = f"records {gap.expected} to {gap.found - 1} of {tp} are missing from the log: rewind its forwarder"
            return Check(False, detail, tuple(readers), concerns)
        return Check(True, _waiting_text(waiting), tuple(readers), concerns)

    def _concerns(self) -> tuple[str, ...]:
        return tuple(stopped.sentence() for stopped in self._fold.failure_log.stopped.values())

    def _behind(self, reader: str, lags: Mapping[TopicPartition, Lag]) -> list[ReaderLag]:
        for tp, lag in lags.items():
            self._meter.lag(reader, tp.topic, tp.partition, lag.records, lag.seconds)
        behind = []
        for topic in sorted({tp.topic for tp in lags}):
            of_topic = [lag for tp, lag in lags.items() if tp.topic == topic]
            records, seconds = sum(lag.records for lag in of_topic), max(lag.seconds for lag in of_topic)
            behind.append(ReaderLag(reader, topic, records, seconds))
        return behind

    def _show_gaps(self, reader: str, gaps: Mapping[TopicPartition, Gap]) -> None:
        for tp in self._fold.tps:
            gap = gaps.get(tp)
            missing = gap.found - gap.expected if gap else 0
            self._meter.missing.labels(reader, tp.topic, str(tp.partition)).set(missing)

    def _show_stopped(self) -> None:
        owned = self._fold.ownership.owned
        for topic in self._topics:
            self._meter.owned.labels("fold", topic).set(sum(tp.topic == topic for tp in owned))
        for tp in self._fold.tps:
            stopped = tp in self._fold.failure_log.stopped
            self._meter.stopped.labels("fold", tp.topic, str(tp.partition)).set(stopped)

    def _count(self) -> None:
        fold, meter = self._fold, self._meter
        label = self._topics[0]
        self._totals.bring(meter.folded.labels("fold", label), fold.folded)
        self._totals.bring(meter.dead_letters.labels("fold", label), fold.dead_lettered)
        self._totals.bring(meter.suppressed, getattr(fold.handler, "suppressed", 0))
        for cause in (
            *REASONS,
            "record",
        ):  # also causes that have not occurred, so that the first one shows as an increase
            self._totals.bring(meter.unavailable.labels("fold", cause), fold.failure_log.pauses[cause])
        if self._forwarder is not None:
            topic = written_by(fold.service)
            self._totals.bring(meter.forwarded.labels(topic), self._forwarder.forwarded)


def _waiting_text(waiting: int) -> str:
    return f"{waiting:,} dead letter{'s wait' if waiting != 1 else ' waits'}" if waiting else ""
