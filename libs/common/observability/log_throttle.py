"""What would be logged many times a second in an outage, once a minute for each cause, with how often it was."""

import logging
import re
import time

import structlog

EVERY = 60.0
"""Seconds between two lines of one cause."""
_MOST = 1_000
_NUMBERS = re.compile(r"\d+")

#: What Kafka's client says, in our words, by how its message begins; several of its messages have one cause.
KAFKA = (
    (("Unable connect to", "Unable to connect"), "a Kafka broker cannot be reached"),
    (("Unable to update metadata", "Unable to request metadata", "No broker metadata"),
     "no Kafka broker says where the topics are"),
    (("Topic ", "No partition metadata", "Error fetching metadata"), "a Kafka topic is missing, or not for us"),
    (("Failed fetch", "Unexpected error while fetching", "Unknown error fetching", "Attempt to fetch"),
     "Kafka cannot be read"),
    (("Got error produce", "Could not send", "Cannot send", "Unexpected error during InitProducerId",
      "Received unknown topic"), "Kafka does not take records"),
)  # fmt: skip
OTLP = ((("",), "the collector of traces does not take spans"),)


class LogThrottle:
    """Says when a line is due again. Not for other threads than one at a time."""

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._said: dict[object, float] = {}
        self._times: dict[object, int] = {}

    def due(self, cause: object) -> int | None:
        """How often `cause` has come since its last line, this time included; None while that was less than `every` ago."""
        now = time.monotonic()
        times = self._times[cause] = self._times.get(cause, 0) + 1
        if now - self._said.get(cause, float("-inf")) < self._every:
            return None
        if len(self._said) >= _MOST:
            self._said.clear()
            self._times.clear()
        self._said[cause], self._times[cause] = now, 0
        return times


class Library(logging.Handler):
    """Takes the log of a library that repeats itself: one line a minute for each cause, in the words of `words`."""

    def __init__(self, words: tuple[tuple[tuple[str, ...], str], ...], every: float = EVERY) -> None:
        super().__init__()
        self._words = words
        self._throttle = LogThrottle(every)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            said = record.getMessage()
            cause = next((ours for beginnings, ours in self._words if said.startswith(beginnings)), None)
            if (times := self._throttle.due(cause or _NUMBERS.sub("", str(record.msg)))) is not None:
                error = record.exc_info[1] if record.exc_info else None
                more = {"said": said[:300]} if cause else {}
                more |= {"error": repr(error)} if error else {}
                structlog.get_logger(component=record.name).log(
                    record.levelno, cause or said[:300], times=times, **more
                )
        except Exception:
            self.handleError(record)


def quieten(every: float = EVERY) -> None:
    """Let Kafka's client and the exporter of spans speak once a minute for each cause. Call once, after the logs are set up."""
    for name, words in (("aiokafka", KAFKA), ("opentelemetry", OTLP)):
        library = logging.getLogger(name)
        library.handlers[:] = [Library(words, every)]
        library.propagate = False
        library.setLevel(logging.WARNING)
