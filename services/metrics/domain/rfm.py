"""RFM cells: how many customers have the same purchase history for BG/NBD, which is fitted on these counts.

A cell is (x, days from the first to the last purchase, first day). It changes only when the customer's purchases do, not
as time passes, so an event moves at most one customer from one cell to another. t_x and T follow from the day of the fit.
"""

from collections.abc import Collection, Mapping
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class RfmCell(NamedTuple):
    """Customers with `x` purchase days after the `first`, the last of them `span` days later."""

    x: int
    span: int
    first: date


class Rows(NamedTuple):
    """The arrays that `BGNBD.fit` takes: `n` customers have (x, t_x, T), in weeks."""

    x: Array
    t_x: Array
    T: Array
    n: Array


def cell_of_days(days: Collection[date]) -> RfmCell | None:
    """The cell of a customer who bought on these distinct days; None without any."""
    return RfmCell(len(days) - 1, (max(days) - min(days)).days, min(days)) if days else None


def rows(cells: Mapping[RfmCell, int], as_of: date) -> Rows:
    """The cells as BG/NBD takes them, on the day `as_of`, without empty ones.

    Raises ValueError if a cell includes purchases after `as_of`.
    """
    held = [(cell, count) for cell, count in sorted(cells.items()) if count]
    if any(cell.first.toordinal() + cell.span > as_of.toordinal() for cell, _ in held):
        raise ValueError(f"The cells include purchases after {as_of}: count the customers as of that day.")
    x, span, age, n = (
        np.array(column, dtype=np.float64)
        for column in (
            [cell.x for cell, _ in held],
            [cell.span for cell, _ in held],
            [(as_of - cell.first).days for cell, _ in held],
            [count for _, count in held],
        )
    )
    return Rows(x, span / 7, age / 7, n)
