"""A customer's risk and lifetime value, as numbers, as bands and as a sentence.

A score depends on the two fitted models and the customer only, not on other customers or the order of scoring.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from services.metrics.domain.bgnbd import BGNBD
from services.metrics.domain.gamma_gamma import GammaGamma

Array = NDArray[np.float64]
Band = Literal["low", "medium", "high"]
BANDS: tuple[Band, Band, Band] = ("low", "medium", "high")

#: Risk is the chance of no purchase in this many weeks.
HORIZON_WEEKS = 39.0
#: Value is a customer's spend in VALUE_WEEKS, discounted at ANNUAL_DISCOUNT in steps of STEP_WEEKS.
VALUE_WEEKS = 52
STEP_WEEKS = 4
ANNUAL_DISCOUNT = 0.10
#: The lowest medium and the lowest high risk: one chance in two, and four in five, that no order comes.
RISK_BOUNDS = (0.5, 0.8)
#: The lowest medium and the lowest high value, in multiples of a new customer's expected value.
VALUE_BOUNDS = (1.0, 3.0)


class Scores(NamedTuple):
    """The scores of many customers, one array each (bands as indices into BANDS). `cltv` and `worth` are in major units of the
    currency that spend was fitted in; `worth` is the `cltv` of a customer who is known to be alive."""

    risk: Array
    risk_band: NDArray[np.int64]
    cltv: Array
    value_band: NDArray[np.int64]
    worth: Array
    alive: Array
    expected_purchases: Array


@dataclass(frozen=True)
class ScoreModel:
    """A fitted BG/NBD and Gamma-Gamma, which score customers."""

    purchases: BGNBD
    spend: GammaGamma
    horizon_weeks: float = HORIZON_WEEKS
    annual_discount: float = ANNUAL_DISCOUNT

    @cached_property
    def new_customer_value(self) -> float:
        """The expected value of a new customer after the first purchase, which value bands are multiples of."""
        return float(self.cltv(0, 0, 0, 0))

    def cltv(self, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, m: ArrayLike) -> Array:
        """The discounted spend of the next VALUE_WEEKS, in major units; `m` is the mean spend over repeat days.

        E[M | x, m] · Σₖ (E[Y(4k)] − E[Y(4k−4)]) / (1 + annual_discount)^((4k − 2) / 52), k = 1…13: discounted monthly
        steps, each at its middle; the finite counterpart of Fader & Hardie's DERT. It is revenue: no margin is taken.
        FitImpossible when q ≤ 1.
        """
        return np.asarray(self.purchases.alive(x, t_x, T) * self.worth(x, T, m))

    def worth(self, x: ArrayLike, T: ArrayLike, m: ArrayLike) -> Array:
        """The `cltv` of a customer who is known to be alive at T. FitImpossible when q ≤ 1."""
        x, T, m = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in (x, T, m)))
        counts, of_count = np.unique(x, return_inverse=True)
        ages, of_age = np.unique(T, return_inverse=True)
        pairs, of_pair = np.unique(of_count.ravel() * len(ages) + of_age.ravel(), return_inverse=True)
        each = self._discounted_purchases(counts[pairs // len(ages)], ages[pairs % len(ages)])
        return np.asarray(self.spend.expected_spend(x, m) * each[of_pair].reshape(x.shape))

    def _discounted_purchases(self, x: Array, T: Array) -> Array:
        """The discounted purchases of customers who are alive. They depend on (x, T) only."""
        ends = np.arange(STEP_WEEKS, VALUE_WEEKS + 1, STEP_WEEKS, dtype=np.float64)
        until = self.purchases.expected_if_alive(ends[:, None], x, T)
        steps = np.maximum(np.diff(until, axis=0, prepend=0.0), 0.0)
        discounted = np.zeros(x.shape)
        for end, step in zip(
            ends, steps, strict=True
        ):  # one by one: a matrix product would round differently with other customers
            discounted += step * (1 + self.annual_discount) ** -((end - STEP_WEEKS / 2) / VALUE_WEEKS)
        return discounted

    def scores(self, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, m: ArrayLike) -> Scores:
        """The scores of many customers, from arrays of one length."""
        risk = self.purchases.risk(self.horizon_weeks, x, t_x, T)
        alive, worth = self.purchases.alive(x, t_x, T), self.worth(x, T, m)
        cltv = alive * worth
        return Scores(
            risk=risk,
            risk_band=np.digitize(risk, RISK_BOUNDS),
            cltv=cltv,
            value_band=np.digitize(cltv, np.multiply(VALUE_BOUNDS, self.new_customer_value)),
            worth=worth,
            alive=alive,
            expected_purchases=self.purchases.expected(self.horizon_weeks, x, t_x, T),
        )

    def explain(self, x: int, t_x: float, T: float) -> str:
        """One sentence that says why this customer is at risk, or is not.

        A "time" is a day with a purchase; the usual gap is the mean gap between such days.
        """
        silent = round((T - t_x) * 7)
        chance = _percent(float(self.purchases.active(self.horizon_weeks, x, t_x, T)))
        outlook = f"the chance of an order in the next {self.horizon_weeks:g} weeks is {chance}."
        if x == 0:
            return f"Bought once, {_days(silent) + ' ago' if silent else 'today'}, and not again; {outlook}"
        gap = t_x * 7 / x
        pace = f"Bought {x + 1} times, about every {_days(round(gap)) if gap >= 1.5 else 'day'}"
        if silent == 0:
            return f"{pace}, last today; {outlook}"
        if silent < 2 * gap:
            return f"{pace}, silent for {_days(silent)}; {outlook}"
        return f"{pace}, silent for {_days(silent)}, {_times(silent / gap)} the usual gap; {outlook}"


def _days(days: int) -> str:
    return "1 day" if days == 1 else f"{days} days"


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio >= 9.5 else f"{ratio:.1f} times".replace(".0", "")


def _percent(chance: float) -> str:
    if chance < 0.01:
        return "under 1 %"
    return "over 99 %" if chance > 0.99 else f"{chance * 100:.0f} %"
