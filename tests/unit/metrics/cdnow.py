"""CDNOW's 1/10 sample, as Fader & Hardie published it: read from the data file that `lifetimes` installs.

`lifetimes` itself is never imported. 21 rows are identical to another one, so that an order's id is its row number.
"""

from datetime import date, datetime
from decimal import Decimal
from importlib.metadata import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from libs.common.contracts.money import minor
from services.metrics.domain.purchases import Purchases
from tests.unit.metrics.columns import recency, spend

CALIBRATION_END = date(1997, 9, 30)
HOLDOUT_END = date(1998, 6, 30)


class Columns(NamedTuple):
    """One entry a customer, in the file's order, at the end of the calibration."""

    x: NDArray[np.float64]
    t_x: NDArray[np.float64]
    T: NDArray[np.float64]
    m: NDArray[np.float64]


def customers() -> dict[str, Purchases]:
    """The purchases of all 18 months, by sample id."""
    (path,) = (file for file in files("lifetimes") or [] if file.name == "CDNOW_sample.txt")
    found: dict[str, Purchases] = {}
    for row, line in enumerate(path.read_text().splitlines()):
        _, customer, day, _, dollars = line.split()
        on = datetime.strptime(day, "%Y%m%d").date()  # noqa: DTZ007 - a day without time or zone
        found.setdefault(customer, Purchases()).complete(f"row-{row}", on, minor(Decimal(dollars), "USD"), "USD")
    return found


def columns(customers: dict[str, Purchases]) -> Columns:
    """What the models see on CALIBRATION_END, one row a customer."""
    seen = [(recency(one, CALIBRATION_END), spend(one, CALIBRATION_END, "USD").mean) for one in customers.values()]
    rows = np.array([(*at, mean) for at, mean in seen if at is not None])
    return Columns(*rows.T)
