"""Drift within windows and between them, and warm-ups that were too short."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from brokerbench.scenarios.analysis import steadiness

MS = 1_000_000
COLD = [67, 41, 30, 24, 12, 10, 9.6]
"""Medians of a Kafka in a fresh virtual machine, in seven windows of 500 to 506 messages a second."""


def test_a_broker_that_warms_up_under_neighbouring_rates_is_told() -> None:
    windows = [(10.0, 80.0), *((500.0 + at, median) for at, median in enumerate(COLD))]
    found = steadiness.warming(windows)
    assert set(found) == {500.0 + at for at in range(7)}
    assert "67, 41, 30, 24, 12, 10, 9.6 ms" in found[500.0]


@pytest.mark.parametrize(
    "windows",
    [
        [(500.0, 10.0), (501.0, 9.9), (502.0, 10.1)],  # steady
        [(100.0, 30.0), (250.0, 20.0), (500.0, 12.0), (900.0, 10.0)],  # no neighbours: batches fill better
        [(900.0, 60.0), (855.0, 30.0), (812.0, 10.0)],  # lowered
        [(500.0, 60.0), (500.0, 90.0), (500.0, 20.0)],  # noise
        [(500.0, 0.9), (500.0, 0.5), (500.0, 0.2)],  # less than a millisecond
        [(500.0, 67.0), (500.0, 20.0)],  # two windows are no trend
    ],
)
def test_other_differences_are_no_warming_up(windows: Sequence[tuple[float, float]]) -> None:
    assert not steadiness.warming(windows)


def test_windows_of_one_rate_that_differ_are_told() -> None:
    assert set(steadiness.apart([(10.0, 5.0), (20.0, 5.0), (10.0, 6.0), (20.0, 9.0)])) == {20.0}
    assert not steadiness.apart([(10.0, 0.1), (10.0, 0.9)])


def test_a_warm_up_is_over_when_latency_falls_no_longer() -> None:
    assert steadiness.falls(COLD)
    assert steadiness.falls([67, 50, 41, 35, 30])
    assert not steadiness.falls([10, 10.5, 9.6, 10, 9.6])
    assert not steadiness.falls([0.9, 0.8, 0.6, 0.5, 0.5])
    assert not steadiness.falls([5, 10, 20, 40, 80]), "an overload climbs"
    assert not steadiness.falls([])


@pytest.mark.parametrize(
    ("first_ms", "last_ms", "words"),
    [
        (10, 10, "steady"),
        (10, 40, "climbing within 1 of 1 windows"),
        (40, 10, "falling within 1 of 1 windows"),
    ],
)
def test_a_drift_within_a_window_is_told_in_either_direction(first_ms: float, last_ms: float, words: str) -> None:
    assert steadiness.within([np.linspace(first_ms * MS, last_ms * MS, 1000).astype(np.int64)]) == words
