"""Why the figures of a window need not be the broker's, and which windows are trusted.

A window's mark has the shares of the machine that others took (``machine``), and its ``doubts``: reasons in words, none
where it is sound. Histories of before have neither, and are trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, TypeVar

from brokerbench.scenarios.base import MachineUsage, Measured
from brokerbench.scenarios.history import History

MOST_TAKEN = 0.10
"""Share of the machine that others may take of an undisturbed window (docs/performance.md has the measurements)."""
_LEAST_S = 0.05
"""CPU time that others must have taken, in seconds: counters tick a hundred times a second, each on its own."""
_DISTURBED = "disturbed"
_EVENTS = ("window", "paced", "machine")


@dataclass(frozen=True, slots=True)
class Taken:
    """Shares of the machine's CPU time in a stretch; ``pressure``: shares of its time in which some program waited.

    ``strangers`` is None where their CPU cannot be told from the broker's. ``throttled``: by a limit on this process.
    """

    seconds: float
    cores: int
    strangers: float | None
    steal: float
    throttled: float
    cpu_pressure: float | None
    io_pressure: float | None

    @property
    def by_others(self) -> float:
        return (self.strangers or 0.0) + self.steal + self.throttled

    @property
    def disturbed(self) -> bool:
        return self.by_others > MOST_TAKEN and self.by_others * self.seconds * self.cores > _LEAST_S

    def mark(self) -> dict[str, Any]:
        """Attributes for the mark of the stretch."""
        disturbed = [f"{_DISTURBED}: {words(self.by_others)}"] if self.disturbed else []
        return {"machine": asdict(self), "doubts": disturbed}


def words(share: float) -> str:
    return f"{100 * share:.0f} % of the machine was taken by others"


def taken(before: MachineUsage, after: MachineUsage) -> Taken:
    """Shares taken between two readings."""
    seconds = max(1e-9, after.at_s - before.at_s)
    cpu_s = seconds * after.cores
    known = before.ours_s is not None and after.ours_s is not None
    ours_s = (after.ours_s or 0.0) - (before.ours_s or 0.0)
    programs_s = after.programs_s - before.programs_s
    return Taken(
        seconds=seconds,
        cores=after.cores,
        strangers=_share(programs_s - ours_s, cpu_s) if known else None,
        steal=_share(after.stolen_s - before.stolen_s, cpu_s),
        throttled=_share(after.throttled_s - before.throttled_s, cpu_s),
        cpu_pressure=_waited(before.cpu_pressure_s, after.cpu_pressure_s, seconds),
        io_pressure=_waited(before.io_pressure_s, after.io_pressure_s, seconds),
    )


def _share(used_s: float, of_s: float) -> float:
    """Counters tick on their own: a small negative difference is none."""
    return min(1.0, max(0.0, used_s / of_s))


def _waited(before_s: float | None, after_s: float | None, seconds: float) -> float | None:
    return None if before_s is None or after_s is None else _share(after_s - before_s, seconds)


def of_mark(mark: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(mark.get("doubts", ()))


def disturbance(history: History) -> str:
    """Of the whole cell, in words; empty where others left the machine alone, or nothing was measured."""
    marks = [
        mark
        for event in _EVENTS
        for mark in history.events(event)
        if not mark.get("warmup", False) and mark.get("machine")
    ]
    shares = [
        Taken(**mark["machine"]).by_others
        for mark in marks
        if any(doubt.startswith(_DISTURBED) for doubt in of_mark(mark))
    ]
    if not shares:
        return ""
    stretches = f"{len(shares)} of {len(marks)} {'windows' if 'window' in marks[0] else 'stretches'}"
    return f"{_DISTURBED}: up to {words(max(shares))}, in {stretches}"


class _Measured(Protocol):
    @property
    def doubts(self) -> Sequence[str]: ...


W = TypeVar("W", bound=_Measured)


def trusted(windows: Sequence[W], planned: int) -> tuple[list[W], str, str]:
    """The windows whose figures count, why these are in doubt all the same, and a note on those left out.

    Sound ones alone where there are as many as planned, else all.
    """
    sound = [window for window in windows if not window.doubts]
    if len(sound) == len(windows):
        return sound, "", ""
    if len(sound) >= max(1, planned):
        return sound, "", f"left out: {why(windows)}"
    return list(windows), why(windows), ""


def why(windows: Sequence[_Measured]) -> str:
    """How many of these windows are in doubt, and why the first of them are; empty where all are sound."""
    # One of each kind: shares differ from window to window, and stand in metrics of their own.
    kinds = {doubt.partition(":")[0]: doubt for window in reversed(windows) for doubt in window.doubts}
    count = sum(bool(window.doubts) for window in windows)
    said = "; ".join(kinds[kind] for kind in sorted(kinds))
    return f"{count} of {len(windows)} windows in doubt, the first {said}" if count else ""


def stated(metric: Measured, doubt: str, left_out: str) -> Measured:
    """The metric with what ``trusted`` said of its windows."""
    note = "; ".join(filter(None, [metric.note, left_out]))
    return replace(metric, note=note, doubt=doubt, comparable=metric.comparable and not doubt)


_SHARES: Mapping[str, tuple[str, str]] = {
    "strangers": ("machine_strangers", "CPU of programs that are neither the run's nor the broker's"),
    "steal": ("machine_steal", "CPU that the hypervisor gave to others"),
    "throttled": ("machine_throttled", "CPU that a limit of the control group held back"),
    "cpu_pressure": ("machine_cpu_pressure", "time in which some program waited for a core, also the run's own"),
    "io_pressure": ("machine_io_pressure", "time in which some program waited for a disk, also the run's own"),
}


def metrics(marks: Iterable[Mapping[str, Any]], labels: Mapping[str, Any]) -> Iterable[Measured]:
    """The shares of each stretch, in per cent; a share that is not known in all of them is left out."""
    measured = [mark["machine"] for mark in marks if mark.get("machine")]
    for share, (name, note) in _SHARES.items():
        if measured and all(of[share] is not None for of in measured):
            yield Measured(name, "%", tuple(100 * of[share] for of in measured), labels, better="lower", note=note)
