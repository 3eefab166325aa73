"""Totals: what a window holds for one customer, kept event by event. Plain data and pure functions.

An event is in a window until the window's span has passed since it happened. Times are microseconds since 1970. Numbers
are kept in millionths, so that what was added can be taken away again exactly.
"""

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from libs.common.rules.cel.windows import Window
from services.profile.domain.state import Total, moment

_MILLIONTHS = 10**6
#: A larger number is left out of sums.
_LARGEST = Decimal(10) ** 15
_MICROSECOND = timedelta(microseconds=1)


class Occurrence(NamedTuple):
    """An event that a window counts: when, and its number in millionths, if it has one."""

    at: int
    number: int | None = None


def millionths(value: Any) -> int | None:
    """A property's value as a number in millionths; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return int(number * _MILLIONTHS) if number.is_finite() and abs(number) <= _LARGEST else None


def micros_of(span: timedelta) -> int:
    return span // _MICROSECOND


def added(total: Total, occurrence: Occurrence) -> Total:
    """With an event more. One that came too late for the window changes nothing."""
    at, number = occurrence
    if total.until is not None and at <= total.until:
        return total
    return Total(
        total.count + 1,
        total.numbers + (number is not None),
        total.sum + (number or 0),
        at if total.oldest is None else min(at, total.oldest),
        at if total.newest is None else max(at, total.newest),
        total.until,
    )


def total_of(occurrences: Iterable[Occurrence], until: int | None) -> Total:
    """The total of all that happened after `until`."""
    total = Total(until=until)
    for occurrence in occurrences:
        total = added(total, occurrence)
    return total


def moved(total: Total, until: int, events: Iterable[Occurrence]) -> Total:
    """Without what happened up to `until`. `events` are those of the window from its oldest on, in the order of their times,
    at least until one has happened later."""
    count, numbers, sum, oldest = total.count, total.numbers, total.sum, None
    for at, number in events:
        if at > until:
            oldest = at
            break
        count, numbers, sum = count - 1, numbers - (number is not None), sum - (number or 0)
    return Total(count, numbers, sum, oldest, total.newest if count else None, until)


def leaves_at(window: Window, total: Total) -> int | None:
    """When the oldest event leaves the window; None if none will."""
    return None if window.span is None or total.oldest is None else total.oldest + micros_of(window.span)


def value(window: Window, total: Total) -> int | float | str | None:
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
