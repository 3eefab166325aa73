"""The histogram kept event by event is the one made from scratch."""

from collections import Counter
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.metrics.domain.histogram import Cell, cell, histogram, moved, rows
from services.metrics.domain.purchases import Purchases, absorb
from tests.unit.metrics.histories import Event, events, histories, told

MONDAY, NEXT_MONDAY = date(2024, 1, 1), date(2024, 1, 8)


def test_a_customer_moves_from_cell_to_cell() -> None:
    purchases = Purchases()
    assert cell(purchases) is None
    purchases.complete("b", NEXT_MONDAY, 0, "USD")
    once = cell(purchases)
    assert moved(None, once) == {Cell(0, 0, NEXT_MONDAY): 1}
    purchases.complete("a", MONDAY, 0, "USD")
    assert moved(once, cell(purchases)) == {Cell(0, 0, NEXT_MONDAY): -1, Cell(1, 7, MONDAY): 1}
    twice = cell(purchases)
    purchases.complete("c", MONDAY, 0, "USD")
    assert moved(twice, cell(purchases)) == {}
    assert cell(purchases, MONDAY) == Cell(0, 0, MONDAY)


def test_rows_are_what_the_fit_takes() -> None:
    table = rows({Cell(1, 7, MONDAY): 3, Cell(0, 0, NEXT_MONDAY): 2, Cell(5, 6, MONDAY): 0}, date(2024, 1, 15))
    assert [column.tolist() for column in table] == [[0, 1], [0, 1], [1, 2], [2, 3]]
    assert len(rows({}, MONDAY).n) == 0
    with pytest.raises(ValueError, match="after 2024-01-07"):
        rows({Cell(1, 7, MONDAY): 3}, date(2024, 1, 7))


@given(st.lists(st.tuples(st.integers(0, 3), events), max_size=40))
def test_event_by_event_equals_the_batch(told_of: list[tuple[int, Event]]) -> None:
    customers = [Purchases() for _ in range(4)]
    kept: Counter[Cell] = Counter()
    for who, event in told_of:
        before = cell(customers[who])
        event(customers[who])
        kept.update(moved(before, cell(customers[who])))
    assert kept == histogram(customers)
    assert min(kept.values(), default=0) >= 0


@given(histories, histories)
def test_a_merge_takes_one_customer_away(one: list[Event], other: list[Event]) -> None:
    survivor, absorbed = told(one), told(other)
    kept = histogram([survivor, absorbed])
    before = cell(survivor)
    kept.update(moved(cell(absorbed), None))
    absorb(survivor, absorbed)
    kept.update(moved(before, cell(survivor)))
    assert kept == histogram([survivor])
