"""Caps hold whatever the order of events, and merges add up."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.triggers.domain.evolve import absorb, note
from services.triggers.domain.state import DAYS, TIMES, Recipient, reached

HOUR = timedelta(hours=1)
hours = st.integers(0, 60)
START = datetime(2026, 1, 1, tzinfo=UTC)


def milliseconds(hour: int) -> int:
    return hour * 3_600_000


@given(st.lists(hours, max_size=40), st.integers(1, 4), st.integers(1, 24))
def test_no_span_ever_holds_more_than_the_cap_in_any_order(events: list[int], count: int, period: int) -> None:
    sent: list[int] = []
    for hour in events:
        if not reached(sent, milliseconds(hour), count, period * HOUR):
            sent.append(milliseconds(hour))
    for first in sent:
        assert sum(first <= time < first + milliseconds(period) for time in sent) <= count


@given(st.lists(hours, max_size=40), st.integers(1, 4), st.integers(1, 24))
def test_in_order_only_the_period_before_counts(events: list[int], count: int, period: int) -> None:
    sent: list[int] = []
    for hour in sorted(events):
        within = sum(time > milliseconds(hour - period) for time in sent)
        assert reached(sent, milliseconds(hour), count, period * HOUR) == (within >= count)
        if within < count:
            sent.append(milliseconds(hour))


def recipient(events: list[int], off: bool) -> Recipient:
    made = Recipient(off_since=START if off else None)
    for hour in events:
        note(made, f"hook {hour % 2}", START + hour * HOUR, (START + hour * HOUR).date(), 4)
    return made


@given(st.lists(hours, max_size=20), st.lists(hours, max_size=20), st.booleans(), st.booleans())
def test_a_merge_adds_up_and_the_stricter_opt_out_holds(a: list[int], u: list[int], a_off: bool, u_off: bool) -> None:
    survivor, other = recipient(u, u_off), recipient(a, a_off)
    absorb(survivor, other)
    both = recipient([*a, *u], a_off or u_off)
    assert survivor == both


def test_what_is_kept_is_bounded() -> None:
    made = Recipient()
    for day in range(3 * TIMES):
        note(made, "h", START + day * 24 * HOUR, date(2026, 1, 1) + timedelta(days=day), 4)
    assert len(made.sent["h"]) == TIMES
    assert len(made.days) == DAYS
    assert max(made.days) == (date(2026, 1, 1) + timedelta(days=3 * TIMES - 1)).isoformat()
