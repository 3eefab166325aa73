"""Gamma-Gamma against the numbers published for CDNOW, and at its edges."""

import numpy as np
import pytest

from services.metrics.domain.errors import FitImpossible
from services.metrics.domain.gamma_gamma import GammaGamma
from services.metrics.domain.newton import Fit
from tests.unit.metrics.cdnow import Columns


def test_the_published_parameters_and_likelihood(spending: Fit[GammaGamma]) -> None:
    model = spending.model
    assert [round(value, 2) for value in (model.p, model.q, model.gamma)] == [6.25, 3.74, 15.44]
    assert spending.log_likelihood == pytest.approx(-4055.92, abs=5e-3)
    assert spending.n == 946


def test_the_published_expectations(spending: Fit[GammaGamma], columns: Columns) -> None:
    expected = spending.model.expected_spend(columns.x[:3], columns.m[:3])
    assert [round(float(value), 2) for value in expected] == [24.65, 18.91, 35.17]


def test_the_expectation_lies_between_the_customer_and_all(spending: Fit[GammaGamma]) -> None:
    model = spending.model
    assert model.expected_spend(0, 0) == pytest.approx(model.population_mean)
    assert model.expected_spend(0, np.nan) == pytest.approx(model.population_mean)
    towards = model.expected_spend([1, 2, 10, 1000], 100)
    assert (np.diff([model.population_mean, *towards, 100]) > 0).all()
    assert model.expected_spend(3, 0) > 0


def test_cents_scale_gamma_alone(spending: Fit[GammaGamma], columns: Columns) -> None:
    cents = GammaGamma.fit(columns.x, columns.m * 100).model
    assert cents.gamma == pytest.approx(100 * spending.model.gamma, rel=1e-6)
    assert cents.q == pytest.approx(spending.model.q, rel=1e-6)


def test_weights_count_customers(spending: Fit[GammaGamma], columns: Columns) -> None:
    twice = GammaGamma.fit(columns.x, columns.m, 2)
    assert twice.n == 2 * 946
    assert twice.model.p == pytest.approx(spending.model.p, rel=1e-6)
    assert twice.standard_errors["p"] == pytest.approx(spending.standard_errors["p"] / np.sqrt(2), rel=1e-6)
    warm = GammaGamma.fit(columns.x, columns.m, start=spending.model)
    assert warm.iterations < spending.iterations


def test_the_fit_is_a_maximum(spending: Fit[GammaGamma], columns: Columns) -> None:
    paid = columns.m > 0
    x, m = columns.x[paid], columns.m[paid]
    model = spending.model
    assert model.log_likelihood(x, m) == pytest.approx(spending.log_likelihood)
    for other in (
        GammaGamma(model.p * 1.01, model.q, model.gamma),
        GammaGamma(model.p, model.q * 0.99, model.gamma),
        GammaGamma(model.p, model.q, model.gamma * 1.01),
    ):
        assert other.log_likelihood(x, m) < spending.log_likelihood


def test_free_orders_say_nothing_of_spend(spending: Fit[GammaGamma], columns: Columns) -> None:
    with_free = GammaGamma.fit([*columns.x, 3, 0], [*columns.m, 0, 12])
    assert with_free.n == 946
    assert with_free.model.p == pytest.approx(spending.model.p)


def test_too_few_who_paid_again() -> None:
    with pytest.raises(FitImpossible, match="at least 5 customers"):
        GammaGamma.fit([1, 2, 0, 4, 5, 6], [10, 11, 12, 0, 13, 14])


def test_customers_who_do_not_differ_have_no_maximum() -> None:
    with pytest.raises(FitImpossible, match="no maximum"):
        GammaGamma.fit([2] * 50, [20.0] * 50)


def test_an_infinite_mean_is_refused() -> None:
    rng = np.random.default_rng(3)
    rate = rng.gamma(0.6, 1 / 10, 3000)
    x = rng.integers(1, 8, 3000)
    with pytest.raises(FitImpossible, match=r"q = 0\.\d+, not above 1"):
        GammaGamma.fit(x, rng.gamma(4 * x, 1 / rate) / x)
    with pytest.raises(FitImpossible, match="mean spend is infinite"):
        GammaGamma(4, 1, 10).expected_spend(1, 10)


def test_amounts_that_no_customer_can_have() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        GammaGamma.fit([1] * 9, [-1.0] * 9)
