"""A customer's state in triggers: since when they have opted out, and when messages were sent to them."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

#: Days of which the number of messages is kept, the newest.
DAYS = 60
#: Times of messages kept for each hook, the newest; more where its cap counts further.
TIMES = 50


class Recipient(msgspec.Struct, omit_defaults=True):
    """A customer as a recipient of messages.

    `off_since` is when they opted out. `sent` holds, by hook, the times of the events that its messages follow from, in
    milliseconds since 1970, sorted. `days` counts the messages of all hooks by the customer's local day. `consent` is what
    they allow (`contracts.consent`) as of its last change: delivery asks it once more, as it asks `deselected`, which says
    that the business does not market to them.
    """

    off_since: datetime | None = None
    sent: dict[str, list[int]] = {}
    days: dict[str, int] = {}
    consent: dict[str, bool] = {}
    deselected: bool = False


def milliseconds(time: datetime) -> int:
    """Since 1970, rounded down."""
    return int(time.timestamp() * 1000)


def reached(sent: Iterable[int], time: int, count: int, period: timedelta) -> bool:
    """Whether one more message at `time` would make more than `count` within some span shorter than `period`.

    It looks before and after `time`, as events may come late: no span ever holds more, whatever the order of events.
    """
    length = int(period.total_seconds() * 1000)
    times = sorted([*sent, time])
    return any(
        last - first < length and first <= time <= last for first, last in zip(times, times[count:], strict=False)
    )
