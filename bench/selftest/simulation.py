"""The stage of an experiment without engine: a faulty reference broker, a history, and a clock that jumps.

Nothing waits for leases or limits to end. The broker's clock jumps, and every time recorded after a jump is moved by
as much before it is read. Between jumps the clock is slow: the speed of a machine must not matter. One thread must do
everything.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brokerbench.brokers.faulty import Fault, FaultName, Faulty, Offender
from brokerbench.brokers.memory.broker import Memory, Space, steady_epoch_ns
from brokerbench.scenarios.history import Column, Columns, History, Mark, Writer, saved_history

CHANNEL = "c"
RUN = 1


_SLOWER = 100
"""Factor by which the clock is slowed down; the order of consecutive records stays."""


class SimulatedClock:
    """Epoch time of the broker: that of this host, slowed down, and its jumps."""

    def __init__(self) -> None:
        self._begin_ns, self._begin_epoch_ns = time.monotonic_ns(), steady_epoch_ns()
        self._at_ns: list[int] = []
        self._by_ns: list[int] = [0]

    def __call__(self) -> int:
        return self._begin_epoch_ns + (time.monotonic_ns() - self._begin_ns) // _SLOWER + self._by_ns[-1]

    def jump(self, seconds: float) -> None:
        self._at_ns.append(time.monotonic_ns())
        self._by_ns.append(self._by_ns[-1] + int(seconds * 1e9))

    def moved(self, part: History) -> History:
        """The same history, with this host's times moved along with the jumps."""
        moved = self._columns
        marks = [self._mark(mark) for mark in part.marks]
        return History(
            moved(part.sends), moved(part.send_outcomes), moved(part.deliveries), moved(part.acknowledgements), marks
        )

    def _columns(self, table: Columns) -> Columns:
        return {name: self._told(column) if _is_told(name) else column for name, column in table.items()}

    def _mark(self, mark: Mark) -> Mark:
        moved = {name: int(self._told(np.array(value))) if _is_told(name) else value for name, value in mark.items()}
        return {**moved, "at_epoch_ns": self._begin_epoch_ns + moved["at_ns"] - self._begin_ns}

    def _told(self, times_ns: Column) -> Column:
        """This host's times converted to the simulated clock."""
        jumped = np.array(self._by_ns)[np.searchsorted(np.array(self._at_ns, np.int64), times_ns, side="right")]
        told: Column = self._begin_ns + (times_ns - self._begin_ns) // _SLOWER + jumped
        return told


def _is_told(name: str) -> bool:
    """Whether a column or attribute is a time of this host."""
    return name.endswith("_ns") and "epoch" not in name and not name.endswith("resolution_ns")


@dataclass(frozen=True, slots=True)
class Played:
    history: History
    offenders: Mapping[FaultName, Sequence[Offender]]


@dataclass(frozen=True, slots=True)
class Simulation:
    broker: Faulty
    clock: SimulatedClock
    writer: Writer


def record(act: Callable[[Simulation], None], faults: Sequence[Fault]) -> Played:
    """The record of an experiment, and the messages that the faults hit."""
    clock = SimulatedClock()
    broker = Faulty(Memory(Space(clock)), faults)
    with tempfile.TemporaryDirectory(prefix="brokerbench-selftest-") as directory:
        with Writer(Path(directory), "selftest", RUN) as writer:
            act(Simulation(broker, clock, writer))
        return Played(clock.moved(saved_history.load(Path(directory))), broker.offenders)
