"""Each message's way through the broker: due, sent, settled, received; as columns over all messages of a history.

Where several groups each get every message, it has one way to each: a row for every message and group.

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
    The rows of one message, one for each of ``groups``, stand together.
    """

    due_ns: Times
    sent_ns: Times
    settled_ns: Times
    received_ns: Times
    groups: int = 1

    def __len__(self) -> int:
        return len(self.due_ns)

    def due_within(self, start_ns: int, end_ns: int) -> Journeys:
        """Messages due from ``start_ns`` until before ``end_ns``."""
        first, last = np.searchsorted(self.due_ns, [start_ns, end_ns])
        return self._rows(slice(int(first), int(last)), self.groups)

    def as_sent(self) -> Journeys:
        """One row for each message: what befell it until the broker had it."""
        return self._rows(slice(None, None, self.groups), 1)

    def acknowledged(self) -> Journeys:
        """Only what the broker is known to have taken."""
        taken = self.settled_ns != NEVER
        return self if taken.all() else self._rows(taken, self.groups)

    def _rows(self, part: slice | npt.NDArray[np.bool_], groups: int) -> Journeys:
        return Journeys(self.due_ns[part], self.sent_ns[part], self.settled_ns[part], self.received_ns[part], groups)

    def backlog_age_ns(self, at_ns: Times) -> Times:
        """At each time, how long the oldest message that was due and not yet received had been due; 0 without one.

        The first message received later than t is the first at which the running maximum of receive times exceeds t.
        """
        latest = np.maximum.accumulate(self.received_ns)
        oldest = np.searchsorted(latest, at_ns, "right")
        due_ns = np.append(self.due_ns, NEVER)[oldest]
        age_ns: Times = np.where(due_ns <= at_ns, at_ns - np.minimum(due_ns, at_ns), 0)
        return age_ns

    def of_group(self, at: int) -> Journeys:
        """The rows of one group, by its place among them."""
        return self._rows(slice(at, None, self.groups), 1)

    def underway(self, at_ns: Times) -> Times:
        """At each time (ascending), the messages that were sent and not yet received; of all groups together.

        Without those that the broker is not known to have taken: they wait for nobody.
        """
        of = self.acknowledged()
        # Clocks of several hosts agree within their error only.
        waiting: Times = np.maximum(_until(of.sent_ns, at_ns) - _until(of.received_ns, at_ns), 0)
        return waiting

    def backlog(self, at_ns: Times) -> Times:
        """At each time (ascending), the messages that the broker had acknowledged and nobody had received.

        Of several groups, those of all together. Never below 0: a message may be received before its sender hears of
        it.
        """
        settled = _until(np.maximum(self.settled_ns, self.sent_ns), at_ns)
        received = _until(self.received_ns, at_ns)
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
    received_ns = [_received_ns(history, index, readers) for readers in _readers(history)]
    order = np.argsort(sends["intended_ns"], kind="stable")
    groups = len(received_ns)

    due_ns, sent_ns, settled_ns = (
        np.repeat(column[order], groups) for column in (sends["intended_ns"], sends["sent_ns"], settled_ns)
    )
    return Journeys(due_ns, sent_ns, settled_ns, np.stack(received_ns, axis=1)[order].ravel(), groups)


def _readers(history: History) -> list[list[int] | None]:
    """Of each group; None, for all that read, where there are not several."""
    groups = history.groups()
    return list(groups.values()) if len(groups) > 1 else [None]


def _received_ns(history: History, index: SendIndex, readers: list[int] | None) -> Times:
    """When each message first came to one of these readers."""
    deliveries = history.deliveries
    fine = deliveries["status"] == INTACT
    if readers is not None:
        fine &= np.isin(deliveries["reader"], readers)
    ours = np.flatnonzero(fine)
    rows = index.rows(deliveries["producer"][ours], deliveries["seq"][ours])
    return _earliest(len(history.sends["seq"]), rows, deliveries["received_ns"][ours])


def _until(times: Times, at_ns: Times) -> Times:
    """How many of ``times`` are not later than each of ``at_ns`` (ascending). Looks are few: nothing is sorted."""
    counts: Times = np.cumsum(np.bincount(np.searchsorted(at_ns, times), minlength=len(at_ns) + 1)[:-1])
    return counts


def _earliest(count: int, rows: Column, times: Column) -> Times:
    """The earliest of the times that belong to each row."""
    earliest = np.full(count, NEVER, np.int64)
    known = rows >= 0
    np.minimum.at(earliest, rows[known], times[known])
    return earliest
