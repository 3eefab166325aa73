"""BG/NBD: how often a customer buys, and whether they have left. Time is in weeks.

Fader, Hardie & Lee (2005), "Counting Your Customers" the Easy Way: An Alternative to the Pareto/NBD Model, Marketing
Science 24(2). A customer buys at a rate λ ~ Gamma(r, alpha); after each purchase they leave with chance p ~ Beta(a, b).
Of a customer the model needs `x`, the days with a purchase after the first; `t_x`, weeks from the first to the last;
`T`, weeks from the first until now. Arguments are numbers or arrays, and are broadcast; results are arrays.
"""

from dataclasses import astuple, dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from services.metrics.domain import bgnbd_likelihood
from services.metrics.domain.bgnbd_expectation import purchases
from services.metrics.domain.errors import FitImpossible
from services.metrics.domain.newton import Fit, maximise

Array = NDArray[np.float64]

#: Fewer customers, or fewer repeat customers, do not determine four parameters.
MIN_CUSTOMERS = 10
MIN_REPEATERS = 5

NAMES = ("r", "alpha", "a", "b")


class LogOdds(NamedTuple):
    """The log-odds that a customer has left, as a sum of two terms.

    `baseline` = ln(a / (b + x − 1)) depends on the number of purchases. `silence` =
    (r + x)·ln((alpha + T) / (alpha + t_x)), at least 0, grows with the silence, relative to the customer's own pace.
    A customer with x = 0 cannot have left: the baseline is −∞.
    """

    baseline: Array
    silence: Array

    @property
    def total(self) -> Array:
        return self.baseline + self.silence


@dataclass(frozen=True)
class BGNBD:
    """The model with its four positive parameters; `alpha` in weeks."""

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fit(
        cls, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, n: ArrayLike = 1.0, *, start: Self | None = None
    ) -> Fit[Self]:
        """Maximum likelihood on a histogram: `n` customers have (x, t_x, T). Order of rows doesn't matter.

        `start` is an earlier fit to begin from (a warm start); the default start is tried after it. Raises
        FitImpossible if the customers do not determine the model, ValueError for rows that no customer can have.
        """
        rows = np.broadcast_arrays(*(np.asarray(column, dtype=np.float64) for column in (x, t_x, T, n)))
        x, t_x, T, n = (np.ravel(column) for column in rows)
        _check(x, t_x, T, n)
        customers, repeaters = float(n.sum()), float(n[x > 0].sum())
        if customers < MIN_CUSTOMERS or repeaters < MIN_REPEATERS:
            raise FitImpossible(
                f"A fit needs at least {MIN_CUSTOMERS} customers, {MIN_REPEATERS} of whom bought on more than one day; "
                f"there are {customers:.0f} and {repeaters:.0f}. Wait for more orders or choose a later day."
            )
        usual = max(float(n @ T) / customers, 1e-3)
        starts: list[tuple[float, ...]] = [(0.5, usual / 2, 1.0, 2.0), (1.0, usual, 0.1, 1.0), (0.1, usual / 10, 1, 10)]
        if start is not None:
            starts.insert(0, astuple(start))
        found = maximise(bgnbd_likelihood.Likelihood(x, t_x, T, n), starts, NAMES)
        return found.fit_of(cls(*map(float, found.parameters)), NAMES, round(customers))

    def log_likelihood(self, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, n: ArrayLike = 1.0) -> float:
        """The log-likelihood of these parameters, `n` customers having (x, t_x, T)."""
        rows = np.broadcast_arrays(*(np.asarray(column, dtype=np.float64) for column in (x, t_x, T, n)))
        return bgnbd_likelihood.Likelihood(*map(np.ravel, rows))(np.array(astuple(self)))[0]

    def expected(self, t: ArrayLike, x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> Array:
        """E[Y(t) | x, t_x, T]: purchases in the next `t` weeks (equation 10). Finite and not negative."""
        return self.alive(x, t_x, T) * self.expected_if_alive(t, x, T)

    def expected_if_alive(self, t: ArrayLike, x: ArrayLike, T: ArrayLike) -> Array:
        """Purchases in the next `t` weeks of a customer who hasn't left by T: depends on (x, T) only.

        Such a customer is a new one with r + x, alpha + T, a and b + x.
        """
        x, T = np.asarray(x, dtype=np.float64), np.asarray(T, dtype=np.float64)
        return purchases(self.r, self.alpha + T, self.a, self.b, x, np.asarray(t, dtype=np.float64))

    def log_odds_left(self, x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> LogOdds:
        """The log-odds that a customer has left: P(alive) = 1 / (1 + e^total)."""
        x, t_x, T = (np.asarray(value, dtype=np.float64) for value in (x, t_x, T))
        again = x > 0
        baseline = np.where(again, np.log(self.a / (self.b + np.where(again, x, 1.0) - 1.0)), -np.inf)
        return LogOdds(baseline, (self.r + x) * np.log((self.alpha + T) / (self.alpha + t_x)))

    def alive(self, x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> Array:
        """P(alive at T). No measure of churn: it is 1 for everyone who bought once, however long ago."""
        return np.asarray(expit(-self.log_odds_left(x, t_x, T).total))

    def active(self, weeks: float, x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> Array:
        """The chance of at least one purchase in the next `weeks`: P(alive)·(1 − ((α+T)/(α+T+weeks))^(r+x))."""
        x, T = np.asarray(x, dtype=np.float64), np.asarray(T, dtype=np.float64)
        return self.alive(x, t_x, T) * -np.expm1(-(self.r + x) * np.log1p(weeks / (self.alpha + T)))

    def risk(self, weeks: float, x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> Array:
        """The chance of no purchase in the next `weeks`: 1 − active."""
        return 1.0 - self.active(weeks, x, t_x, T)


def _check(x: Array, t_x: Array, T: Array, n: Array) -> None:
    if not all(np.isfinite(column).all() for column in (x, t_x, T, n)):
        raise ValueError("x, t_x, T and n must be finite")
    if (n < 0).any() or (x < 0).any() or (x != np.floor(x)).any():
        raise ValueError("x must be a whole number of purchases and n a number of customers, neither below zero")
    if (t_x < 0).any() or (t_x > T).any() or ((x == 0) & (t_x != 0)).any():
        raise ValueError("0 <= t_x <= T, and t_x is 0 for a customer who bought once")
