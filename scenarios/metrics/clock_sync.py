"""Clocks of several hosts: their offsets, the error of these, and the conversion of times to one of them.

Monotonic clocks of different hosts start anywhere. A host is asked for its time over and over (Cristian 1989; the same
as NTP's on-wire protocol, RFC 5905, section 8, with no time between receiving and answering): it read its clock
between the question and the answer, so its offset from the middle of the two is wrong by at most half of the round
trip. The shortest of many round trips bounds it best. Two readings, before and after, show the drift; in between it
is assumed to be even, as that of a quartz or of a steadily slewed clock is.

All times are converted to the cell's clock. A ``clock`` mark is one reading: host, when (``begin`` or ``end``),
read_at_ns, offset_ns (host minus cell), error_ns.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from brokerbench.scenarios.base import Measured
from brokerbench.scenarios.history import History, Mark, Writer, saved_history

Times = npt.NDArray[np.int64]

ROUNDS = 200
LARGEST_SHARE = 0.10
"""A latency is refused where the clocks may be wrong by more than this share of its median."""

_TIMES: Mapping[str, tuple[str, ...]] = {
    "sends": ("intended_ns", "sent_ns"),
    "send_outcomes": ("settled_ns",),
    "deliveries": ("asked_ns", "received_ns"),
    "acknowledgements": ("asked_ns", "settled_ns"),
}
"""Columns on the monotonic clock of the host that wrote them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """At ``at_ns`` of the cell's clock the host's was ahead by ``offset_ns``, give or take ``error_ns``."""

    at_ns: int
    offset_ns: int
    error_ns: int


def read(ask: Callable[[], int], rounds: int = ROUNDS) -> Reading:
    """The shortest of ``rounds`` round trips. ``ask`` returns the other host's monotonic time in nanoseconds."""
    return min((_round_trip(ask) for _ in range(rounds)), key=lambda reading: reading.error_ns)


def _round_trip(ask: Callable[[], int]) -> Reading:
    asked_ns = time.monotonic_ns()
    theirs_ns = ask()
    answered_ns = time.monotonic_ns()
    middle_ns = (asked_ns + answered_ns) // 2
    # One more, as both halves are rounded.
    return Reading(middle_ns, theirs_ns - middle_ns, (answered_ns - asked_ns) // 2 + 1)


@dataclass(frozen=True, slots=True)
class HostClock:
    """A host's clock between two readings."""

    begin: Reading
    end: Reading

    def to_cell(self, host_ns: Times) -> Times:
        """Times of that host on the cell's clock. Exact to the nanosecond where there is no drift."""
        first_ns = self.begin.at_ns + self.begin.offset_ns
        span_ns = self.end.at_ns + self.end.offset_ns - first_ns
        drift_ns = self.end.offset_ns - self.begin.offset_ns
        # Floating point for the drift alone: a monotonic time itself may have more digits than a double.
        drifted = np.rint((host_ns - first_ns) * (drift_ns / max(1, span_ns))).astype(np.int64)
        converted: Times = host_ns - self.begin.offset_ns - drifted
        return converted


def bring_home(source: Path, directory: Path, name: str, clock: HostClock, host: str) -> None:
    """Add the part of a history that another host wrote into ``source``: on the cell's clock, its marks with the host.

    A part of its own in ``directory``. Raises ValueError, naming the file, for one that is damaged.
    """
    with Writer(directory, name, run=0) as writer:
        for kind, names in _TIMES.items():
            for columns in saved_history.stream(source, kind):
                writer.rows(kind, {**columns, **{name: clock.to_cell(columns[name]) for name in names}})
    with (directory / f"marks.{name}.jsonl").open("a", encoding="utf-8") as marks:
        for mark in saved_history.marks(source):
            at_ns = int(clock.to_cell(np.array([mark["at_ns"]]))[0])
            marks.write(json.dumps({**mark, "at_ns": at_ns, "host": host}) + "\n")


def hosts(of: History) -> list[str]:
    """Hosts other than the cell's that wrote parts of a history."""
    return sorted({str(mark["host"]) for mark in of.events("clock")})


def error_ns(of: History) -> int:
    """The largest error of the time from any producer to any consumer; 0 on one host.

    Producer and consumer on one host share every error; else those of both hosts add up.
    """
    errors: dict[str, int] = {}
    for mark in of.events("clock"):
        errors[mark["host"]] = max(errors.get(mark["host"], 0), int(mark["error_ns"]))
    pairs = product(_hosts(of.events("producer")), _hosts(of.events("reader")))
    return max((errors.get(one, 0) + errors.get(other, 0) for one, other in pairs if one != other), default=0)


def labels(of: History) -> Mapping[str, int]:
    """The label of a figure measured from several hosts; none on one host."""
    others = hosts(of)
    return {"hosts": len(others)} if others else {}


def _hosts(marks: Iterable[Mark]) -> set[str]:
    """ "" for the cell's own."""
    return {str(mark.get("host", "")) for mark in marks}


def too_coarse(median: float, error: float) -> bool:
    """Whether a latency with this median is refused; both in the same unit."""
    return error > LARGEST_SHARE * median


def stated(latencies: Iterable[Measured], wrong_by_ns: int) -> list[Measured]:
    """Latencies over hosts (all quantiles of one kind) with the error of their clocks beside.

    The error alone, and why, where it is more than ``LARGEST_SHARE`` of a median. Unchanged on one host.
    """
    found = list(latencies)
    if not found or not wrong_by_ns:
        return found
    medians = [sample for metric in found if metric.labels["quantile"] == "p50" for sample in metric.samples]
    error_ms, median_ms = wrong_by_ns / 1e6, min(medians, default=0.0)
    labels = {name: value for name, value in found[0].labels.items() if name != "quantile"}
    beside = f"clocks of sender and receiver agree within {error_ms:.3f} ms"
    if too_coarse(median_ms, error_ms):
        beside = f"end-to-end latency is refused: {beside}, its median is {median_ms:.3f} ms"
        found = []
    error = Measured("clock_error", "ms", (error_ms,), labels, better="lower", note=beside)
    return [error, *(replace(metric, note=f"{metric.note}; {beside}") for metric in found)]
