"""Ingest's metrics: events by result, requests answered 503, what waits and what is held in memory."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from libs.common.errors import Unavailable
from libs.common.fold import outage
from services.ingest.build_records import EventResult


class Metrics:
    """Looks up labelled children once, because every request needs them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        events = Counter(
            "rapport_ingest_events",
            "Events answered, by outcome: stored (ok, or with a warning), or rejected.",
            ["outcome"],
            registry=registry,
        )
        self._ok, self._warning, self._rejected = (events.labels(each) for each in ("ok", "warning", "rejected"))
        self._shed = Counter(
            "rapport_ingest_shed",
            "Requests answered 503: nothing of them may be taken for stored. By cause.",
            ["cause"],
            registry=registry,
        )
        self._waiting = Gauge("rapport_ingest_waiting_events", "Events that wait to be stored.", registry=registry)
        self._most = Gauge("rapport_ingest_waiting_limit", "Events that may wait at most.", registry=registry)
        self._held = Gauge("rapport_ingest_held_bytes", "What all requests together hold.", registry=registry)
        self._held_most = Gauge("rapport_ingest_held_limit_bytes", "What they may hold at most.", registry=registry)
        for cause in outage.REASONS:  # so that the first one is an increase
            self._shed.labels(cause)

    def watch(self, waiting: Callable[[], int], most: int, held: Callable[[], int], most_held: int) -> None:
        """Read these whenever the metrics are read."""
        self._waiting.set_function(waiting)
        self._most.set(most)
        self._held.set_function(held)
        self._held_most.set(most_held)

    def answered(self, results: Sequence[EventResult], rejected: int) -> int:
        """The events of one request; all but the rejected ones are in the log. Returns how many have a warning."""
        warned = sum(result.status == "warning" for result in results)
        if good := len(results) - warned - rejected:
            self._ok.inc(good)
        if warned:
            self._warning.inc(warned)
        if rejected:
            self._rejected.inc(rejected)
        return warned

    def malformed(self) -> None:
        """A body that could not be read at all."""
        self._rejected.inc()

    def shed(self, error: Unavailable) -> None:
        """A request that could not be stored."""
        self._shed.labels(outage.cause(error)).inc()
