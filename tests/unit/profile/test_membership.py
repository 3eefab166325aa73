"""Segments of one customer in memory: when a comparison with `ago(…)` turns."""

from uuid import UUID

import msgspec
import pytest

from services.profile.domain.identity import LoadedCustomer
from services.profile.domain.journey import AsOf, Journey
from services.profile.domain.state import Trait
from services.profile.segments import membership
from services.profile.segments.rules import LiveSegment, Rulebook, Rules, book_of, compiled

DAY = 86_400 * 10**6


def rules(when: str) -> Rules:
    segment = LiveSegment("s", 1, when, 1)
    return compiled(1, book_of([segment], [], Rulebook(), 1))


def customer(**traits: object) -> LoadedCustomer:
    loaded = LoadedCustomer.new(UUID(int=1))
    loaded.state.filled = 1
    loaded.state.traits = {name: Trait(0, msgspec.Raw(msgspec.json.encode(value))) for name, value in traits.items()}
    return loaded


@pytest.mark.parametrize(
    "written",
    ["2026-03-01", "2026-03-01T12:00:00", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00.250Z", "2026-03-01T14:00:00+02:00",
     "2026-03-01T12:00:00.5+00:00"],
)  # fmt: skip
def test_a_trait_that_is_a_time_turns_by_a_timer_however_it_is_written(written: str) -> None:
    made = rules("customer.traits.renewed < ago(days=1)")
    loaded, now = customer(renewed=written), 0
    assert membership.evaluate(loaded, made.segments.values(), AsOf(now, Journey())) == []
    for _ in range(2):
        if not loaded.state.segments and (due := membership.due(loaded, made, now)) is not None:
            now = due
            membership.evaluate(loaded, made.segments.values(), AsOf(now, Journey()))
    assert loaded.state.segments == {"s": now}
    assert membership.due(loaded, made, now + 2 * DAY) is None


@pytest.mark.parametrize("written", ["9999-12-31T23:59:59Z", "9999-12-31", "0001-01-01T00:00:00+14:00", "soon", "", 7])
def test_a_trait_that_is_no_time_or_none_that_comes_sets_no_timer(written: object) -> None:
    made = rules("customer.traits.renewed < ago(days=3650)")
    assert membership.due(customer(renewed=written), made, 0) is None
