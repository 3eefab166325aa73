"""Quiet hours on the wall, whatever is done to the clock there."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from libs.common.contracts.triggers import MessageQueued, MessageSent
from services.triggers.domain.decide import decide
from services.triggers.domain.explain import Record, explain
from services.triggers.domain.hook import QuietHours
from services.triggers.domain.quiet import Quiet
from services.triggers.domain.rules import Live, Rulebook, Rules
from services.triggers.domain.rules import rules as compiled_rules
from services.triggers.domain.state import Recipient
from tests.unit.triggers.examples import NOON, hook, ordered, rules

MINUTE = timedelta(minutes=1)
WALLS = st.builds(time, st.integers(0, 23), st.integers(0, 59))
TIMES = st.integers(631152000, 2114380800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
ZONES = st.sampled_from(sorted(available_timezones() - {"Factory", "localtime"}))


def at(text: str, zone: str) -> datetime:
    """A time on the wall; with `*` the second time that the wall says so."""
    return datetime.fromisoformat(text.rstrip("*")).replace(tzinfo=ZoneInfo(zone), fold="*" in text).astimezone(UTC)


@pytest.mark.parametrize(
    ("hours", "zone", "when", "until"),
    [
        ("22:00-08:00", "Europe/Berlin", "2026-01-31 21:59", None),
        ("22:00-08:00", "Europe/Berlin", "2026-01-31 22:00", "2026-02-01 08:00"),
        ("22:00-08:00", "Europe/Berlin", "2026-02-01 07:59", "2026-02-01 08:00"),
        ("22:00-08:00", "Europe/Berlin", "2026-02-01 08:00", None),
        ("12:00-13:00", "Europe/Berlin", "2026-02-01 12:30", "2026-02-01 13:00"),
        ("12:00-13:00", "Europe/Berlin", "2026-02-01 11:30", None),
        ("12:00-13:00", "Asia/Kathmandu", "2026-02-01 12:30", "2026-02-01 13:00"),
        ("00:00-23:59", "UTC", "2026-02-01 00:00", "2026-02-01 23:59"),
        # the night that has no half past two: from two o'clock it is three
        ("22:00-02:30", "Europe/Berlin", "2026-03-28 23:00", "2026-03-29 03:00"),
        ("22:00-08:00", "Europe/Berlin", "2026-03-28 23:00", "2026-03-29 08:00"),
        # the night that has it twice: it is over when the wall first says so, begins again at two, and is over again
        ("22:00-02:30", "Europe/Berlin", "2026-10-24 23:00", "2026-10-25 02:30"),
        ("22:00-02:30", "Europe/Berlin", "2026-10-25 02:45", None),
        ("22:00-02:30", "Europe/Berlin", "2026-10-25 02:15*", "2026-10-25 02:30*"),
        ("22:00-08:00", "Europe/Berlin", "2026-10-24 23:00", "2026-10-25 08:00"),
        # the wall leaves quiet hours that begin at half past midnight, when it is midnight again at one
        ("00:30-05:00", "Atlantic/Azores", "2026-10-25 00:45", "2026-10-25 00:00*"),
        # a place that left out a whole day
        ("22:00-08:00", "Pacific/Apia", "2011-12-29 23:00", "2011-12-31 08:00"),
    ],
)
def test_until_when_it_is_quiet(hours: str, zone: str, when: str, until: str | None) -> None:
    start, end = (time.fromisoformat(each) for each in hours.split("-"))
    assert Quiet(start, end, zone).until(at(when, zone)) == (until and at(until, zone))


@given(WALLS, WALLS, ZONES, TIMES)
@example(time(22), time(2, 30), "Europe/Berlin", datetime(2026, 3, 28, 22, tzinfo=UTC))
@example(time(22), time(2, 30), "Australia/Lord_Howe", datetime(2026, 4, 4, 12, tzinfo=UTC))
@example(time(0, 30), time(5), "Atlantic/Azores", datetime(2026, 10, 25, 0, 45, tzinfo=UTC))
@example(time(23), time(0), "America/Havana", datetime(2026, 11, 1, 4, 30, tzinfo=UTC))
@example(time(22), time(8), "Pacific/Apia", datetime(2011, 12, 30, 9, 30, tzinfo=UTC))
def test_it_ends_with_the_first_moment_that_is_not_quiet(start: time, end: time, zone: str, when: datetime) -> None:
    quiet = Quiet(start, end, zone)
    until = quiet.until(when)
    if start == end:
        assert until is None
        return
    wall = when.astimezone(ZoneInfo(zone)).time()
    inside = start <= wall < end if start < end else wall >= start or wall < end
    assert (until is not None) == inside
    if until is None:
        return
    assert not quiet.holds(until)
    assert timedelta(0) < until - when < timedelta(hours=50)
    moment = when
    while moment < until:
        assert quiet.holds(moment)
        moment += MINUTE
    assert quiet.holds(until - timedelta(microseconds=1))


HOURS: dict[str, Any] = {"from": "22:00", "to": "08:00"}


def waits(live: Rules, input: Any) -> tuple[Quiet | None, datetime | None]:
    decision = decide(Recipient(), input, live)
    (fact,) = decision.facts
    made = decision.made["h1"]
    assert isinstance(fact, MessageSent if made.not_before is None else MessageQueued)
    return made.quiet, made.not_before


EVENING = NOON + timedelta(hours=11)  # 23:00 UTC


@pytest.mark.parametrize(
    ("traits", "context", "workspace", "zone", "hour"),
    [
        ({"timezone": "Europe/Berlin"}, {"timezone": "UTC"}, "UTC", "Europe/Berlin", 7),
        ({}, {"timezone": "Europe/Berlin"}, "UTC", "Europe/Berlin", 7),
        ({}, {}, "Europe/Berlin", "Europe/Berlin", 7),
        ({"timezone": "Mars/Olympus"}, {}, "UTC", "UTC", 8),
        ({"timezone": "America/New_York"}, {}, "UTC", "America/New_York", None),
    ],
)
def test_the_zone_is_the_customers_the_devices_or_the_workspaces(
    traits: dict[str, Any], context: dict[str, Any], workspace: str, zone: str, hour: int | None
) -> None:
    live = rules(hook(limits={"quiet_hours": HOURS}), zone=workspace)
    quiet, not_before = waits(live, ordered(EVENING, traits=traits, context=context))
    assert quiet == Quiet(time(22), time(8), zone)
    assert not_before == (hour and datetime(2026, 3, 2, hour, tzinfo=UTC))


def test_it_goes_by_when_we_received_it() -> None:
    live = rules(hook(limits={"quiet_hours": HOURS, "history": True}))
    assert waits(live, ordered(EVENING, late=timedelta(hours=13)))[1] is None
    assert waits(live, ordered(NOON, late=timedelta(hours=11)))[1] == datetime(2026, 3, 2, 8, tzinfo=UTC)


def test_a_hooks_own_win_over_the_workspaces() -> None:
    for limits, until in (({}, 5), ({"quiet_hours": HOURS}, 8), ({"quiet_hours": "none"}, None)):
        live = rules(hook(limits=limits))
        everywhere = Rules(live.zone, None, live.by_event, live.by_id, QuietHours(start="21:00", end="05:00"))
        assert waits(everywhere, ordered(EVENING))[1] == (until and datetime(2026, 3, 2, until, tzinfo=UTC))


def test_it_is_decided_and_counted_the_same_and_explained() -> None:
    plain, quiet = rules(hook()), rules(hook(limits={"quiet_hours": HOURS}))
    one, other = (decide(Recipient(), ordered(EVENING), each) for each in (plain, quiet))
    ((sent,), (queued,)) = one.facts, other.facts
    assert (msgspec.to_builtins(sent), one.counts) == (msgspec.to_builtins(queued), other.counts)
    input = ordered(EVENING)
    answer = explain(quiet.by_id["h1"], Record(input.body, input, quiet), Recipient())
    assert answer.verdict == "would_send"
    assert "sent at 2026-03-02 08:00:00 UTC, when the quiet hours end (22:00 to 08:00, UTC)" in answer.sentence


@pytest.mark.parametrize("hours", [{"from": "24:00", "to": "08:00"}, {"from": "22:00"}, {"from": "8:00", "to": "09:00"},
                                   {"from": "08:00", "to": "08:00"}, "never", {"from": "２２:００", "to": "08:00"}])  # fmt: skip
def test_what_are_no_quiet_hours(hours: Any) -> None:
    with pytest.raises(ValueError, match="quiet_hours"):
        hook(limits={"quiet_hours": hours})


def test_a_rulebook_carries_the_workspaces_and_an_older_one_has_none() -> None:
    live = Live(
        "h1",
        1,
        msgspec.Raw(b'{"name":"h1","trigger":{"event":"Order Completed"},"action":{"channel":"inbox","text":"Hi"}}'),
    )
    for book, until in (
        (Rulebook(None, [live], HOURS), datetime(2026, 3, 2, 8, tzinfo=UTC)),
        (Rulebook(None, [live]), None),
    ):
        read = msgspec.json.decode(msgspec.json.encode(book), type=Rulebook)
        assert waits(compiled_rules(read, ZoneInfo("UTC")), ordered(EVENING))[1] == until
    older = msgspec.json.decode(b'{"daily_cap":null,"hooks":[]}', type=Rulebook)
    assert compiled_rules(older, ZoneInfo("UTC")).quiet_hours is None
