"""RFM cells: where a customer stands, and what the fit takes of them."""

from datetime import date

import pytest

from services.metrics.domain.purchases import Purchases
from services.metrics.domain.rfm import RfmCell, cell_of_days, rows
from tests.unit.metrics.columns import cells

MONDAY, NEXT_MONDAY = date(2024, 1, 1), date(2024, 1, 8)


def test_a_customers_cell() -> None:
    assert cell_of_days([]) is None
    purchases = Purchases()
    purchases.complete("b", NEXT_MONDAY, 0, "USD")
    assert cells([purchases]) == {RfmCell(0, 0, NEXT_MONDAY): 1}
    purchases.complete("a", MONDAY, 0, "USD")
    purchases.complete("c", MONDAY, 0, "USD")
    assert cells([purchases]) == {RfmCell(1, 7, MONDAY): 1}
    assert cells([purchases], MONDAY) == {RfmCell(0, 0, MONDAY): 1}


def test_rows_are_what_the_fit_takes() -> None:
    table = rows({RfmCell(1, 7, MONDAY): 3, RfmCell(0, 0, NEXT_MONDAY): 2, RfmCell(5, 6, MONDAY): 0}, date(2024, 1, 15))
    assert [column.tolist() for column in table] == [[0, 1], [0, 1], [1, 2], [2, 3]]
    assert len(rows({}, MONDAY).n) == 0
    with pytest.raises(ValueError, match="after 2024-01-07"):
        rows({RfmCell(1, 7, MONDAY): 3}, date(2024, 1, 7))
