"""Faults against checkers: every fault is seeded, and every checker must answer as reviewed.

Twice: one hit among many messages, in the fault's own script (does one suffice?), and several hits among few messages
in every script (which other checkers answer, and which stay silent?).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from brokerbench.bench.selftest.cases import CASES, CROSS, Spots
from brokerbench.bench.selftest.checks import Answer, alarms, answers, identity
from brokerbench.bench.selftest.scripts import Script, Size, play
from brokerbench.bench.selftest.simulation import CHANNEL, RUN
from brokerbench.brokers.faulty import Fault, FaultName

FEW = 1000
"""Number of messages of the runs with several hits."""
_SEVERAL = 5
_SHARE = 0.01

_T = TypeVar("_T")
Tell = Callable[[float, str], None]
"""Called with the share that is done (0 to 1) and the step that ended."""


@dataclass(frozen=True, slots=True)
class FaultRun:
    """One script with one fault; ``opportunities``: number of messages that the fault could have hit."""

    fault: FaultName
    script: Script
    messages: int
    opportunities: int
    seeded: frozenset[tuple[str, int, int]]
    answers: Mapping[str, Answer]

    def found(self) -> int:
        """Number of offending messages that the fault's own checker names; 0 when it names any other message."""
        named = self.answers[CASES[self.fault].checker].named
        return len(named & self.seeded) if named <= self.seeded else 0

    def others(self) -> list[str]:
        """Other checkers that answered."""
        return [name for name in alarms(self.answers) if name != CASES[self.fault].checker]


@dataclass(frozen=True, slots=True)
class Hits:
    """Places chosen for a fault, and the number of places that it could hit."""

    opportunities: int
    places: Sequence[tuple[int, int]]

    def first(self, count: int) -> Hits:
        return replace(self, places=self.places[:count])


@dataclass(frozen=True, slots=True)
class Silence:
    """One script without any fault; ``alarms`` are checkers that answered nevertheless."""

    script: Script
    messages: int
    alarms: Mapping[str, int]
    hits: Mapping[FaultName, Hits]
    """By fault of this script."""


@dataclass(frozen=True, slots=True)
class FaultRow:
    """The runs of one fault. ``single``: one hit among many messages. ``several``: several hits, in each script."""

    fault: FaultName
    single: FaultRun
    several: Sequence[FaultRun]

    @property
    def checker(self) -> str:
        return CASES[self.fault].checker

    @property
    def own(self) -> FaultRun:
        return next(run for run in self.several if run.script == CASES[self.fault].script)

    @property
    def found(self) -> bool:
        """Whether its own checker names exactly the offending messages, one as well as several."""
        return all(run.seeded and run.found() == len(run.seeded) for run in (self.single, self.own))

    @property
    def others(self) -> list[str]:
        return list(dict.fromkeys(name for run in (self.single, *self.several) for name in run.others()))

    @property
    def unreviewed(self) -> list[str]:
        return [name for name in self.others if (self.fault, name) not in CROSS]


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: Sequence[FaultRow]
    silences: Sequence[Silence]


def quiet(script: Script, size: Size) -> Silence:
    """Play a script without faults. Picks the messages that this script's own faults will hit, by the seed."""
    history = play(script, size, []).history
    found = alarms(answers(history, CHANNEL))
    rng = np.random.default_rng(size.seed)
    hits = {fault: _pick(rng, case.where(history)) for fault, case in CASES.items() if case.script == script}
    return Silence(script, size.messages, found, hits)


def _pick(rng: np.random.Generator, where: Spots) -> Hits:
    chosen = rng.choice(len(where), min(_SEVERAL, len(where)), replace=False)
    return Hits(len(where), [(int(partition), int(place)) for partition, place in where[chosen]])


def seeded(fault: FaultName, script: Script, size: Size, hits: Hits | None) -> FaultRun:
    """Play a script in which the fault hits these places; without any, a share of all messages."""
    places = None if hits is None else frozenset(hits.places)
    played = play(script, size, [Fault(fault, _SHARE, size.seed, places)])
    hit = frozenset(identity(offender, RUN) for offender in played.offenders[fault])
    opportunities = size.messages if hits is None else hits.opportunities
    return FaultRun(fault, script, size.messages, opportunities, hit, answers(played.history, CHANNEL))


def measure(messages: int, pool: Executor, tell: Tell) -> Matrix:
    """All faults, with one hit among ``messages`` and with several among ``FEW``."""
    many, few = Size(messages), Size(FEW)
    total = 2 * len(Script) + len(CASES) * (1 + len(Script))
    done = 0

    def all_of(waiting: Sequence[Future[_T]], doing: str) -> list[_T]:
        nonlocal done
        results = []
        for future in waiting:
            results.append(future.result())
            done += 1
            tell(done / total, doing)
        return results

    quiet_many, quiet_few = (
        dict(zip(Script, all_of([pool.submit(quiet, script, size) for script in Script], "no fault"), strict=True))
        for size in (many, few)
    )
    rows = []
    runs = {
        fault: [
            pool.submit(seeded, fault, case.script, many, quiet_many[case.script].hits[fault].first(1)),
            *(pool.submit(seeded, fault, script, few, quiet_few[script].hits.get(fault)) for script in Script),
        ]
        for fault, case in CASES.items()
    }
    for fault, waiting in runs.items():
        single, *several = all_of(waiting, fault)
        rows.append(FaultRow(fault, single, several))
    return Matrix(rows, [*quiet_many.values(), *quiet_few.values()])
