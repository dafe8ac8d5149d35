"""How many messages were sent and not yet received, and how long the oldest has waited, over the time of a cell.

Pure. Sampled 100 times a second from the first send of a cell to its last event, channel by channel: messages left in a
channel after its last event count no longer. Where several groups read a channel, a message waits once for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from brokerbench.scenarios.base import Measured
from brokerbench.scenarios.history import History
from brokerbench.scenarios.metrics import message_times
from brokerbench.scenarios.metrics.message_times import NEVER, MessageTimes, Times

LOOK_NS = 10_000_000
MOST_SAMPLES = 60
"""Samples of a metric over time: as many as a picture shows, however long the cell is."""
OLDEST = "the oldest that waited at any of 100 looks a second"
_STRETCHES = "in each of as many equal stretches of the cell, warm-up included"


def most_means(groups: int) -> str:
    """The note of a metric of the most messages that waited at any look."""
    together = f", for all {groups} groups together" if groups > 1 else ""
    return f"the most that waited at any of 100 looks a second{together}"


@dataclass(frozen=True, slots=True)
class Looks:
    """At each time (ascending): messages sent and not yet received, and for how long the oldest of them had waited."""

    at_ns: Times
    lag: Times
    age_ns: Times
    groups: int

    def within(self, start_ns: int, end_ns: int) -> Looks:
        first, last = np.searchsorted(self.at_ns, [start_ns, end_ns])
        part = slice(int(first), int(last))
        return Looks(self.at_ns[part], self.lag[part], self.age_ns[part], self.groups)

    def most(self) -> float:
        return float(self.lag.max(initial=0))

    def oldest_ms(self) -> float:
        return float(self.age_ns.max(initial=0)) / 1e6


def looks(history: History) -> Looks:
    """Raises ValueError for sends that are not numbered without gaps."""
    parts = [part for _, of in message_times.of_channels(history) if len((part := _on_channel(of)).at_ns)]
    if not parts:
        nothing = np.empty(0, np.int64)
        return Looks(nothing, nothing, nothing, 1)
    begin_ns = min(int(part.at_ns[0]) for part in parts)
    count = max(int(part.at_ns[-1]) - begin_ns for part in parts) // LOOK_NS + 1
    lag, age_ns = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for part in parts:
        first = (int(part.at_ns[0]) - begin_ns) // LOOK_NS
        where = slice(first, first + len(part.at_ns))
        lag[where] += part.lag
        age_ns[where] = np.maximum(age_ns[where], part.age_ns)
    groups = max(part.groups for part in parts)
    return Looks(begin_ns + LOOK_NS * np.arange(count, dtype=np.int64), lag, age_ns, groups)


def in_windows(
    most: tuple[float, ...], oldest_ms: tuple[float, ...], labels: Mapping[str, Any], groups: int
) -> Iterable[Measured]:
    """The metrics of windows, with one sample a window."""
    yield Measured("consumer_lag", "messages", most, labels, better="lower", note=most_means(groups))
    yield Measured("backlog_age", "ms", oldest_ms, labels, better="lower", note=OLDEST)


def over_time(seen: Looks) -> Iterable[Measured]:
    """Two metrics of at most ``MOST_SAMPLES`` samples each; none where nothing was sent."""
    count = min(MOST_SAMPLES, len(seen.at_ns))
    if not count:
        return
    begins = np.linspace(0, len(seen.at_ns), count, endpoint=False).astype(np.int64)
    every_s = len(seen.at_ns) * LOOK_NS / 1e9 / count
    labels = {"every_s": float(f"{every_s:.6g}"), **({"groups": seen.groups} if seen.groups > 1 else {})}
    lag, age_ns = (np.maximum.reduceat(column, begins) for column in (seen.lag, seen.age_ns))
    note = f"{most_means(seen.groups)}, {_STRETCHES}"
    yield Measured("consumer_lag_over_time", "messages", tuple(map(float, lag)), labels, note=note)
    note = f"{OLDEST}, {_STRETCHES}"
    yield Measured("backlog_age_over_time", "ms", tuple(map(float, age_ns / 1e6)), labels, note=note)


def _on_channel(of: MessageTimes) -> Looks:
    """From the channel's first send to its last event, at whole multiples of ``LOOK_NS``."""
    # A message that the broker did not take waits for no consumer.
    of = of.acknowledged()
    columns = (of.sent_ns, of.settled_ns, of.received_ns)
    last_ns = max(int(column.max(initial=0, where=column != NEVER)) for column in columns)
    first_ns = int(of.sent_ns.min(initial=last_ns)) // LOOK_NS * LOOK_NS
    at_ns = np.arange(first_ns, last_ns + LOOK_NS if len(of) else first_ns, LOOK_NS, dtype=np.int64)
    return Looks(at_ns, of.underway(at_ns), of.backlog_age_ns(at_ns), of.groups)
