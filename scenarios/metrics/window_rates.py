"""From a history to speeds: settlements within windows, their latencies, and the resources they cost.

Pure. Windows are marks; a message belongs to the window in which the broker's answer arrived. Of several groups each
has figures of its own, beside those of all together. All times are one host's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.base import Measured
from brokerbench.scenarios.history import Action, History, saved_history
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.metrics import doubts
from brokerbench.scenarios.metrics.message_times import SendIndex

Times = npt.NDArray[np.int64]

SATURATED = 0.90
"""Share of a core: a load process whose loop uses it could not have done much more."""
NEAR_CEILING = 0.70
"""Share of the rate against ``noop``: a higher rate may be limited by the load process as much as by the broker."""


_OF_WINDOW = ("mode", "batch", "warmup", "start_ns", "end_ns", "drained")


@dataclass(frozen=True, slots=True)
class Window:
    """One measured stretch. ``drained``: it ended early, as no message was left to consume."""

    number: int
    mode: str
    batch: int
    warmup: bool
    start_ns: int
    end_ns: int
    drained: bool
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowUsage:
    """Usage of the load processes of one role within a window. ``busiest``: share of a core of the busiest loop."""

    process_cpu_ns: int
    wall_ns: int
    busiest: float

    @property
    def cores(self) -> float:
        return self.process_cpu_ns / self.wall_ns if self.wall_ns else 0.0


@dataclass(frozen=True, slots=True)
class Timeline:
    """Acknowledged sends, acknowledged deliveries, and all deliveries (repeats count), each in order of time.

    Sizes, in bytes, of those sends and of all deliveries; empty where they were not asked for.
    """

    published_ns: Times
    publish_latency_ns: Times
    consumed_ns: Times
    received_ns: Times
    end_to_end_ns: Times
    published_sizes: Times
    received_sizes: Times


def windows(history: History) -> list[Window]:
    """Windows in the order in which they were measured."""
    return [
        Window(mark["window"], **{name: mark[name] for name in _OF_WINDOW}, doubts=doubts.of_mark(mark))
        for mark in history.events("window")
    ]


def timeline(history: History, *, sizes: bool = False) -> Timeline:
    """``sizes``: of messages, too. Raises ValueError for sends that are not numbered without gaps."""
    sends = SendIndex(history)
    intended_ns, sent_ns, *sent_sizes = sends.columns("intended_ns", "sent_ns", *(("size",) if sizes else ()))
    published: list[tuple[Times, ...]] = []
    for part in saved_history.stretches(history.send_outcomes, ("producer", "seq", "settled_ns", "outcome")):
        numbers = sends.numbers(part["producer"], part["seq"])
        ours = np.flatnonzero((part["outcome"] == Outcome.ACKNOWLEDGED) & (numbers >= 0))
        settled_ns = part["settled_ns"][ours]
        numbers = numbers[ours]
        published.append((settled_ns, settled_ns - intended_ns[numbers], *(column[numbers] for column in sent_sizes)))
    received: list[tuple[Times, ...]] = []
    for part in saved_history.stretches(
        history.deliveries, ("producer", "seq", "received_ns", "status", *(("size",) if sizes else ()))
    ):
        numbers = sends.numbers(part["producer"], part["seq"])
        ours = np.flatnonzero((part["status"] == INTACT) & (numbers >= 0))
        received_ns = part["received_ns"][ours]
        of_these = (part["size"][ours],) if sizes else ()
        received.append((received_ns, received_ns - sent_ns[numbers[ours]], *of_these))
    published_ns, publish_latency_ns, published_sizes = _in_order(published)
    received_ns, end_to_end_ns, received_sizes = _in_order(received)
    return Timeline(
        published_ns,
        publish_latency_ns,
        consumed_ns(history),
        received_ns,
        end_to_end_ns,
        published_sizes,
        received_sizes,
    )


def consumed_ns(history: History, readers: Sequence[int] | None = None) -> Times:
    """When deliveries (to these readers) were acknowledged, in order of time."""
    parts = [np.empty(0, np.int64)]
    for part in saved_history.stretches(history.acknowledgements, ("reader", "action", "outcome", "settled_ns")):
        fine = (part["action"] == Action.ACKNOWLEDGE) & (part["outcome"] == Outcome.ACKNOWLEDGED)
        if readers is not None:
            fine &= np.isin(part["reader"], readers)
        parts.append(part["settled_ns"][fine])
    return np.sort(np.concatenate(parts))


def _in_order(parts: Sequence[tuple[Times, ...]]) -> tuple[Times, Times, Times]:
    """Times, values and sizes (empty where the parts have none), in order of time."""
    nothing = np.empty(0, np.int64)
    times, values, sizes = (
        np.concatenate([nothing, *(part[at] for part in parts if len(part) > at)]) for at in range(3)
    )
    if (times[1:] < times[:-1]).any():
        order = np.argsort(times, kind="stable")
        return times[order], values[order], sizes[order] if len(sizes) else sizes
    return times, values, sizes


def within(times: Times, window: Window) -> slice:
    """The stretch of sorted ``times`` that falls in the window: start included, end not."""
    first, last = np.searchsorted(times, [window.start_ns, window.end_ns])
    return slice(int(first), int(last))


def rate(times: Times, window: Window) -> float:
    """Events a second. A window that ended early ends with its last event."""
    inside = times[within(times, window)]
    if not len(inside):
        return 0.0
    end_ns = int(inside[-1]) if window.drained else window.end_ns
    return len(inside) / max(1, end_ns - window.start_ns) * 1e9


def mean_size(sizes: Times, times: Times, window: Window) -> float:
    """Mean size of the messages of the window, in bytes; 0 without one. ``sizes``: in the order of ``times``."""
    inside = sizes[within(times, window)]
    return float(inside.mean()) if len(inside) else 0.0


def usage(history: History, role: str, window: int) -> WindowUsage | None:
    """None where no load process of that role worked in the window of that number."""
    marks = list(history.events("usage", role=role, window=window))
    if not marks:
        return None
    return WindowUsage(
        process_cpu_ns=sum(mark["process_cpu_ns"] for mark in marks),
        wall_ns=max(mark["wall_ns"] for mark in marks),
        busiest=max(mark["loop_cpu_ns"] / max(1, mark["wall_ns"]) for mark in marks),
    )


def resident_bytes(history: History, role: str, window: Window) -> int:
    """Resident bytes of the largest load process of that role at the window's end; 0 where none worked in it."""
    marks = history.events("usage", role=role, window=window.number)
    return max((mark.get("resident_bytes", 0) for mark in marks), default=0)


