"""When a generator has to doubt itself: whatever held it up, unless it was the broker."""

from __future__ import annotations

import pytest

from brokerbench.scenarios.metrics.own_time import OwnTime, doubts

S = 1_000_000_000


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (OwnTime("p", 4 * S, due=1000, late=11), "late by itself: 11 of 1,000"),
        (OwnTime("p", 4 * S, stalls_ms=(3000.0,)), "stood still for 3,000 ms of 4,000"),
        (OwnTime("p", 4 * S, stalls_ms=(90.0,) * 36), "stood still"),  # throttled to a tenth
        (OwnTime("c", 4 * S, gaps_ms=(600.0,)), "did not ask the broker for 600 ms"),
        (OwnTime("c", 4 * S, stalls_ms=(150.0,)), "stood still"),  # more than 1 % later than the limit
    ],
)
def test_time_lost_by_itself_is_a_doubt(own: OwnTime, words: str) -> None:
    (found,) = doubts([own, OwnTime("sound", 4 * S)], 100.0)
    assert words in found


@pytest.mark.parametrize(
    "own",
    [
        OwnTime("p", 4 * S, due=1000, late=10),
        OwnTime("p", 4 * S, stalls_ms=(30.0, 25.0), gaps_ms=(55.0,)),
        OwnTime("p", 4 * S, stalls_ms=(130.0,)),
    ],
)
def test_a_little_is_none(own: OwnTime) -> None:
    assert not doubts([own], 100.0)


def test_in_a_closed_loop_only_the_time_lost_counts() -> None:
    assert not doubts([OwnTime("p", 4 * S, stalls_ms=(750.0,))])
    assert doubts([OwnTime("p", 4 * S, stalls_ms=(750.0, 60.0))])
