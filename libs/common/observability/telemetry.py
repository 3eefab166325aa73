"""A service's logs (JSON, on stdout) and Prometheus metrics.

Each line of the log is a JSON object with `ts`, `level`, `event` and `service`; inside a request, also `request_id` and
`traceparent`. Never log each event. Look up a metric's labelled child (`meter.folded.labels(...)`) once, not each time.
"""

import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from structlog.typing import EventDict, Processor, WrappedLogger

from libs.common.observability.log_throttle import throttle_libraries

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RequestContext(NamedTuple):
    """The current request. `traceparent` is W3C Trace Context; pass it on with what follows from the request."""

    request_id: str
    traceparent: str


_request: ContextVar[RequestContext | None] = ContextVar("rapport_request", default=None)


def current_request() -> RequestContext | None:
    """The request that this task answers, if any."""
    return _request.get()


def current_traceparent() -> str | None:
    """The `traceparent` of the request that this task answers, if any."""
    return None if (request := _request.get()) is None else request.traceparent


def enter_request(context: RequestContext) -> None:
    """Make `context` the current one for this task and those it starts."""
    _request.set(context)


def log(name: str) -> "structlog.stdlib.BoundLogger":
    """A logger: `log("fold").warning("a sentence", partition=3)`. It can be created before `configure_logs`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(component=name)
    return logger


def configure_logs(service: str, level: str = "info") -> None:
    """Send all logs of this process to stdout as JSON, also those of libraries. Call once, before serving."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _with_service(service),
        _with_request,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _Stdout()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _without_colours, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_to_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # it logs a stack each second in an outage
    for noisy in ("httpx", "httpcore", "alembic", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(logging.getLevelName(level.upper()), logging.WARNING))
    throttle_libraries()


class _Stdout(logging.Handler):
    """Writes to the current `sys.stdout`, even if it was replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stdout.write(self.format(record) + "\n")
            sys.stdout.flush()
        except Exception:
            self.handleError(record)


def _with_service(service: str) -> Processor:
    def add(_: WrappedLogger, __: str, entry: EventDict) -> EventDict:
        entry["service"] = service
        return entry

    return add


def _with_request(_: WrappedLogger, __: str, entry: EventDict) -> EventDict:
    if (request := _request.get()) is not None:
        entry.setdefault("request_id", request.request_id)
        entry.setdefault("traceparent", request.traceparent)
    return entry


def _without_colours(_: WrappedLogger, __: str, entry: EventDict) -> EventDict:
    entry.pop("color_message", None)  # uvicorn's second copy of its message
    return entry


def _to_json(entry: Any, **_: Any) -> str:
    return msgspec.json.encode(entry, enc_hook=str).decode()


class Totals:
    """Raises Prometheus counters to totals that other code counts, so that no label is looked up for each event."""

    def __init__(self) -> None:
        self._known: dict[Counter, float] = {}

    def bring(self, counter: Counter, total: float) -> None:
        """Raise the counter by the growth of `total` since the last call."""
        counter.inc(total - self._known.get(counter, 0.0))
        self._known[counter] = total


class Meter:
    """All metrics of one service. Each service has its own registry, so several fit into one process."""

    def __init__(self, service: str) -> None:
        self.service = service
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

        self.http_requests = Counter(
            "rapport_http_requests",
            "Requests answered, by route template, method and class of status (2xx).",
            ["route", "method", "status"],
            registry=registry,
        )
        self.http_seconds = Histogram(
            "rapport_http_request_seconds",
            "Time from a request's first byte to the end of its answer.",
            ["route", "method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.lag_records = Gauge(
            "rapport_lag_records",
            "Unread records of a partition, by reader.",
            ["reader", "topic", "partition"],
            registry=registry,
        )
        self.lag_seconds = Gauge(
            "rapport_lag_seconds",
            "Age of the oldest unread record of a partition, by reader.",
            ["reader", "topic", "partition"],
            registry=registry,
        )
        self.folded = Counter(
            "rapport_folded_records", "Records applied to state.", ["reader", "topic"], registry=registry
        )
        self.dead_letters = Counter(
            "rapport_dead_letters", "Records that could not be applied.", ["reader", "topic"], registry=registry
        )
        self.dead_letters_waiting = Gauge(
            "rapport_dead_letters_waiting",
            "Dead letters that have not been replayed or discarded yet.",
            registry=registry,
        )
        self.missing = Gauge(
            "rapport_gap_records",
            "Records missing from the log at a reader's position; normally 0.",
            ["reader", "topic", "partition"],
            registry=registry,
        )
        self.stopped = Gauge(
            "rapport_partition_stopped",
            "1 while a partition is stopped at a record that can neither be applied nor skipped.",
            ["reader", "topic", "partition"],
            registry=registry,
        )
        self.owned = Gauge(
            "rapport_partitions_owned", "Partitions that this process reads.", ["reader", "topic"], registry=registry
        )
        self.suppressed = Counter(
            "rapport_suppressed_records",
            "Records on which nothing was decided because they are too deep below an event.",
            registry=registry,
        )
        self.unavailable = Counter(
            "rapport_unavailable",
            "Pauses of work because something was unavailable, by cause.",
            ["part", "cause"],
            registry=registry,
        )
        self.ready = Gauge(
            "rapport_component_ready",
            "1 while a component of this process can do its work, as in /readyz.",
            ["component"],
            registry=registry,
        )
        self.clock_skew = Gauge(
            "rapport_clock_skew_seconds",
            "Seconds that this machine's clock is ahead of PostgreSQL's.",
            registry=registry,
        )
        self.forwarded = Counter("rapport_forwarded_records", "Records sent to Kafka.", ["topic"], registry=registry)
        self.pool = Gauge(
            "rapport_pool_connections",
            "PostgreSQL connections of this process: open, idle, and the maximum.",
            ["state"],
            registry=registry,
        )

    def lag(self, reader: str, topic: str, partition: int, records: int, seconds: float) -> None:
        """Set how far a reader is behind on one partition."""
        labels = (reader, topic, str(partition))
        self.lag_records.labels(*labels).set(records)
        self.lag_seconds.labels(*labels).set(seconds)

    def watch_pool(self, open_: Callable[[], int], idle: Callable[[], int], most: int) -> None:
        """Measure the pool's size whenever the metrics are read."""
        self.pool.labels("open").set_function(open_)
        self.pool.labels("idle").set_function(idle)
        self.pool.labels("most").set(most)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
