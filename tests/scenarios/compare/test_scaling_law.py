"""The Universal Scalability Law, against throughputs that follow one that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from brokerbench.scenarios.compare import scaling_law

LEVELS = [1, 2, 3, 4, 6, 8]


def law(n: np.ndarray, rate: float, contention: float, coherency: float) -> np.ndarray:
    return rate * n / (1 + contention * (n - 1) + coherency * n * (n - 1))


def measured(rng: np.random.Generator, noise: float, contention: float, coherency: float) -> scaling_law.Fit:
    n = np.repeat(np.array(LEVELS, float), 3)
    found = scaling_law.fit(n.tolist(), (law(n, 50_000, contention, coherency) * rng.normal(1, noise, len(n))).tolist())
    assert found is not None
    return found


@pytest.mark.parametrize(("contention", "coherency"), [(0.0, 0.0), (0.3, 0.0), (0.05, 0.02), (0.0, 0.1)])
def test_a_law_without_noise_is_found_exactly(contention: float, coherency: float) -> None:
    found = measured(np.random.default_rng(1), 0.0, contention, coherency)
    assert found.rate_of_one.value == pytest.approx(50_000)
    assert found.contention.value == pytest.approx(contention, abs=1e-9)
    assert found.coherency.value == pytest.approx(coherency, abs=1e-9)
    if coherency > 1e-6:
        assert found.peak.value == pytest.approx(math.sqrt((1 - contention) / coherency))
    low, fitted, high = found.rate(np.array([5.0]))
    assert low[0] == pytest.approx(fitted[0]) == pytest.approx(high[0])
    assert fitted[0] == pytest.approx(law(np.array([5.0]), 50_000, contention, coherency)[0])


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(60):
        found = measured(rng, 0.05, 0.1, 0.02)
        held += found.contention.low <= 0.1 <= found.contention.high
    assert held >= 51


def test_noise_widens_intervals() -> None:
    calm, noisy = (measured(np.random.default_rng(3), noise, 0.1, 0.02) for noise in (0.01, 0.1))
    assert noisy.contention.high - noisy.contention.low > 3 * (calm.contention.high - calm.contention.low)
    assert calm.off_by == pytest.approx(0.01, rel=0.5)


def test_too_little_gives_no_fit() -> None:
    assert scaling_law.fit([1, 2, 3] * 5, [1.0, 2.0, 3.0] * 5) is None
    assert scaling_law.fit([1, 2, 3, 4], [1.0, 2.0, 0.0, 3.0]) is None
