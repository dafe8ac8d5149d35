"""Whether latency was steady: within windows, and over the windows of one rate or of neighbouring ones.

A broker that gets faster while it is measured gives each rate of a curve another age. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from brokerbench.scenarios.metrics.message_times import Times

_STRETCHES = 10
"""Stretches of a window whose medians show whether its latency drifts."""
_DRIFT_P = 0.01
_DRIFT_RATIO = 1.5
_LEAST_MS = 1.0
"""A smaller drift between windows is none, however large its ratio: it is less than most schedulers take."""
_NEIGHBOURS = 1.25
"""Rates whose ratio is at most this are neighbours: a higher one of them cannot make a warm broker faster."""
_WOBBLE = 1.1
_FEWEST = 3
_WARM_RATIO, _WARM_LEAST_MS = 1.25, 0.5

RatedMedian = tuple[float, float]
"""Rate of a window, and the median of its end-to-end latency in ms."""


def within(parts: Sequence[Times]) -> str:
    """Whether latency drifts within windows, by Kendall's rank correlation of ten medians with time."""
    drifts = [_drift(part) for part in parts]
    found = [
        f"{word} within {drifts.count(sign)} of {len(parts)} windows"
        for sign, word in ((1, "climbing"), (-1, "falling"))
        if sign in drifts
    ]
    return ", ".join(found) or "steady"


def _drift(part: Times) -> int:
    """1: climbs, -1: falls, 0: neither, or too short to tell."""
    from scipy import stats  # half a second that no other cell needs

    if len(part) < 10 * _STRETCHES:
        return 0
    medians = np.array([np.median(stretch) for stretch in np.array_split(part, _STRETCHES)])
    correlation, p = stats.kendalltau(np.arange(_STRETCHES), medians)
    if p >= _DRIFT_P:
        return 0
    if correlation > 0 and medians[-1] > _DRIFT_RATIO * max(1.0, medians[0]):
        return 1
    return -1 if correlation < 0 and medians[0] > _DRIFT_RATIO * max(1.0, medians[-1]) else 0


def falls(medians_ms: Sequence[float]) -> bool:
    """Whether the latency of a warm-up still fell, by the medians of its stretches: the first against the last two."""
    if len(medians_ms) < 2:
        return False
    part = max(1, 2 * len(medians_ms) // 5)
    first, last = float(np.median(medians_ms[:part])), float(np.median(medians_ms[-part:]))
    return first > _WARM_RATIO * last and first - last > _WARM_LEAST_MS


def apart(windows: Sequence[RatedMedian]) -> Mapping[float, str]:
    """{rate: its windows' medians in words}, of rates whose own windows differ by more than noise."""
    found = {}
    for rate in dict.fromkeys(rate for rate, _ in windows):
        medians = [median for of, median in windows if of == rate]
        if _differ(max(medians), min(medians)):
            found[rate] = f"unsteady between windows: medians of {_listed(medians)} ms"
    return found


def warming(windows: Sequence[RatedMedian]) -> Mapping[float, str]:
    """{rate: how latency fell, in words}, of rates that were measured while the broker still got faster.

    ``windows`` in order of time. Those of neighbouring rates belong together: where latency falls from each to the
    next, though no rate is lower, the age of the broker was measured.
    """
    found: dict[float, str] = {}
    for rates in _neighbours(sorted({rate for rate, _ in windows})):
        ours = [(rate, median) for rate, median in windows if rate in rates]
        medians = [median for _, median in ours]
        if len(ours) < _FEWEST or ours[-1][0] < ours[0][0] or not _differ(medians[0], medians[-1]):
            continue
        if all(later < _WOBBLE * earlier for earlier, later in itertools.pairwise(medians)):
            text = f"still warming up: from window to window the median fell, {_listed(medians)} ms"
            found |= dict.fromkeys(rates, text)
    return found


def _neighbours(rates: Sequence[float]) -> list[list[float]]:
    groups: list[list[float]] = []
    for rate in rates:
        if groups and rate <= _NEIGHBOURS * groups[-1][-1]:
            groups[-1].append(rate)
        else:
            groups.append([rate])
    return groups


def _differ(high_ms: float, low_ms: float) -> bool:
    return high_ms > _DRIFT_RATIO * low_ms and high_ms - low_ms > _LEAST_MS


def _listed(medians_ms: Sequence[float]) -> str:
    return ", ".join(f"{median:.3g}" for median in medians_ms)
