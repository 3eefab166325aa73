"""Maximum likelihood of positive parameters: Newton's method on their logarithms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.metrics.domain.errors import FitImpossible

Array = NDArray[np.float64]
Model = TypeVar("Model")

#: Parameters → log-likelihood, its gradient and its Hessian, all by the parameters themselves (not their logarithms).
Likelihood = Callable[[Array], tuple[float, Array, Array]]

#: A parameter outside e^±LIMIT diverges: the likelihood has no maximum.
LIMIT = 14.0
#: No step changes a logarithm by more than this.
LONGEST_STEP = 1.5
#: Converged when a full Newton step would change no logarithm by more than this.
TOLERANCE = 1e-7
ITERATIONS = 100


@dataclass(frozen=True)
class Fit(Generic[Model]):
    """A model fitted by maximum likelihood.

    `n` is the number of customers. `log_covariance` is (−H)⁻¹, H the Hessian of the log-likelihood by the *logarithms*
    of the parameters, so that draws for intervals are exp(N(log θ, log_covariance)) and stay positive.
    `standard_errors` are those of the parameters themselves, by the delta method: SE(θᵢ) = θᵢ·√log_covarianceᵢᵢ
    (all of their covariance is outer(θ, θ) ∘ log_covariance). Parameters are named as in the model and in its order.
    """

    model: Model
    log_likelihood: float
    n: int
    standard_errors: dict[str, float]
    log_covariance: tuple[tuple[float, ...], ...]
    iterations: int


@dataclass(frozen=True)
class Maximum:
    """Where the likelihood is largest."""

    parameters: Array
    log_likelihood: float
    log_covariance: Array
    iterations: int

    def fit_of(self, model: Model, names: Sequence[str], n: int) -> Fit[Model]:
        """The `Fit` of `model` to `n` customers at this maximum; `names` are those of its parameters."""
        errors = self.parameters * np.sqrt(np.diag(self.log_covariance))
        return Fit(
            model=model,
            log_likelihood=self.log_likelihood,
            n=n,
            standard_errors={name: float(error) for name, error in zip(names, errors, strict=True)},
            log_covariance=tuple(tuple(float(value) for value in row) for row in self.log_covariance),
            iterations=self.iterations,
        )


def maximise(likelihood: Likelihood, starts: Sequence[Sequence[float]], names: Sequence[str]) -> Maximum:
    """The maximum found from the first of `starts` that leads to one.

    Deterministic. Raises FitImpossible, with the reason of the last start, if none does.
    """
    refused: FitImpossible | None = None
    for start in starts:
        try:
            return _climb(likelihood, np.log(np.asarray(start, dtype=np.float64)), names)
        except FitImpossible as error:
            refused = error
    raise refused or FitImpossible("The fit has no starting point.")


def _climb(likelihood: Likelihood, logs: Array, names: Sequence[str]) -> Maximum:
    value, slope, curve = _by_logs(likelihood, logs)
    for iteration in range(1, ITERATIONS + 1):
        step, concave = _step(slope, curve)
        if concave and np.abs(step).max() < TOLERANCE:
            return Maximum(np.exp(logs), value, np.asarray(np.linalg.inv(-curve), np.float64), iteration)
        logs, value, slope, curve = _search(likelihood, logs, step, value, float(slope @ step))
        furthest = int(np.abs(logs).argmax())
        if abs(logs[furthest]) > LIMIT:
            raise FitImpossible(_diverges(names[furthest], logs[furthest] > 0))
    raise FitImpossible(
        f"The fit found no maximum in {ITERATIONS} steps: keep the earlier fit, or fit on a longer period."
    )


def _step(slope: Array, curve: Array) -> tuple[Array, bool]:
    """Newton's step, shortened to LONGEST_STEP, uphill also where the likelihood isn't concave; whether it is."""
    if not (np.isfinite(slope).all() and np.isfinite(curve).all()):
        raise FitImpossible("The likelihood isn't finite: check the purchases for absurd amounts or dates.")
    bends, axes = np.linalg.eigh(-curve)
    steepest = float(np.abs(bends).max()) or 1.0
    step = axes @ ((axes.T @ slope) / np.maximum(np.abs(bends), 1e-10 * steepest))
    longest = float(np.abs(step).max())
    return step * min(1.0, LONGEST_STEP / max(longest, TOLERANCE)), bool(bends.min() > 1e-10 * steepest)


def _search(
    likelihood: Likelihood, logs: Array, step: Array, value: float, gain: float
) -> tuple[Array, float, Array, Array]:
    """Halve `step` until the likelihood rises by a fair part of the `gain` that its slope promises (Armijo)."""
    rounding = 1e-12 * (1.0 + abs(value))
    for halvings in range(40):
        reached = logs + step / 2**halvings
        there = _by_logs(likelihood, reached)
        if np.isfinite(there[0]) and there[0] >= value + 1e-4 * gain / 2**halvings - rounding:
            return reached, *there
    raise FitImpossible("The fit stopped before a maximum: keep the earlier fit, or fit on a longer period.")


def _by_logs(likelihood: Likelihood, logs: Array) -> tuple[float, Array, Array]:
    """Value, gradient and Hessian by the logarithms: g' = θ∘g, H' = outer(θ, θ)∘H + diag(θ∘g)."""
    parameters = np.exp(logs)
    value, gradient, hessian = likelihood(parameters)
    slope = parameters * gradient
    return value, slope, np.outer(parameters, parameters) * hessian + np.diag(slope)


def _diverges(name: str, upwards: bool) -> str:
    return (
        f"The likelihood has no maximum: {name} goes to {'infinity' if upwards else 'zero'}, because these customers "
        "differ too little or too few of them bought again. Keep the earlier fit, or fit on more customers or a longer period."
    )
