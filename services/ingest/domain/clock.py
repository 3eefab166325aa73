"""When an event happened, by our clock: the client's clock is only trusted for differences.

`occurred = received − (sentAt − timestamp)`, Segment's formula, with these exceptions: a skew under 5 s is left
alone (or midnight imports would move into the day before), and so is a timestamp more than a day before `sentAt` (an
import of history). What then lies in the future is brought back to the time of receipt.
"""

from datetime import UTC, datetime, timedelta

SKEW = timedelta(seconds=5)
HISTORY = timedelta(days=1)
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)  # a time in 1970 is a zero, or a number in another unit
_MILLISECONDS = 100_000_000_000  # a larger number is milliseconds since 1970, a smaller one seconds


def parse(value: object) -> datetime:
    """An ISO 8601 string (UTC when it names no zone) or a Unix time in seconds or milliseconds. Raises ValueError."""
    try:
        match value:
            case bool():
                raise ValueError("a boolean is no time")
            case str():
                time = datetime.fromisoformat(value.strip())
                if time.tzinfo is UTC:
                    return time
                return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
            case int() | float():
                return datetime.fromtimestamp(value / 1000 if abs(value) >= _MILLISECONDS else value, UTC)
            case _:
                raise ValueError(f"a time is a string, not {type(value).__name__}")
    except (OverflowError, OSError) as error:
        raise ValueError(f"the time is out of range: {error}") from error


def occurred_at(received_at: datetime, sent_at: datetime | None, stated: object) -> tuple[datetime, str | None]:
    """When the event happened, and a warning when what the client stated could not be used. Total: never fails.

    `stated` is the event's timestamp, else its originalTimestamp; None means now.
    """
    if stated is None:
        return received_at, None
    try:
        original = parse(stated)
    except ValueError:
        return received_at, f"timestamp {str(stated)[:40]!r} is not ISO 8601, the time of receipt is used"
    occurred = _corrected(received_at, sent_at, original)
    if occurred < EARLIEST:
        return received_at, "timestamp lies before 1971, the time of receipt is used"
    if occurred > received_at:
        ahead = occurred - received_at > SKEW
        return received_at, "timestamp lies in the future, the time of receipt is used" if ahead else None
    return occurred, None


def _corrected(received_at: datetime, sent_at: datetime | None, original: datetime) -> datetime:
    if sent_at is None or abs(received_at - sent_at) < SKEW or abs(sent_at - original) > HISTORY:
        return original
    try:
        return received_at - (sent_at - original)
    except OverflowError:
        return original
