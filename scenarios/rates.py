"""From a history to speeds: what was settled within windows, how long it took, and at what cost of CPU.

Pure. Windows are marks; a message belongs to the window in which the broker's answer arrived. All times are
one host's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from brokers.types import Outcome
from scenarios.history import Action, Column, Columns, History
from scenarios.stamp import INTACT

Times = npt.NDArray[np.int64]

SATURATED = 0.90
"""A load process whose loop uses this share of a core could not have done much more."""
NEAR_CEILING = 0.70
"""A rate beyond this share of what the body reaches against ``noop`` is the body's as much as the broker's."""
_GAPS = "the sends of a history are not numbered from 0 without gaps"


@dataclass(frozen=True, slots=True)
class Window:
    """One measured stretch. ``drained``: it ended early, as nothing was left to consume."""

    number: int
    mode: str
    batch: int
    warmup: bool
    start_ns: int
    end_ns: int
    drained: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """What the load processes of one role used within a window. ``busiest``: share of a core of the busiest loop."""

    process_cpu_ns: int
    wall_ns: int
    busiest: float

    @property
    def cores(self) -> float:
        return self.process_cpu_ns / self.wall_ns if self.wall_ns else 0.0


@dataclass(frozen=True, slots=True)
class Timeline:
    """What counts, in order of time: acknowledged sends, and acknowledged deliveries."""

    published_ns: Times
    publish_latency_ns: Times
    consumed_ns: Times
    received_ns: Times
    end_to_end_ns: Times


def windows(history: History) -> list[Window]:
    """Windows in the order in which they were measured."""
    return [
        Window(
            number=mark["window"],
            mode=mark["mode"],
            batch=mark["batch"],
            warmup=mark["warmup"],
            start_ns=mark["start_ns"],
            end_ns=mark["end_ns"],
            drained=mark["drained"],
        )
        for mark in history.events("window")
    ]


def timeline(history: History) -> Timeline:
    """Raises ValueError for sends that are not numbered without gaps."""
    settled, deliveries, settles = history.settled, history.deliveries, history.settles
    fine = np.flatnonzero(settled["outcome"] == Outcome.ACKNOWLEDGED)
    index = SendIndex(history.sends)
    rows = index.rows(settled["producer"][fine], settled["seq"][fine])
    settled_ns = settled["settled_ns"][fine]
    published_ns, publish_latency_ns = _in_order(settled_ns, settled_ns - history.sends["intended_ns"][rows])
    consumed = (settles["action"] == Action.ACKNOWLEDGE) & (settles["outcome"] == Outcome.ACKNOWLEDGED)
    ours = np.flatnonzero(deliveries["status"] == INTACT)
    rows = index.rows(deliveries["producer"][ours], deliveries["seq"][ours])
    received_ns = deliveries["received_ns"][ours]
    known = rows >= 0
    received_ns, end_to_end_ns = _in_order(
        received_ns[known], received_ns[known] - history.sends["sent_ns"][rows[known]]
    )
    return Timeline(
        published_ns, publish_latency_ns, np.sort(settles["settled_ns"][consumed]), received_ns, end_to_end_ns
    )


def _in_order(times: Column, values: Column) -> tuple[Times, Times]:
    if len(times) > 1 and (np.diff(times) < 0).any():
        order = np.argsort(times, kind="stable")
        return times[order], values[order]
    return times, values


class SendIndex:
    """Finds the rows of ``sends`` by producer and sequence number.

    Sequence numbers have no gaps, so a message's number over all producers is a sum and finding it one gather.
    """

    def __init__(self, sends: Columns) -> None:
        owners, seqs = sends["producer"], sends["seq"]
        # One producer more, who sent nothing: where numbers that no producer has are looked for.
        self._counts = np.bincount(owners, minlength=int(owners.max(initial=-1)) + 2)
        self._bases = np.cumsum(self._counts) - self._counts
        if (seqs < 0).any() or (seqs >= self._counts[owners]).any():
            raise ValueError(_GAPS)
        numbers = self._bases[owners] + seqs
        if (np.bincount(numbers, minlength=len(seqs)) != 1).any():
            raise ValueError(_GAPS)
        self._rows = np.empty(len(seqs), np.int64)
        self._rows[numbers] = np.arange(len(seqs))

    def rows(self, producers: Column, seqs: Column) -> Column:
        """-1 where there is no such send."""
        nobody = len(self._counts) - 1
        owners = np.where((producers >= 0) & (producers < nobody), producers, nobody)
        known = (seqs >= 0) & (seqs < self._counts[owners])
        rows = np.full(len(seqs), -1, np.int64)
        rows[known] = self._rows[self._bases[owners[known]] + seqs[known]]
        return rows


def within(times: Times, window: Window) -> slice:
    """The stretch of sorted ``times`` that falls in the window: start included, end not."""
    first, last = np.searchsorted(times, [window.start_ns, window.end_ns])
    return slice(int(first), int(last))


def rate(times: Times, window: Window) -> float:
    """Events a second. A window that ended as nothing was left ends with its last event."""
    inside = times[within(times, window)]
    if not len(inside):
        return 0.0
    end_ns = int(inside[-1]) if window.drained else window.end_ns
    return len(inside) / max(1, end_ns - window.start_ns) * 1e9


def usage(history: History, role: str, window: Window) -> Usage | None:
    """None where no load process of that role worked in the window."""
    marks: Sequence[Mapping[str, Any]] = list(history.events("usage", role=role, window=window.number))
    if not marks:
        return None
    return Usage(
        process_cpu_ns=sum(mark["process_cpu_ns"] for mark in marks),
        wall_ns=max(mark["wall_ns"] for mark in marks),
        busiest=max(mark["loop_cpu_ns"] / max(1, mark["wall_ns"]) for mark in marks),
    )


def resident_bytes(history: History, role: str, window: Window) -> int:
    """Of the largest load process of that role at the window's end; 0 where none worked in it."""
    marks = history.events("usage", role=role, window=window.number)
    return max((mark.get("resident_bytes", 0) for mark in marks), default=0)


def ceiling(history: History, role: str, batch: int) -> float:
    """What the load processes of that role do together against ``noop``, in messages a second; 0 if unknown."""
    return float(sum(mark["rate"] for mark in history.events("ceiling", role=role, batch=batch)))


def limited_by(rates: Sequence[float], usages: Sequence[Usage], ceiling_rate: float) -> str:
    """``"generator"`` where the load processes, not the broker, may have set the figure; else ``""``."""
    saturated = any(entry.busiest >= SATURATED for entry in usages)
    near = ceiling_rate > 0 and max(rates, default=0.0) >= NEAR_CEILING * ceiling_rate
    return "generator" if saturated or near else ""