def ceiling(history: History, role: str, batch: int) -> float:
    """The rate of all load processes of that role together against ``noop``, in messages a second; 0 if unknown."""
    return float(sum(mark["rate"] for mark in history.events("ceiling", role=role, batch=batch)))


def limited_by(rates: Sequence[float], usages: Sequence[WindowUsage], ceiling_rate: float) -> str:
    """``"generator"`` where the load processes, not the broker, may have set the figure; else ``""``."""
    saturated = any(entry.busiest >= SATURATED for entry in usages)
    near = ceiling_rate > 0 and max(rates, default=0.0) >= NEAR_CEILING * ceiling_rate
    return "generator" if saturated or near else ""


ALL = "all"
"""The label ``group`` of a figure of all groups together, where there are several."""


def several(history: History) -> dict[str, list[int]]:
    """Readers of each group; none where there is only one."""
    groups = history.groups()
    return groups if len(groups) > 1 else {}


_LOOPBACK = "all of this host's loopback, clients included"
_LATER = "what the broker's first process gave to the disk, not its children; the kernel may write it later"
_MEMORY = "resident at the end of the window"


def metrics(windows: Sequence[tuple[Mapping[str, Any], int]], labels: Mapping[str, Any]) -> Iterable[Measured]:
    """``windows``: each with its mark and its number of messages. None where no mark has the engine's usage."""
    seen = [(mark["engine"], count) for mark, count in windows if "engine" in mark]
    if not seen:
        return
    cores = tuple(used["cpu_ns"] / 1e9 / used["seconds"] for used, _ in seen)
    yield Measured("broker_cpu", "cores", cores, labels)
    resident = tuple(float(used["resident_bytes"]) for used, _ in seen)
    yield Measured("broker_resident", "B", resident, labels, note=_MEMORY)
    counted = [(used, count) for used, count in seen if count]
    for name, unit, key, scale, note in (
        ("broker_cpu_per_message", "us", "cpu_ns", 1e-3, ""),
        ("broker_disk_per_message", "B", "disk_bytes", 1.0, _LATER),
        ("network_per_message", "B", "network_bytes", 1.0, _LOOPBACK),
    ):
        values = tuple(used[key] * scale / count for used, count in counted)
        yield Measured(name, unit, values, labels, better="lower", note=note)
