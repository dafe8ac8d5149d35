"""Do two sets of repeats differ, and by how much?

Works on logarithms, so that a ratio and its inverse are judged alike. A bootstrap resamples the repeats: of 3
to 10 its percentile intervals are too short, and none can reach beyond the samples. So they are expanded for
small samples (Hesterberg 2015: the quantiles of Student's t in place of the normal's), and never taken shorter than
Welch's interval. ``python -m brokerbench.bench.lab.false_positives`` measures how often that calls equal things
different.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

_RESAMPLES = 999
_SEED = 20_260
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """``ratio`` is head over base, ``low`` to ``high`` its interval."""

    ratio: float
    low: float
    high: float
    judgement: Literal["different", "same", "undecided"]


def interval(samples: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the samples' geometric mean. Raises ValueError for fewer than 3, or one that is not above 0."""
    logs = _logs(samples)
    tail = stats.t.ppf((1 + confidence) / 2, len(logs) - 1)
    half = tail * float(stats.sem(logs))
    low, high = _bootstrap((logs,), np.mean, _expanded(tail, len(logs)))
    middle = float(logs.mean())
    return float(np.exp(min(low, middle - half))), float(np.exp(max(high, middle + half)))


def compare(
    base: Sequence[float], head: Sequence[float], minimum_effect: float = 0.0, confidence: float = 0.95
) -> Comparison:
    """Compare interleaved repeats of two builds.

    ``different``: the interval excludes 1 and the ratio is beyond ``minimum_effect`` (0.05 = 5 %, either way).
    ``same``: the whole interval is within ``minimum_effect``. Raises ValueError as ``interval`` does, and for a
    negative ``minimum_effect``.
    """
    if minimum_effect < 0:
        raise ValueError(f"a minimum effect of {minimum_effect} is negative")
    before, after = _logs(base), _logs(head)
    middle = float(after.mean() - before.mean())
    low = high = middle
    if np.ptp(before) > 0 or np.ptp(after) > 0:
        welch = stats.ttest_ind(after, before, equal_var=False)
        bounds = welch.confidence_interval(confidence)
        tail = stats.t.ppf((1 + confidence) / 2, welch.df)
        widened = _expanded(tail, min(len(before), len(after)))
        found = _bootstrap((after, before), _difference, widened)
        low, high = min(found[0], float(bounds.low)), max(found[1], float(bounds.high))
    margin = float(np.log1p(minimum_effect))
    judgement: Literal["different", "same", "undecided"] = "undecided"
    if (low > 0 or high < 0) and abs(middle) > margin:
        judgement = "different"
    elif -margin <= low and high <= margin:
        judgement = "same"
    return Comparison(float(np.exp(middle)), float(np.exp(low)), float(np.exp(high)), judgement)


def deals(samples: Sequence[float], repeats: int, trials: int, seed: int) -> Iterator[tuple[list[float], list[float]]]:
    """Recorded repeats of one build as two equal sides, ``trials`` times.

    A trial takes neighbours, as interleaved repeats would be, and deals each pair to the two sides in random order, so
    that drift stays in. Raises ValueError for fewer than ``2 * repeats`` samples.
    """
    if len(samples) < 2 * repeats:
        raise ValueError(f"{len(samples)} samples are too few for two sides of {repeats}")
    rng = np.random.default_rng(seed)
    recorded = np.asarray(samples, float)
    for _ in range(trials):
        first = rng.integers(len(recorded) - 2 * repeats + 1)
        pairs = rng.permuted(recorded[first : first + 2 * repeats].reshape(repeats, 2), axis=1)
        yield pairs[:, 0].tolist(), pairs[:, 1].tolist()


def equal_difference(samples: Sequence[float], repeats: int, trials: int = 1000) -> float:
    """By how much two equal sides of ``repeats`` differ: the share that 95 % of ``deals`` stay below (0.03 = 3 %)."""
    found = [abs(_logs(one).mean() - _logs(other).mean()) for one, other in deals(samples, repeats, trials, _SEED)]
    return float(np.expm1(np.quantile(found, 0.95)))


def _logs(samples: Sequence[float]) -> Any:
    values = np.asarray(samples, float)
    if len(values) < _FEWEST:
        raise ValueError(f"{len(values)} samples are too few for an interval; {_FEWEST} are needed")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError("a sample is not a positive number: it has no ratio")
    return np.log(values)


def _difference(after: Any, before: Any, axis: int = -1) -> Any:
    return after.mean(axis=axis) - before.mean(axis=axis)


def _expanded(tail: float, count: int) -> float:
    """The confidence of percentiles that lie as far out as ``tail`` standard errors."""
    return float(2 * stats.norm.cdf(tail * np.sqrt(count / (count - 1))) - 1)


def _bootstrap(data: tuple[Any, ...], statistic: Any, confidence: float) -> tuple[float, float]:
    found = stats.bootstrap(
        data,
        statistic,
        n_resamples=_RESAMPLES,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(found.low), float(found.high)
