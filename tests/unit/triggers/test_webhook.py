"""What answers mean, and when the next attempt is due."""

from datetime import UTC, datetime, timedelta

import pytest

from services.triggers.delivery.schedule import ATTEMPTS, pause
from services.triggers.delivery.webhook import understood

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_yes(status: int) -> None:
    assert understood(status, None, NOW).error is None


@pytest.mark.parametrize("status", [100, 301, 302, 307, 400, 401, 404, 408, 429, 500, 503])
def test_to_be_tried_again(status: int) -> None:
    answer = understood(status, None, NOW)
    assert str(status) in str(answer.error)
    assert not answer.final
    assert ("redirect" in str(answer.error)) == (300 <= status < 400)


def test_never_again() -> None:
    answer = understood(410, "60", NOW)
    assert answer.final
    assert answer.gone


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("999999999999999", 86400.0),
        ("Sun, 01 Mar 2026 12:05:00 GMT", 300.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after(retry_after: str, seconds: float | None) -> None:
    assert understood(503, retry_after, NOW).retry_after == seconds


def test_ten_attempts_over_about_three_days() -> None:
    pauses = [pause(attempt, None) for attempt in range(1, ATTEMPTS)]
    assert len(pauses) == 9
    assert timedelta(days=2.5) < sum((each for each in pauses if each), timedelta()) < timedelta(days=3.5)
    assert pause(ATTEMPTS, None) is None
    assert (pause(1, 3600) or timedelta()) >= timedelta(hours=1)
