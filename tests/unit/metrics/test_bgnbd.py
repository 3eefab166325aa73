"""BG/NBD against the numbers published for CDNOW, against numerical integration, and at its edges."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import beta, gamma

from services.metrics.domain.bgnbd import BGNBD
from services.metrics.domain.bgnbd_likelihood import Likelihood
from services.metrics.domain.errors import FitImpossible
from services.metrics.domain.newton import Fit
from services.metrics.domain.purchases import Purchases
from services.metrics.domain.rfm import rows
from tests.unit.metrics.cdnow import CALIBRATION_END, HOLDOUT_END, Columns
from tests.unit.metrics.columns import cells

PUBLISHED = BGNBD(r=0.243, alpha=4.414, a=0.793, b=2.426)


def test_the_published_parameters_and_likelihood(fitted: Fit[BGNBD]) -> None:
    model = fitted.model
    assert [round(value, 3) for value in (model.r, model.alpha, model.a, model.b)] == [0.243, 4.414, 0.793, 2.426]
    assert fitted.log_likelihood == pytest.approx(-9582.429, abs=5e-4)
    assert fitted.n == 2357
    assert fitted.iterations < 15


def test_rfm_cells_give_the_same_fit_as_its_customers(fitted: Fit[BGNBD], customers: dict[str, Purchases]) -> None:
    table = rows(cells(customers.values(), CALIBRATION_END), CALIBRATION_END)
    assert len(table.n) < table.n.sum() == 2357
    compact = BGNBD.fit(*table)
    assert compact.log_likelihood == pytest.approx(fitted.log_likelihood, abs=1e-6)
    assert compact.model.b == pytest.approx(fitted.model.b, rel=1e-6)


def test_a_day_more_or_less_gives_other_parameters(columns: Columns) -> None:
    late = BGNBD.fit(columns.x, columns.t_x, columns.T + 1 / 7).model
    assert [late.r, late.alpha, late.a, late.b] == pytest.approx([0.2417, 4.394, 0.8145, 2.477], abs=6e-4)


def test_published_points(fitted: Fit[BGNBD]) -> None:
    model = fitted.model
    assert model.expected(52, 26, 30.857, 31) == pytest.approx(25.757, abs=1e-3)
    assert model.alive(26, 30.857, 31) == pytest.approx(0.96885, abs=1e-5)
    assert PUBLISHED.expected(39, 2, 30.43, 38.86) == pytest.approx(1.226, abs=5e-4)
    assert model.expected_if_alive(52, 0, 0) == pytest.approx(1.444, abs=5e-4)  # of a new customer


def test_the_holdout_is_predicted_as_published(
    fitted: Fit[BGNBD], columns: Columns, customers: dict[str, Purchases]
) -> None:
    predicted = fitted.model.expected(39, columns.x, columns.t_x, columns.T).sum()
    actual = sum(table.x for one in customers.values() for table in cells([one], HOLDOUT_END)) - int(columns.x.sum())
    assert round(predicted) == 1653
    assert actual == 1882


def test_risk_ranks_customers_where_alive_does_not(
    fitted: Fit[BGNBD], columns: Columns, customers: dict[str, Purchases]
) -> None:
    late = np.array([next(iter(cells([one], HOLDOUT_END))).x for one in customers.values()]) > columns.x
    alive = fitted.model.alive(*columns[:3])
    active = fitted.model.active(39, *columns[:3])
    assert _auc(alive, late) == pytest.approx(0.316, abs=5e-3)
    assert _auc(active, late) == pytest.approx(0.757, abs=5e-3)
    assert alive[columns.x == 0].min() == 1.0
    assert fitted.model.risk(39, *columns[:3]) == pytest.approx(1 - active)


def test_standard_errors_are_those_of_the_curvature(fitted: Fit[BGNBD], columns: Columns) -> None:
    theta = np.array([fitted.model.r, fitted.model.alpha, fitted.model.a, fitted.model.b])
    likelihood = Likelihood(columns.x, columns.t_x, columns.T, np.ones_like(columns.x))
    covariance = np.linalg.inv(-likelihood(theta)[2])
    assert list(fitted.standard_errors) == ["r", "alpha", "a", "b"]
    assert list(fitted.standard_errors.values()) == pytest.approx(np.sqrt(np.diag(covariance)), rel=1e-4)
    assert np.outer(theta, theta) * np.array(fitted.log_covariance) == pytest.approx(covariance, rel=1e-3)


def test_gradient_and_hessian_are_the_derivatives(columns: Columns) -> None:
    likelihood = Likelihood(columns.x, columns.t_x, columns.T, np.linspace(0.5, 2, len(columns.x)))
    at = np.array([0.3, 5.0, 0.9, 2.0])
    gradient, hessian = likelihood(at)[1:]
    for i, nudge in enumerate(np.eye(4) * 1e-5):
        above, below = likelihood(at + nudge), likelihood(at - nudge)
        assert gradient[i] == pytest.approx((above[0] - below[0]) / 2e-5, rel=1e-5)
        assert hessian[i] == pytest.approx((above[1] - below[1]) / 2e-5, rel=1e-5)


def test_a_warm_start_ends_in_the_same_place_sooner(fitted: Fit[BGNBD], columns: Columns) -> None:
    warm = BGNBD.fit(columns.x, columns.t_x, columns.T, start=fitted.model)
    assert warm.iterations < fitted.iterations
    astray = BGNBD.fit(columns.x, columns.t_x, columns.T, start=BGNBD(1e5, 1e-5, 1e5, 1e-5))
    for other in (warm, astray):
        assert other.model.alpha == pytest.approx(fitted.model.alpha, rel=1e-6)


def test_simulated_customers_give_their_parameters_back() -> None:
    true = BGNBD(r=0.8, alpha=6.0, a=0.6, b=3.0)
    x, t_x, T = _simulate(true, 20_000, np.random.default_rng(7))
    fit = BGNBD.fit(x, t_x, T)
    for name, error in fit.standard_errors.items():
        assert abs(getattr(fit.model, name) - getattr(true, name)) < 4 * error


@pytest.mark.parametrize(
    "model",
    [
        PUBLISHED,
        BGNBD(0.5, 0.01, 0.3, 0.2),  # c below zero for x = 0
        BGNBD(0.5, 5, 1, 0.2),  # a = 1, a removable singularity
        BGNBD(0.5, 5, 1 + 3e-7, 2),
        BGNBD(0.5, 5, 0.3, 0.7),  # a + b = 1, another
        BGNBD(2, 50, 3, 7),  # SciPy's 2F1 is nan here for x = 200
        BGNBD(2, 1, 300, 70_000),  # and here
    ],
)
@pytest.mark.parametrize(("x", "T", "t"), [(0, 0, 10), (0, 0, 2000), (1, 50, 52), (200, 31, 52), (200, 1, 1000)])
def test_expectations_equal_the_integral_over_those_who_leave(model: BGNBD, x: int, T: float, t: float) -> None:
    def integrand(p: float) -> float:
        until_leaving = -np.expm1(-(model.r + x) * np.log1p(p * t / (model.alpha + T))) / p
        return float(until_leaving * beta.pdf(p, model.a, model.b + x))

    edges = [0.0, *np.logspace(-9, 0, 40)]
    integral = sum(quad(integrand, low, high, epsrel=1e-9)[0] for low, high in pairwise(edges[1:])) + (
        model.r + x
    ) * t / (model.alpha + T) * beta.cdf(edges[1], model.a, model.b + x)
    assert float(model.expected_if_alive(t, x, T)) == pytest.approx(integral, rel=1e-5)


def test_expectations_of_heavy_buyers_are_finite_and_bounded(fitted: Fit[BGNBD]) -> None:
    x, T = np.meshgrid(np.arange(0, 1001, 50.0), np.array([0.5, 5, 50, 500]))
    expected = fitted.model.expected(52, x, T * 0.9 * (x > 0), T)
    assert np.isfinite(expected).all()
    assert (expected >= 0).all()
    assert (expected <= (fitted.model.r + x) / (fitted.model.alpha + T) * 52).all()
    assert fitted.model.expected(0, 5, 10, 20) == 0


def test_log_odds_name_the_reasons(fitted: Fit[BGNBD]) -> None:
    model = fitted.model
    odds = model.log_odds_left(5, 15, 35)
    assert odds.baseline == pytest.approx(np.log(model.a / (model.b + 4)))
    assert model.alive(5, 15, 35) == pytest.approx(1 / (1 + np.exp(odds.total)))
    assert model.log_odds_left(5, 35, 35).silence == 0
    assert model.log_odds_left(0, 0, 35).total == -np.inf


def test_too_few_customers_or_none_who_came_back() -> None:
    with pytest.raises(FitImpossible, match="at least 10 customers"):
        BGNBD.fit([2, 1], [3, 4], [5, 6])
    with pytest.raises(FitImpossible, match="there are 500 and 0"):
        BGNBD.fit([0], [0], [20], [500])
    with pytest.raises(FitImpossible, match="there are 0 and 0"):
        BGNBD.fit([], [], [], [])


def test_customers_who_do_not_differ_have_no_maximum() -> None:
    with pytest.raises(FitImpossible, match="no maximum") as refusal:
        BGNBD.fit([4], [20], [21], [100])
    assert refusal.value.status == 409
    assert "Keep the earlier fit" in refusal.value.detail


@pytest.mark.parametrize(
    "row", [(1, 5, 4, 1), (0, 1, 4, 1), (-1, 0, 4, 1), (1, 2, np.nan, 1), (1, 2, 3, -1), (1.5, 2, 3, 1)]
)
def test_rows_that_no_customer_can_have(row: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match=r"must|<="):
        BGNBD.fit(*row)


def _auc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The chance that a positive scores above a negative; a tie is half a chance."""
    _, rank, count = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    hits = int(positive.sum())
    return float((middle[rank][positive].sum() - hits * (hits + 1) / 2) / (hits * (len(score) - hits)))


def _simulate(
    model: BGNBD, n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    rate = gamma.rvs(model.r, scale=1 / model.alpha, size=n, random_state=rng)
    leaving = beta.rvs(model.a, model.b, size=n, random_state=rng)
    T = rng.uniform(20, 60, n)
    x, t_x = np.zeros(n), np.zeros(n)
    active = np.ones(n, dtype=bool)
    while active.any():
        active &= rng.random(n) > leaving * (x > 0)
        wait = t_x + rng.exponential(1 / np.maximum(rate, 1e-12))
        active &= wait <= T
        x, t_x = np.where(active, x + 1, x), np.where(active, wait, t_x)
    return x, t_x, T
