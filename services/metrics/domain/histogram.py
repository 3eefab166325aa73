"""How many customers look alike to BG/NBD: the table that it is fitted on.

A cell is (x, days from first to last purchase, first day). It changes only when the customer's purchases do, never by
the passing of time, so that each event moves one customer from one cell to another, or none; t_x and T follow when a
day to fit as of is given.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.metrics.domain.purchases import Purchases

Array = NDArray[np.float64]


class Cell(NamedTuple):
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


def cell(purchases: Purchases, as_of: date | None = None) -> Cell | None:
    """Where the customer stands, by purchases up to `as_of` (default: all); None when there are none."""
    bought = {order.day for _, order in purchases.counted(as_of)}
    if not bought:
        return None
    first = min(bought)
    return Cell(len(bought) - 1, max(bought) - first, date.fromordinal(first))


def moved(before: Cell | None, after: Cell | None) -> dict[Cell, int]:
    """Which counts change, and by how much, when a customer goes from cell `before` to `after`."""
    if before == after:
        return {}
    return {where: change for where, change in ((before, -1), (after, 1)) if where is not None}


def histogram(customers: Iterable[Purchases], as_of: date | None = None) -> Counter[Cell]:
    """The table from scratch. With an `as_of` before the last purchases, this is the only way to have it:
    the table kept by `moved` knows all purchases."""
    return Counter(where for where in (cell(purchases, as_of) for purchases in customers) if where is not None)


def rows(histogram: Mapping[Cell, int], as_of: date) -> Rows:
    """The table as BG/NBD takes it, on the day `as_of`; cells that hold nobody are left out.

    Raises ValueError when a cell knows purchases after `as_of`.
    """
    held = [(where, count) for where, count in sorted(histogram.items()) if count]
    if any(where.first.toordinal() + where.span > as_of.toordinal() for where, _ in held):
        raise ValueError(
            f"The histogram holds purchases after {as_of}: make it anew from the customers, as of that day."
        )
    x, span, age, n = (
        np.array(column, dtype=np.float64)
        for column in (
            [where.x for where, _ in held],
            [where.span for where, _ in held],
            [(as_of - where.first).days for where, _ in held],
            [count for _, count in held],
        )
    )
    return Rows(x, span / 7, age / 7, n)
