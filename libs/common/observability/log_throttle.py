"""The log throttle: writes a recurring log line once a minute for each cause, with the number of times."""

import logging
import re
import time

import structlog

EVERY = 60.0
"""Seconds between two lines of one cause."""
_MAX_CAUSES = 1_000
_NUMBERS = re.compile(r"\d+")

#: The messages of Kafka's client, by how they begin, and our words for them. Several messages have one cause.
KAFKA = (
    (("Unable connect to", "Unable to connect"), "a Kafka broker cannot be reached"),
    (("Unable to update metadata", "Unable to request metadata", "No broker metadata"),
     "no Kafka broker says where the topics are"),
    (("Topic ", "No partition metadata", "Error fetching metadata"), "a Kafka topic is missing or not accessible"),
    (("Failed fetch", "Unexpected error while fetching", "Unknown error fetching", "Attempt to fetch"),
     "Kafka cannot be read"),
    (("Got error produce", "Could not send", "Cannot send", "Unexpected error during InitProducerId",
      "Received unknown topic"), "Kafka does not accept records"),
)  # fmt: skip
OTLP = ((("",), "the trace collector does not accept spans"),)


class LogThrottle:
    """Decides when a line is due again. Not thread-safe."""

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._logged_at: dict[object, float] = {}
        self._counts: dict[object, int] = {}

    def due(self, cause: object) -> int | None:
        """Count `cause`. If a line is due, return the count since the last line; else None."""
        now = time.monotonic()
        times = self._counts[cause] = self._counts.get(cause, 0) + 1
        if now - self._logged_at.get(cause, float("-inf")) < self._every:
            return None
        if len(self._logged_at) >= _MAX_CAUSES:
            self._logged_at.clear()
            self._counts.clear()
        self._logged_at[cause], self._counts[cause] = now, 0
        return times


class LibraryLog(logging.Handler):
    """Throttles a library's log, and translates its messages by `words`."""

    def __init__(self, words: tuple[tuple[tuple[str, ...], str], ...], every: float = EVERY) -> None:
        super().__init__()
        self._words = words
        self._throttle = LogThrottle(every)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
            cause = next((ours for beginnings, ours in self._words if message.startswith(beginnings)), None)
            if (times := self._throttle.due(cause or _NUMBERS.sub("", str(record.msg)))) is not None:
                error = record.exc_info[1] if record.exc_info else None
                fields = {"message": message[:300]} if cause else {}
                fields |= {"error": repr(error)} if error else {}
                structlog.get_logger(component=record.name).log(
                    record.levelno, cause or message[:300], times=times, **fields
                )
        except Exception:
            self.handleError(record)


def throttle_libraries(every: float = EVERY) -> None:
    """Throttle the logs of Kafka's client and of the span exporter. Call once, after the logs are set up."""
    for name, words in (("aiokafka", KAFKA), ("opentelemetry", OTLP)):
        library = logging.getLogger(name)
        library.handlers[:] = [LibraryLog(words, every)]
        library.propagate = False
        library.setLevel(logging.WARNING)
