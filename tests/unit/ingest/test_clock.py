"""When an event happened, by our clock."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain import clock

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("sent_after_now", "stated_after_now", "occurred_after_now"),
    [
        (timedelta(0), -MINUTE, -MINUTE),  # a right clock
        (10 * MINUTE, 9 * MINUTE, -MINUTE),  # a clock ten minutes ahead
        (-timedelta(days=900), -timedelta(days=900) - MINUTE, -MINUTE),  # a clock years behind
        (timedelta(seconds=4), -MINUTE, -MINUTE),  # a skew under 5 s is left alone
        (timedelta(seconds=5), -MINUTE, -MINUTE - timedelta(seconds=5)),
        (10 * MINUTE, -timedelta(days=2), -timedelta(days=2)),  # an import keeps its time
    ],
)
def test_differences_are_trusted_not_clocks(
    sent_after_now: timedelta, stated_after_now: timedelta, occurred_after_now: timedelta
) -> None:
    stated = (NOW + stated_after_now).isoformat()
    assert clock.occurred_at(NOW, NOW + sent_after_now, stated) == (NOW + occurred_after_now, None)


def test_a_midnight_import_stays_in_its_day() -> None:
    midnight = "2025-01-01T00:00:00Z"
    for sent in (NOW, NOW - MINUTE, NOW + MINUTE):
        assert clock.occurred_at(NOW, sent, midnight)[0] == datetime(2025, 1, 1, tzinfo=UTC)


def test_without_sent_at_the_time_is_taken_as_it_is_but_never_from_the_future() -> None:
    assert clock.occurred_at(NOW, None, "2026-03-01T11:00:00Z") == (NOW - timedelta(hours=1), None)
    assert clock.occurred_at(NOW, None, (NOW + timedelta(seconds=3)).isoformat()) == (NOW, None)
    assert clock.occurred_at(NOW, None, (NOW + MINUTE).isoformat())[0] == NOW
    assert "future" in (clock.occurred_at(NOW, None, (NOW + MINUTE).isoformat())[1] or "")
    assert clock.occurred_at(NOW, None, None) == (NOW, None)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03-01T12:00:00.123Z", NOW + timedelta(milliseconds=123)),
        ("2026-03-01T12:00:00.123456789Z", NOW + timedelta(microseconds=123456)),
        ("2026-03-01T14:00:00+02:00", NOW),
        ("2026-03-01 12:00:00", NOW),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        (1_772_366_400, NOW),
        (1_772_366_400_000, NOW),
        (1_772_366_400.5, NOW + timedelta(milliseconds=500)),
    ],
)
def test_forms_of_time(text: object, time: datetime) -> None:
    assert clock.parse(text) == time


@given(
    st.one_of(st.none(), st.datetimes(timezones=st.timezones())),
    st.one_of(
        st.none(), st.text(), st.integers(), st.floats(), st.booleans(), st.datetimes().map(str), st.lists(st.text())
    ),
)
def test_it_never_fails_and_never_leaves_sane_time(sent_at: datetime | None, stated: object) -> None:
    occurred, _ = clock.occurred_at(NOW, sent_at, stated)
    assert clock.EARLIEST <= occurred <= NOW
