"""Gamma-Gamma: how much a customer spends on a purchase day. Money is in major units (dollars, not cents).

Fader & Hardie (2013), The Gamma-Gamma Model of Monetary Value. A purchase is Gamma(p, ν) with ν ~ Gamma(q, gamma) over
customers. Of a customer the model needs `x`, the days with a purchase after the first, and `m`, the mean spend on them:
the first purchase is left out, as in BG/NBD. Not scale-free in practice: fitted in cents, gamma is a hundred times as large.
"""

from dataclasses import astuple, dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, polygamma, psi

from services.metrics.domain.errors import FitImpossible
from services.metrics.domain.newton import Fit, maximise

Array = NDArray[np.float64]

#: Fewer repeat customers do not determine three parameters.
MIN_REPEATERS = 5

NAMES = ("p", "q", "gamma")


@dataclass(frozen=True)
class GammaGamma:
    """The model with its three positive parameters; `gamma` in major units."""

    p: float
    q: float
    gamma: float

    @classmethod
    def fit(cls, x: ArrayLike, m: ArrayLike, n: ArrayLike = 1.0, *, start: Self | None = None) -> Fit[Self]:
        """Maximum likelihood on rows (x, m) of `n` customers each.

        Leaves out rows with x = 0, which have no repeat purchase, and rows with m = 0, because a gamma variable is never 0.
        `start` as for BG/NBD. Raises FitImpossible if the customers do not determine the model, or if q ≤ 1, where the
        mean spend of all customers is infinite; ValueError for rows that no customer can have.
        """
        x, m, n = (
            np.ravel(column)
            for column in np.broadcast_arrays(*(np.asarray(column, dtype=np.float64) for column in (x, m, n)))
        )
        if not all(np.isfinite(column).all() and (column >= 0).all() for column in (x, m, n)):
            raise ValueError("x, m and n must be finite and not below zero")
        spent = (x > 0) & (m > 0)
        x, m, n = x[spent], m[spent], n[spent]
        customers = float(n.sum())
        if customers < MIN_REPEATERS:
            raise FitImpossible(
                f"A fit of spend needs at least {MIN_REPEATERS} customers who bought on more than one day and paid; "
                f"there are {customers:.0f}. Wait for more orders or choose a later day."
            )
        mean = float(n @ m) / customers
        starts: list[tuple[float, ...]] = [(6.0, 4.0, mean / 2), (1.0, 2.0, mean), (20.0, 10.0, mean / 2)]
        if start is not None:
            starts.insert(0, astuple(start))
        found = maximise(_Likelihood(x, m, n), starts, NAMES)
        model = cls(*map(float, found.parameters))
        if model.q <= 1:
            raise FitImpossible(
                f"The mean spend is infinite under this fit (q = {model.q:.3g}, not above 1): a few customers spend so "
                "much more than the rest that there is no mean. Keep the earlier fit, or look for mistaken amounts."
            )
        return found.fit_of(model, NAMES, round(customers))

    def log_likelihood(self, x: ArrayLike, m: ArrayLike, n: ArrayLike = 1.0) -> float:
        """The log-likelihood of these parameters; rows need x > 0 and m > 0."""
        rows = np.broadcast_arrays(*(np.asarray(column, dtype=np.float64) for column in (x, m, n)))
        return _Likelihood(*map(np.ravel, rows))(np.array(astuple(self)))[0]

    @property
    def population_mean(self) -> float:
        """E[M] = p·gamma / (q − 1), the mean spend a purchase over all customers. FitImpossible when q ≤ 1."""
        if self.q <= 1:
            raise FitImpossible(f"With q = {self.q:.3g}, not above 1, the mean spend is infinite: fit again.")
        return self.p * self.gamma / (self.q - 1)

    def expected_spend(self, x: ArrayLike, m: ArrayLike) -> Array:
        """E[M | x, m] = p·(gamma + x·m) / (p·x + q − 1): between the population's mean and the customer's own.

        For x = 0 the population's mean, whatever `m` is. FitImpossible when q ≤ 1.
        """
        x = np.asarray(x, dtype=np.float64)
        total = np.where(x > 0, x * np.asarray(m, dtype=np.float64), 0.0)
        own = self.p * x + self.q - 1
        return np.asarray((self.population_mean * (self.q - 1) + self.p * total) / own)


class _Likelihood:
    """The log-likelihood of (p, q, gamma) with gradient and Hessian; equation 1a of the note."""

    def __init__(self, x: Array, m: Array, n: Array) -> None:
        self._counts, self._index = np.unique(x, return_inverse=True)
        self._x, self._m, self._n = x, m, n

    def __call__(self, parameters: Array) -> tuple[float, Array, Array]:
        p, q, gamma = (float(value) for value in parameters)
        x, m, n, index = self._x, self._m, self._n, self._index
        shape = p * self._counts
        spread = np.log(gamma + x * m)
        scale = gamma + x * m
        both, own = psi(shape + q)[index], psi(shape)[index]
        bend, own_bend = polygamma(1, shape + q)[index], polygamma(1, shape)[index]
        value = (
            (gammaln(shape + q) - gammaln(shape))[index]
            - gammaln(q)
            + q * np.log(gamma)
            + (p * x - 1) * np.log(m)
            + p * x * np.log(x)
            - (p * x + q) * spread
        )
        gradient = np.array(
            [
                n @ (x * (both - own + np.log(m * x) - spread)),
                n @ (both - psi(q) + np.log(gamma) - spread),
                n @ (q / gamma - (p * x + q) / scale),
            ]
        )
        pp, pq, pg = n @ (x**2 * (bend - own_bend)), n @ (x * bend), -(n @ (x / scale))
        qq, qg = n @ (bend - polygamma(1, q)), n @ (1 / gamma - 1 / scale)
        gg = n @ ((p * x + q) / scale**2 - q / gamma**2)
        return float(n @ value), gradient, np.array([[pp, pq, pg], [pq, qq, qg], [pg, qg, gg]])
