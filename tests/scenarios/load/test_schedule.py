"""Schedules: the asked rate, in the asked shape, whatever the number of producers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerbench.scenarios.load.schedule import ARRIVALS, SHAPES, Schedule, due_ns

S = 1_000_000_000
START = 5 * S


def all_due(schedule: Schedule, producers: int = 1, seed: int = 1) -> np.ndarray:
    parts = [
        stretch
        for producer in range(producers)
        for stretch in due_ns(schedule, START, producer=producer, producers=producers, seed=seed)
    ]
    return np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)


@given(
    shape=st.sampled_from(SHAPES),
    arrivals=st.sampled_from(ARRIVALS),
    rate=st.floats(10, 50_000),
    duration_s=st.floats(0.2, 3),
    producers=st.integers(1, 4),
)
def test_the_mean_rate_is_the_asked_one(
    shape: str, arrivals: str, rate: float, duration_s: float, producers: int
) -> None:
    due = all_due(Schedule(rate, duration_s, shape, arrivals), producers)
    expected = rate * duration_s
    # Six standard deviations of a Poisson count; regular arrivals miss at most one for each producer.
    allowed = 6 * expected**0.5 + 2 if arrivals == "poisson" else producers
    assert abs(len(due) - expected) <= allowed
    if len(due):
        assert due[0] >= START
        assert due[-1] <= START + duration_s * S


def test_regular_arrivals_of_several_producers_interleave_evenly() -> None:
    due = all_due(Schedule(1000, 1.0), producers=4)
    assert set(np.diff(due)) == {1_000_000}


def test_a_long_schedule_comes_in_stretches_that_ascend() -> None:
    stretches = list(due_ns(Schedule(100_000, 1.0), START))
    assert len(stretches) > 5
    assert (np.diff(np.concatenate(stretches)) >= 0).all()


def test_poisson_gaps_are_exponential_and_follow_the_seed() -> None:
    schedule = Schedule(20_000, 2.0, arrivals="poisson")
    due = all_due(schedule)
    gaps_s = np.diff(due) / 1e9
    assert np.std(gaps_s) == pytest.approx(np.mean(gaps_s), rel=0.05)
    assert (all_due(schedule) == due).all()
    assert len(all_due(schedule, seed=2)) != len(due) or (all_due(schedule, seed=2) != due).any()


def test_bursts_leave_the_rest_of_a_second_empty() -> None:
    due = all_due(Schedule(1000, 3.0, "bursty"))
    assert abs(len(due) - 3000) <= 1
    assert (((due - START) % S) <= 0.2 * S + 1000).all()


def test_steps_climb() -> None:
    due = all_due(Schedule(3000, 5.0, "stepped"))
    counts = np.bincount((due - START) // S, minlength=5)[:5]
    assert counts.tolist() == pytest.approx([1000, 2000, 3000, 4000, 5000], abs=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 0.0, "duration_s": 1.0}, "greater than 0"),
        ({"rate": 1.0, "duration_s": 0.0}, "greater than 0"),
        ({"rate": 1.0, "duration_s": 1.0, "shape": "square"}, "unknown shape 'square'; known: constant"),
        ({"rate": 1.0, "duration_s": 1.0, "arrivals": "late"}, "unknown arrivals 'late'; known: regular"),
    ],
)
def test_what_is_wrong_is_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(**arguments)  # type: ignore[arg-type]
