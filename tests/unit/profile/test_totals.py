"""A window kept event by event holds what a count over all events would."""

from collections import Counter
from datetime import timedelta
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import Invalid
from libs.common.rules.cel.windows import Window
from services.profile.computed import trait
from services.profile.computed.trait import ComputedTrait
from services.profile.domain.state import Total
from services.profile.segments import segment
from services.profile.segments.segment import Segment
from services.profile.segments.totals import (
    VALUES,
    Occurrence,
    added,
    arrived,
    leaves_at,
    millionths,
    moved,
    occurrence,
    value,
)

SPAN = timedelta(microseconds=100)
WINDOW = Window("count", "A", None, SPAN)
occurrences = st.builds(
    Occurrence,
    st.integers(0, 400),
    st.none() | st.integers(-(10**9), 10**9),
    st.none() | st.sampled_from(['"a"', '"b"', "1"]),
)


def counted(events: list[Occurrence], now: int) -> tuple[object, ...]:
    inside = [event for event in events if event.at > now - 100]
    numbers = [event.number for event in inside if event.number is not None]
    times = [event.at for event in inside]
    values = dict(Counter(event.value for event in inside if event.value is not None))
    return len(inside), len(numbers), sum(numbers), min(times, default=None), max(times, default=None), values


def total_of(events: list[Occurrence], until: int | None) -> Total:
    """What a journal gives."""
    return reduce(added, events, Total(until=until))


def held(total: Total) -> tuple[object, ...]:
    return total.count, total.numbers, total.sum, total.oldest, total.newest, total.values


@given(st.lists(occurrences | st.integers(0, 100), max_size=40))
def test_adding_and_leaving_is_counting(steps: list[Occurrence | int]) -> None:
    """Events come late and out of order, and time passes; the events that left are read from a journal."""
    total, now = Total(), 0
    journal: list[Occurrence] = []
    for step in steps:
        if isinstance(step, int):
            now += step
            total = _without_what_left(total, journal, now)
            assert held(total) == counted(journal, now)
        else:
            journal.append(step)
            total = added(total, step)


@given(st.lists(occurrences | st.integers(0, 100), max_size=40))
def test_what_comes_too_late_for_a_window_never_counts(steps: list[Occurrence | int]) -> None:
    """Also in a window from which nothing has left yet. The timer that takes out what leaves runs before the next event."""
    total, now = Total(), 300
    journal: list[Occurrence] = []
    for step in steps:
        if isinstance(step, int):
            now += step
            total = _without_what_left(total, journal, now)
        else:
            journal.append(step)
            total = arrived(WINDOW, total, step, now)
        assert held(total) == counted(journal, now)


@given(st.lists(st.tuples(occurrences, st.integers(0, 400)), max_size=40))
def test_what_came_too_late_is_not_taken_away(arrivals: list[tuple[Occurrence, int]]) -> None:
    """Whatever the order in which events were received, and although no timer fired in between."""
    total, journal = Total(), []
    for each, received in arrivals:
        journal.append(each)
        total = arrived(WINDOW, total, each, received)
    assert held(_without_what_left(total, journal, 10_000)) == held(Total())


def _without_what_left(total: Total, journal: list[Occurrence], now: int) -> Total:
    leaves = leaves_at(WINDOW, total)
    if leaves is None or leaves > now:
        return total
    oldest = total.oldest or 0
    return moved(total, now - 100, sorted((each for each in journal if each.at >= oldest), key=lambda each: each.at))


@given(st.lists(occurrences, max_size=30), st.integers(0, 500))
def test_a_total_made_from_a_journal_is_the_same(events: list[Occurrence], now: int) -> None:
    assert held(total_of(events, now - 100)) == counted(events, now)


def test_values_as_conditions_see_them() -> None:
    total = total_of([Occurrence(5, millionths("29.33")), Occurrence(7, millionths(0.67)), Occurrence(6)], None)
    seen = {function: value(Window(function, "A", "x"), total) for function in ("count", "sum", "average")}
    assert seen == {"count": 3, "sum": 30.0, "average": 15.0}
    assert value(Window("first", "A"), total) == "1970-01-01T00:00:00.000005+00:00"
    assert value(Window("last", "A"), total) == "1970-01-01T00:00:00.000007+00:00"
    nothing = [value(Window(function, "A", "x"), Total()) for function in ("count", "sum", "average", "first", "last")]
    assert nothing == [0, 0.0, None, None, None]


@pytest.mark.parametrize(
    "sent", ["1e999999999", "-1e999999999", "sNaN", "inf", 10**15 + 1, "x", "", True, None, [], {}]
)
def test_what_is_no_number_or_too_large_is_left_out_of_sums(sent: object) -> None:
    assert millionths(sent) is None


def test_the_values_of_a_property() -> None:
    most, distinct = Window("most_frequent", "A", "x"), Window("distinct", "A", "x")
    sent = ["b", "a", "b", "a", 3, None, {"no": 1}, ["no"], "y" * 500]
    total = total_of([occurrence(most, number, {"x": each}) for number, each in enumerate(sent)], None)
    assert (value(most, total), value(distinct, total), total.count) == ("a", 3, 9)
    assert (value(most, Total()), value(distinct, Total())) == (None, 0)
    many = total_of([occurrence(most, number, {"x": number}) for number in range(2 * VALUES)], None)
    assert (value(most, many), value(distinct, many)) == (0, VALUES)


def test_only_numbers_are_added() -> None:
    odd: list[object] = [True, None, "x", "nan", "Infinity", 1e300, {}, [1], ""]
    assert [millionths(each) for each in odd] == [None] * 9
    assert [millionths(each) for each in (3, 2.5, "1.25", -0.000001)] == [3_000_000, 2_500_000, 1_250_000, -1]


def test_no_window_counts_what_follows_from_windows() -> None:
    """Profile journals these facts after the record that they follow from: the fold does not see them."""
    window = "count('Segment Entered', days=30)"
    with pytest.raises(Invalid, match="Segment Entered is no event of an app"):
        segment.refuse_faulty(Segment(name="x", when=f"{window} > 1"))
    with pytest.raises(Invalid, match="Segment Entered is no event of an app"):
        trait.refuse_faulty(ComputedTrait(name="x", value=window))
    trait.refuse_faulty(ComputedTrait(name="x", value="count('Points Credited', days=30)"))
