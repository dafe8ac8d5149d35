"""Each message's way through the broker: due, sent, settled, received; as columns over all messages of a history.

Pure. All times are one host's monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from brokers.types import Outcome
from scenarios.history import Column, History
from scenarios.rates import SendIndex
from scenarios.stamp import INTACT

Times = npt.NDArray[np.int64]

NEVER = np.iinfo(np.int64).max
"""Stands for a time that did not come: later than all others."""


@dataclass(frozen=True, slots=True)
class Journeys:
    """Parallel columns of nanoseconds, in order of ``due_ns``.

    ``settled_ns`` is NEVER for what was not acknowledged, ``received_ns`` (of the first delivery) for what never came.
    """

    due_ns: Times
    sent_ns: Times
    settled_ns: Times
    received_ns: Times

    def __len__(self) -> int:
        return len(self.due_ns)

    def due_within(self, start_ns: int, end_ns: int) -> Journeys:
        """Messages due from ``start_ns`` until before ``end_ns``."""
        first, last = np.searchsorted(self.due_ns, [start_ns, end_ns])
        part = slice(int(first), int(last))
        return Journeys(self.due_ns[part], self.sent_ns[part], self.settled_ns[part], self.received_ns[part])

    def backlog_age_ns(self, at_ns: Times) -> Times:
        """At each time, how long the oldest message that was due and not yet received had been due; 0 without one.

        The first message received later than t is the first at which the running maximum of receive times exceeds t.
        """
        latest = np.maximum.accumulate(self.received_ns)
        oldest = np.searchsorted(latest, at_ns, "right")
        due_ns = np.append(self.due_ns, NEVER)[oldest]
        age_ns: Times = np.where(due_ns <= at_ns, at_ns - np.minimum(due_ns, at_ns), 0)
        return age_ns

    def backlog(self, at_ns: Times) -> Times:
        """At each time, the messages that the broker had acknowledged and nobody had received.

        Never below 0: a message may be received before its sender hears of it.
        """
        settled = np.searchsorted(np.sort(np.maximum(self.settled_ns, self.sent_ns)), at_ns, "right")
        received = np.searchsorted(np.sort(self.received_ns), at_ns, "right")
        waiting: Times = np.maximum(settled - received, 0)
        return waiting


def of_history(history: History) -> Journeys:
    """Raises ValueError for sends that are not numbered without gaps."""
    index, sends = SendIndex(history.sends), history.sends
    fine = np.flatnonzero(history.settled["outcome"] == Outcome.ACKNOWLEDGED)
    settled_ns = _earliest(
        len(sends["seq"]),
        index.rows(history.settled["producer"][fine], history.settled["seq"][fine]),
        history.settled["settled_ns"][fine],
    )
    ours = np.flatnonzero(history.deliveries["status"] == INTACT)
    received_ns = _earliest(
        len(sends["seq"]),
        index.rows(history.deliveries["producer"][ours], history.deliveries["seq"][ours]),
        history.deliveries["received_ns"][ours],
    )
    order = np.argsort(sends["intended_ns"], kind="stable")
    return Journeys(sends["intended_ns"][order], sends["sent_ns"][order], settled_ns[order], received_ns[order])


def _earliest(count: int, rows: Column, times: Column) -> Times:
    """The earliest of the times that belong to each row."""
    earliest = np.full(count, NEVER, np.int64)
    known = rows >= 0
    np.minimum.at(earliest, rows[known], times[known])
    return earliest
