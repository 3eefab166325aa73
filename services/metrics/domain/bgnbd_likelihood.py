"""The BG/NBD log-likelihood with its gradient and Hessian.

Fader, Hardie & Lee (2005), "Counting Your Customers" the Easy Way, equation 6, in the four terms A1 to A4 of their
note on its implementation: a customer's log-likelihood is A1 + A2 + ln(e^A3 + [x > 0]·e^A4).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, polygamma, psi

Array = NDArray[np.float64]


class Likelihood:
    """The log-likelihood of (r, alpha, a, b) given customers (x, t_x, T), each row counted `n` times; weeks."""

    def __init__(self, x: Array, t_x: Array, T: Array, n: Array) -> None:
        # All but A3 and A4 depend on x alone, of which there are few: special functions are evaluated once for each.
        self._counts, index = np.unique(x, return_inverse=True)
        self._customers = np.bincount(index, weights=n)
        self._total = float(n.sum())
        again = x > 0
        once = ~again
        self._once_T, self._once_n = T[once], n[once]
        self._x, self._t_x, self._T, self._n = x[again], t_x[again], T[again], n[again]

    def __call__(self, parameters: Array) -> tuple[float, Array, Array]:
        """Value, gradient (4) and Hessian (4 × 4) at `parameters`, all positive."""
        r, alpha, a, b = (float(value) for value in parameters)
        gradient, hessian = np.zeros(4), np.zeros((4, 4))
        value = self._of_counts(r, alpha, a, b, gradient, hessian)
        value += self._of_silence(r, alpha, a, b, gradient, hessian)
        return value, gradient, hessian + np.triu(hessian, 1).T

    def _of_counts(self, r: float, alpha: float, a: float, b: float, gradient: Array, hessian: Array) -> float:
        """A1 + A2; adds to the upper triangle of the Hessian."""
        x, n, total = self._counts, self._customers, self._total
        gradient[0] += n @ psi(r + x) - total * (psi(r) - np.log(alpha))
        gradient[1] += total * r / alpha
        together = total * psi(a + b) - n @ psi(a + b + x)
        gradient[2] += together
        gradient[3] += together + n @ psi(b + x) - total * psi(b)
        hessian[0, 0] += n @ polygamma(1, r + x) - total * polygamma(1, r)
        hessian[0, 1] += total / alpha
        hessian[1, 1] -= total * r / alpha**2
        bend = total * polygamma(1, a + b) - n @ polygamma(1, a + b + x)
        hessian[2, 2] += bend
        hessian[2, 3] += bend
        hessian[3, 3] += bend + n @ polygamma(1, b + x) - total * polygamma(1, b)
        a1 = n @ gammaln(r + x) + total * (r * np.log(alpha) - gammaln(r))
        a2 = total * (gammaln(a + b) - gammaln(b)) + n @ (gammaln(b + x) - gammaln(a + b + x))
        return float(a1 + a2)

    def _of_silence(self, r: float, alpha: float, a: float, b: float, gradient: Array, hessian: Array) -> float:
        """ln(e^A3 + [x > 0]·e^A4); adds to the upper triangle of the Hessian."""
        until = alpha + self._once_T
        logs = np.log(until)
        gradient[0] -= self._once_n @ logs
        gradient[1] -= r * (self._once_n @ (1 / until))
        hessian[0, 1] -= self._once_n @ (1 / until)
        hessian[1, 1] += r * (self._once_n @ until**-2)
        value = -r * float(self._once_n @ logs)

        x, n = self._x, self._n
        rate = r + x
        now, last, drop = alpha + self._T, alpha + self._t_x, b + x - 1
        log_now, log_last = np.log(now), np.log(last)
        stays = -rate * log_now
        left = np.log(a) - np.log(drop) - rate * log_last
        either = np.logaddexp(stays, left)
        alive, gone = np.exp(stays - either), np.exp(left - either)
        value += float(n @ either)
        of_stays = (-log_now, -rate / now)
        of_left = (-log_last, -rate / last, np.full_like(x, 1 / a), -1 / drop)
        change = (of_stays[0] - of_left[0], of_stays[1] - of_left[1], -of_left[2], -of_left[3])
        n_alive, n_gone, n_mixed = n * alive, n * gone, n * alive * gone
        for i in range(4):
            gradient[i] += n_gone @ of_left[i] + (n_alive @ of_stays[i] if i < 2 else 0.0)
            for j in range(i, 4):
                hessian[i, j] += n_mixed @ (change[i] * change[j])
        hessian[0, 1] -= n_alive @ (1 / now) + n_gone @ (1 / last)
        hessian[1, 1] += n_alive @ (rate / now**2) + n_gone @ (rate / last**2)
        hessian[2, 2] -= n_gone.sum() / a**2
        hessian[3, 3] += n_gone @ drop**-2.0
        return value
