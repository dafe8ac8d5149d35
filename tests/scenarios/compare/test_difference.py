"""A comparison finds what differs, keeps silent about what does not, and says so when it cannot know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from brokerbench.bench.errors import BadInput
from brokerbench.bench.lab import false_positives
from brokerbench.scenarios.compare.difference import compare, interval

RECORDED = [float(line) for line in Path(__file__).with_name("memory_publish_rates.txt").read_text().split()]
TRIALS = 1000


def test_a_clear_difference_is_found_with_its_ratio() -> None:
    found = compare([100, 102, 98, 101, 99], [80, 81, 79, 82, 78], 0.05)
    assert found.judgement == "different"
    assert found.low < 0.8 < found.high < 0.9
    assert found.ratio == pytest.approx(0.8, abs=0.002)


def test_a_difference_too_small_to_matter_is_the_same() -> None:
    found = compare([100, 100.2, 99.8, 100.1], [101, 101.2, 100.8, 101.1], 0.05)
    assert found.judgement == "same"
    assert 1 < found.low < found.high < 1.05


def test_few_and_wide_repeats_decide_nothing() -> None:
    assert compare([60, 100, 140], [70, 120, 150], 0.05).judgement == "undecided"


def test_the_inverse_comparison_is_judged_alike() -> None:
    one, other = [100, 110, 90, 105], [120, 131, 108, 126]
    forth, back = compare(one, other, 0.1), compare(other, one, 0.1)
    assert forth.judgement == back.judgement
    assert forth.ratio == pytest.approx(1 / back.ratio)


def test_equal_constant_samples_are_the_same() -> None:
    assert compare([5, 5, 5], [5, 5, 5]).judgement == "same"
    assert compare([5, 5, 5], [6, 6, 6]).judgement == "different"


def test_the_same_samples_give_the_same_interval() -> None:
    assert compare(RECORDED[:5], RECORDED[5:10]) == compare(RECORDED[:5], RECORDED[5:10])
    low, high = interval(RECORDED[:5])
    assert low < stats.gmean(RECORDED[:5]) < high
    assert (low, high) == interval(RECORDED[:5])


@pytest.mark.parametrize("samples", [[1.0, 2.0], [1.0, 2.0, 0.0], [1.0, 2.0, float("nan")]])
def test_what_has_no_interval_is_refused(samples: list[float]) -> None:
    with pytest.raises(ValueError, match=r"too few|not a positive number"):
        interval(samples)
    with pytest.raises(ValueError, match=r"too few|not a positive number"):
        compare([1, 2, 3], samples)


def test_a_negative_minimum_effect_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        compare([1, 2, 3], [1, 2, 3], -0.1)


@pytest.mark.parametrize("repeats", [3, 5, 10])
def test_equal_things_are_seldom_called_different(repeats: int) -> None:
    synthetic = np.random.default_rng(3).lognormal(0, 0.2, 4000).tolist()
    for samples in (RECORDED, synthetic):
        found = false_positives.false_alarms(samples, repeats, TRIALS, seed=1)
        assert found.low <= 0.05, (found.different, found.trials)


def test_the_trials_can_fail() -> None:
    """Windows of two builds dealt out as if they were one: what an A/A trial must not swallow."""
    rng = np.random.default_rng(4)
    different = sum(
        compare(rng.lognormal(0, 0.05, 5).tolist(), rng.lognormal(0.3, 0.05, 5).tolist()).judgement == "different"
        for _ in range(50)
    )
    assert different >= 45


def test_a_run_without_enough_repeats_is_refused() -> None:
    evidence = next((Path(__file__).parents[3] / "docs" / "evidence").glob("*"))
    with pytest.raises(BadInput, match="no rate has 20 repeats"):
        false_positives.recorded_rates(evidence, 10)
    with pytest.raises(ValueError, match="too few"):
        false_positives.false_alarms([1.0, 2.0], 3, 10, 1)
