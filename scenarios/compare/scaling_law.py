"""How throughput grows with the number of clients: the Universal Scalability Law (Gunther 2007) with intervals.

    X(n) = rate_of_one * n / (1 + contention * (n - 1) + coherency * n * (n - 1))

Contention is the share of work that queues for a shared resource, coherency the cost of agreement between each two
clients. n / X(n) is linear in three coefficients that are not negative, so the best fit of relative errors is found
exactly (non-negative least squares), without a start value. Intervals: 95 %, from a bootstrap of the residuals, each
enlarged for the three parameters that were fitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

Floats = npt.NDArray[np.float64]

FEWEST_LEVELS = 4
"""Least number of levels for a fit: three parameters fit any three points."""
_PARAMETERS = 3
_RESAMPLES = 1000
_BOUNDS = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Estimate:
    low: float
    value: float
    high: float


@dataclass(frozen=True, slots=True)
class Fit:
    """``peak``: clients beyond which more of them lower the throughput; infinite where no peak was found.

    ``off_by``: the root mean square of the relative residuals. ``curves``: resampled coefficients, for a band.
    """

    rate_of_one: Estimate
    contention: Estimate
    coherency: Estimate
    peak: Estimate
    off_by: float
    coefficients: Floats
    curves: Floats

    def rate(self, clients: Floats) -> tuple[Floats, Floats, Floats]:
        """Low, fitted and high throughput at these numbers of clients."""
        terms = _terms(clients)
        low, high = np.percentile(clients / (self.curves @ terms.T), _BOUNDS, axis=0)
        return low, clients / (terms @ self.coefficients), high


def fit(clients: Sequence[float], rates: Sequence[float], seed: int = 0) -> Fit | None:
    """One point a measurement. None where too few levels were measured, or a rate is not positive."""
    n, x = np.asarray(clients, float), np.asarray(rates, float)
    if len(np.unique(n)) < FEWEST_LEVELS or (x <= 0).any() or (n <= 0).any() or len(n) <= _PARAMETERS:
        return None
    terms = _terms(n)
    best = _solve(terms, n, x)
    fitted = n / (terms @ best)
    residuals = x / fitted - 1.0
    enlarged = (residuals - residuals.mean()) * math.sqrt(len(n) / (len(n) - _PARAMETERS))
    rng = np.random.default_rng(seed)
    drawn = rng.choice(enlarged, (_RESAMPLES, len(n)))
    curves = np.array([_solve(terms, n, fitted * np.maximum(1.0 + errors, 0.01)) for errors in drawn])
    meanings = np.array([_meaning(curve) for curve in curves]).T
    rate, contention, coherency, peak = (
        Estimate(_quantile(values, _BOUNDS[0]), value, _quantile(values, _BOUNDS[1]))
        for value, values in zip(_meaning(best), meanings, strict=True)
    )
    return Fit(rate, contention, coherency, peak, float(np.sqrt(np.mean(residuals**2))), best, curves)


def _quantile(values: Floats, percent: float) -> float:
    """One of the values, as between a number and infinity there is no mean."""
    return float(np.percentile(values, percent, method="nearest"))


def _terms(clients: Floats) -> Floats:
    columns: Floats = np.stack([np.ones_like(clients), clients - 1.0, clients * (clients - 1.0)], axis=1)
    return columns


def _solve(terms: Floats, clients: Floats, rates: Floats) -> Floats:
    """Coefficients of n / X(n) with the least relative error of the fitted rates."""
    coefficients, _ = nnls(terms * (rates / clients)[:, np.newaxis], np.ones(len(rates)))
    found: Floats = coefficients
    return found


def _meaning(coefficients: Floats) -> tuple[float, float, float, float]:
    """Rate of one, contention, coherency, peak."""
    one, contention, coherency = (float(value) for value in coefficients)
    if one <= 0.0:
        return math.inf, math.inf, math.inf, math.nan
    peak = math.sqrt(max(0.0, one - contention) / coherency) if coherency > 0.0 else math.inf
    return 1.0 / one, contention / one, coherency / one, peak
