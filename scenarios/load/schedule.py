"""When messages are due in an open loop: arrivals that follow a rate, whatever the broker does.

A schedule has a *shape* (the rate over time: constant, stepped, bursty) and *arrivals* (regular, or a Poisson
process). Points of a process with rate one are mapped through the inverse of the shape's integral, so that every
shape works with every kind of arrivals, and the mean rate is the requested one.

Arrivals are generated in stretches: memory does not grow with the length of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SHAPES = ("constant", "stepped", "bursty")
ARRIVALS = ("regular", "poisson")

_STRETCH = 16_384
_STEPS = 5
"""Number of equal steps of a stepped schedule, from 2/6 to 10/6 of its mean rate."""
_BURST_PERIOD_S = 1.0
_BURST_SHARE = 0.2
"""A bursty schedule sends all messages of a period in this share of it, and nothing in the rest."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """``rate``: mean messages a second of all producers together. ``duration_s`` > 0.

    Raises ValueError for an unknown shape or kind of arrivals, and for a rate or duration that is not positive.
    """

    rate: float
    duration_s: float
    shape: str = "constant"
    arrivals: str = "regular"

    def __post_init__(self) -> None:
        for name, value, known in (("shape", self.shape, SHAPES), ("arrivals", self.arrivals, ARRIVALS)):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
        if not (self.rate > 0 and self.duration_s > 0):
            raise ValueError("a schedule needs a rate and a duration greater than 0")


def due_ns(
    schedule: Schedule, start_ns: int, *, producer: int = 0, producers: int = 1, seed: int = 0
) -> Iterator[Times]:
    """Times at which this producer's messages are due, ascending, in stretches; all before the schedule's end.

    Regular arrivals of several producers interleave evenly; Poisson ones are independent.
    """
    knots_s, expected = _integral(schedule)
    expected = expected / producers
    rng = np.random.default_rng([seed, producer])
    made = 0.0
    while True:
        if schedule.arrivals == "poisson":
            points = made + np.cumsum(rng.exponential(size=_STRETCH))
            made = float(points[-1])
        else:
            points = np.arange(_STRETCH, dtype=np.float64) + (made + producer / producers)
            made += _STRETCH
        inside = points[points < expected[-1]]
        if len(inside):
            yield start_ns + np.rint(np.interp(inside, expected, knots_s) * 1e9).astype(np.int64)
        if len(inside) < _STRETCH:
            return


def _integral(schedule: Schedule) -> tuple[Floats, Floats]:
    """Knots (s) of the schedule, and how many messages are expected until each."""
    whole_s, rate = schedule.duration_s, schedule.rate
    if schedule.shape == "stepped":
        knots_s = whole_s * np.arange(_STEPS + 1) / _STEPS
        rates: Floats = rate * np.arange(1, _STEPS + 1) * 2 / (_STEPS + 1)
    elif schedule.shape == "bursty":
        begins = np.arange(0.0, whole_s, _BURST_PERIOD_S)
        ends = np.minimum(begins + _BURST_PERIOD_S, whole_s)
        middles = begins + _BURST_SHARE * (ends - begins)
        knots_s = np.append(np.column_stack([begins, middles]).ravel(), whole_s)
        rates = np.tile([rate / _BURST_SHARE, 0.0], len(begins))
    else:
        knots_s = np.array([0.0, whole_s])
        rates = np.array([rate])
    return knots_s, np.concatenate([[0.0], np.cumsum(rates * np.diff(knots_s))])
