"""Totals: what a window holds for one customer, kept event by event. Pure functions.

An event is in a window until the window's span has passed since it happened. Times are microseconds since 1970. Numbers
are kept in millionths, so that what was added can be taken away again exactly.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

from libs.common.contracts.profile import CONTRACT
from libs.common.contracts.records import display_name
from libs.common.rules.cel.tokens import ConditionError
from libs.common.rules.cel.windows import Window
from services.profile.domain.state import Total, moment

_MILLIONTHS = 10**6
#: A larger number is left out of sums.
_LARGEST = Decimal(10) ** 15
_MICROSECOND = timedelta(microseconds=1)
#: So many values of a property are told apart, and so long ones (as JSON).
VALUES = 100
LONGEST_VALUE = 200


#: Facts that profile decides itself: no window counts them, because they follow from windows.
UNCOUNTED = frozenset(display_name(fact.TYPE) for fact in CONTRACT.facts)


def refuse_uncounted(source: str, windows: Iterable[Window]) -> None:
    """Raises ConditionError for a window over profile's own facts."""
    for window in windows:
        if window.event in UNCOUNTED:
            message = f"{window.event} is no event of an app and no fact of another service: no window counts it"
            raise ConditionError.at(message, source, max(source.find(window.event) - 1, 0))


class Occurrence(NamedTuple):
    """An event that a window counts: when; its property as a number in millionths, and as JSON text, if it has one and the
    window asks for it."""

    at: int
    number: int | None = None
    value: str | None = None


def occurrence(window: Window, at: int, properties: Mapping[str, Any]) -> Occurrence:
    """What a window counts of an event."""
    if window.of is None or (sent := properties.get(window.of)) is None:
        return Occurrence(at)
    if window.function in ("sum", "average"):
        return Occurrence(at, number=millionths(sent))
    text = None if isinstance(sent, dict | list) else msgspec.json.encode(sent).decode()
    return Occurrence(at, value=text if text is not None and len(text) <= LONGEST_VALUE else None)


def millionths(value: Any) -> int | None:
    """A property's value as a number in millionths; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    if not number.is_finite() or number.copy_abs() > _LARGEST:  # abs() would raise on huge ones
        return None
    return int(number * _MILLIONTHS)


def micros_of(span: timedelta) -> int:
    return span // _MICROSECOND


def added(total: Total, occurrence: Occurrence) -> Total:
    """With an event more. One that came too late for the window changes nothing."""
    at, number, value = occurrence
    if total.until is not None and at <= total.until:
        return total
    return Total(
        total.count + 1,
        total.numbers + (number is not None),
        total.sum + (number or 0),
        at if total.oldest is None else min(at, total.oldest),
        at if total.newest is None else max(at, total.newest),
        total.until,
        _counted(total.values, value, +1),
    )


def arrived(window: Window, total: Total, occurrence: Occurrence, now: int) -> Total:
    """With an event that came just now. If it has left the window already it does not count, nor does what happened before
    it: so what is taken away later was added once."""
    if window.span is None or occurrence.at > now - micros_of(window.span):
        return added(total, occurrence)
    if total.oldest is not None and total.oldest <= occurrence.at:
        return added(total, occurrence)  # it leaves together with the oldest, whose timer is due
    until = occurrence.at if total.until is None else max(total.until, occurrence.at)
    return msgspec.structs.replace(total, until=until)


def moved(total: Total, until: int, events: Iterable[Occurrence]) -> Total:
    """Without what happened up to `until`. `events` are those of the window from its oldest on, in the order of their times,
    at least until one has happened later."""
    count, numbers, sum, values, oldest = total.count, total.numbers, total.sum, total.values, None
    for at, number, value in events:
        if at > until:
            oldest = at
            break
        count, numbers, sum = count - 1, numbers - (number is not None), sum - (number or 0)
        values = _counted(values, value, -1)
    return Total(count, numbers, sum, oldest, total.newest if count else None, until, values)


def leaves_at(window: Window, total: Total) -> int | None:
    """When the oldest event leaves the window; None if none will."""
    return None if window.span is None or total.oldest is None else total.oldest + micros_of(window.span)


def value(window: Window, total: Total) -> Any:
    """What a condition sees."""
    match window.function:
        case "count":
            return total.count
        case "sum":
            return total.sum / _MILLIONTHS
        case "average":
            return total.sum / _MILLIONTHS / total.numbers if total.numbers else None
        case "first":
            return None if total.oldest is None else moment(total.oldest).isoformat()
        case "last":
            return None if total.newest is None else moment(total.newest).isoformat()
        case "distinct":
            return len(total.values)
        case "most_frequent":
            most = min(total.values, key=lambda value: (-total.values[value], value), default=None)
            return None if most is None else msgspec.json.decode(most)


def _counted(values: dict[str, int], value: str | None, by: int) -> dict[str, int]:
    """With a value once more, or once less. A value that is new when there are VALUES already is left out."""
    if value is None or (value not in values and (by < 0 or len(values) >= VALUES)):
        return values
    counted = {**values, value: values.get(value, 0) + by}
    if not counted[value]:
        del counted[value]
    return counted
