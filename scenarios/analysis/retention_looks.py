"""When each message was seen to be kept, and to be gone, from looks at what a channel keeps.

A look is bracketed by two client times: its answer was true at some moment between ``asked_ns`` and ``answered_ns``.
So a message went between ``asked_ns`` of the last look that shows it and ``answered_ns`` of the first one that does
not. However long the harness stood still between two looks, the truth lies between these ends.

Without positions only a count is seen. Retention removes the oldest first, so a count that fell by k says that
the k oldest are gone; the marks say which of the two ways was used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.history import History

Times = npt.NDArray[np.int64]
Looks = Sequence[Mapping[str, Any]]

NOT_SHOWN = np.iinfo(np.int64).min // 2
"""Before any time: no look shows the message."""


@dataclass(frozen=True, slots=True)
class Watched:
    """Acknowledged sends of one role, oldest first.

    ``shown_ns``: when the last look was asked for that shows it (NOT_SHOWN: none). ``gone_ns``: when the first look
    was answered that shows it gone (-1: none).
    """

    seq: Times
    sent_ns: Times
    shown_ns: Times
    gone_ns: Times
    limit_ns: int

    def overshoot_s(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(least, most) time from the limit until it was gone, of each message that was seen to be gone.

        A look before the limit says nothing of this time, which begins at 0.
        """
        gone = self.gone_ns >= 0
        due_ns = self.sent_ns[gone] + self.limit_ns
        most = self.gone_ns[gone] - due_ns
        least = np.minimum(most, np.maximum(0, self.shown_ns[gone] - due_ns))
        return least / 1e9, most / 1e9


def watched(history: History, role: str) -> Watched | None:
    """None where the role has no age limit or was not watched."""
    limits = list(history.events("limit", role=role))
    looks = list(history.events("look", role=role))
    producers = history.producers(role=role)
    if not limits or limits[0]["age_s"] is None or not looks or not producers:
        return None
    ours = np.isin(history.sends["producer"], producers)
    acknowledged = history.outcomes() == Outcome.ACKNOWLEDGED
    rows = np.flatnonzero(acknowledged & ours)
    rows = rows[np.argsort(history.sends["seq"][rows])]
    if "count" in looks[0]:
        shown, gone = _by_count(len(rows), int((ours & ~acknowledged).sum()), looks)
    else:
        places = history.outcome_column("place", -1)[rows]
        partitions = history.outcome_column("partition", -1)[rows]
        shown, gone = _by_position(partitions, places, looks)
    limit_ns = round(limits[0]["age_s"] * 1e9)
    return Watched(history.sends["seq"][rows], history.sends["sent_ns"][rows], shown, gone, limit_ns)


def _by_position(partitions: Times, places: Times, looks: Looks) -> tuple[Times, Times]:
    shown = np.full(len(places), NOT_SHOWN, np.int64)
    gone = np.full(len(places), -1, np.int64)
    asked, answered = _times(looks)
    for partition in np.unique(partitions):
        first = np.array([look["first"].get(str(partition), -1) for look in looks], np.int64)
        first = np.maximum.accumulate(first)
        ours = np.flatnonzero(partitions == partition)
        at = np.searchsorted(first, places[ours], side="right")
        seen = at < len(looks)
        gone[ours[seen]] = answered[at[seen]]
        before = at > 0
        shown[ours[before]] = asked[at[before] - 1]
    return shown, gone


def _by_count(sent: int, doubtful: int, looks: Looks) -> tuple[Times, Times]:
    """The k-th oldest is gone at the first look after which no look ever shows more than ``sent - k`` kept.

    A count taken while messages were still being sent says nothing: only looks after the largest count are used.
    ``doubtful`` more messages, that were not acknowledged, may be kept and counted: it is surely there only while more
    than ``sent - k + doubtful`` are.
    """
    counts = np.array([look["count"] for look in looks], np.int64)
    asked, answered = _times(looks)
    peak = int(np.flatnonzero(counts == counts.max())[-1])
    # A later, larger count takes back what an earlier one seemed to show (counts are approximate on the service).
    ceiling = np.maximum.accumulate(counts[peak:][::-1])[::-1]
    shown = np.full(sent, NOT_SHOWN, np.int64)
    gone = np.full(sent, -1, np.int64)
    order = np.arange(1, sent + 1)
    at = np.searchsorted(sent - ceiling, order, side="left")
    seen = at < len(ceiling)
    gone[seen] = answered[peak:][at[seen]]
    at = np.searchsorted(sent + doubtful - ceiling, order, side="left")
    before = at > 0
    shown[before] = asked[peak:][at[before] - 1]
    return shown, gone


def _times(looks: Looks) -> tuple[Times, Times]:
    """When each look was asked for, and answered."""
    asked, answered = (np.array([look[name] for look in looks], np.int64) for name in ("asked_ns", "answered_ns"))
    return asked, answered
