"""Expected purchases under BG/NBD, evaluated so that no customer overflows."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, hyp2f1

Array = NDArray[np.float64]

#: Closer than this to a removable singularity, the mean of both sides of it is taken, SIDE away: right to SIDE².
NEAR = 1e-6
SIDE = 1e-5


def purchases(r: float, alpha: Array, a: float, b: float, x: Array, t: Array) -> Array:
    """Expected purchases, in the next `t`, of one alive: rate ~ Gamma(r + x, `alpha`), leaving ~ Beta(a, b + x).

    `alpha` is the model's plus T. Equations 9 (x = 0, T = 0) and 10 of Fader, Hardie & Lee (2005) have
    2F1(r+x, b+x; c; z) with c = a+b+x−1, z = t/(alpha+t), which overflows for large x. By Euler's transformation
    (1−z)^(r+x)·2F1(r+x, b+x; c; z) = (1−z)^(a−1)·2F1(a+b−1−r, a−1; c; z), whose first two arguments don't grow with x.
    """
    if abs(a - 1) < NEAR:
        return (purchases(r, alpha, 1 - SIDE, b, x, t) + purchases(r, alpha, 1 + SIDE, b, x, t)) / 2
    if abs(a + b - 1) < NEAR:  # c = 0 for x = 0
        return (purchases(r, alpha, a, 1 - a - SIDE, x, t) + purchases(r, alpha, a, 1 - a + SIDE, x, t)) / 2
    alpha, x, t = np.broadcast_arrays(alpha, x, t)
    c = a + b + x - 1
    z = t / (alpha + t)
    with np.errstate(all="ignore"):  # what goes wrong is mended below
        stays = np.exp((a - 1) * np.log1p(-z)) * hyp2f1(a + b - 1 - r, a - 1, c, z)
        expected = np.asarray(c / (a - 1) * (1 - stays))
    most = (r + x) * t / alpha  # of one who never leaves
    wrong = ~((expected >= 0) & (expected <= most * (1 + 1e-9)))
    if wrong.any():  # SciPy's 2F1 gives up on some large or whole a
        expected[wrong] = _by_quadrature(r + x[wrong], alpha[wrong], a, b + x[wrong], t[wrong])
    return expected


def _by_quadrature(r: Array, alpha: Array, a: float, b: Array, t: Array, nodes: int = 1000) -> Array:
    """∫ (1 − (1 + p·t/alpha)^−r) / p · Beta(p; a, b) dp by the trapezoid rule over the logit of p.

    The integrand is analytic and falls exponentially on both sides, so that the rule converges geometrically.
    """
    middle, width = np.log(a / b), np.sqrt(1 / a + 1 / b)
    low = np.maximum(middle - np.maximum(9 * width, 36 / a), -500)
    high = np.minimum(middle + np.maximum(9 * width, 36 / b), 500)
    logit = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, nodes)
    log_p = -np.logaddexp(0, -logit)
    r, rate, b = r[:, None], (t / alpha)[:, None], b[:, None]
    weight = np.exp(a * logit - (a + b) * np.logaddexp(0, logit) - betaln(a, b))
    until_leaving = -np.expm1(-r * np.log1p(np.exp(log_p) * rate)) * np.exp(-log_p)
    return np.asarray((weight * until_leaving).sum(axis=1) * (high - low) / (nodes - 1))
