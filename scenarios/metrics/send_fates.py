"""The fates of the sends behind a figure: how many were rejected, or have an unknown fate, and why.

A rate counts what the broker acknowledged. Beside it must stand what it did not: a client that refuses a third of a
load looks like a slow broker otherwise, and profiles carry different loads in one table.

Pure. A saved history is read in stretches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.base import Sends
from brokerbench.scenarios.history import History, saved_history
from brokerbench.scenarios.metrics.message_times import SendIndex

Span = tuple[int, int]
"""A stretch of time in nanoseconds: start included, end not."""
_EVER: Span = (np.iinfo(np.int64).min, np.iinfo(np.int64).max)
_FATES = len(Outcome)


def of_history(history: History) -> Sends:
    """All sends of all producers."""
    return within(history, [_EVER])[0]


def within(history: History, spans: Sequence[Span], by: str = "sent_ns") -> list[Sends]:
    """The sends of each span, by their column ``by``. Spans ascend and do not overlap."""
    index = SendIndex(history)
    outcome = _outcomes(history, index)
    spanned = _Spanned(spans)
    counts = np.zeros(len(spans) * _FATES, np.int64)
    for part in saved_history.stretches(history.sends, ("producer", "seq", by)):
        rows, span = spanned.rows(part[by])
        fate = outcome[index.numbers(part["producer"][rows], part["seq"][rows])]
        counts += np.bincount(span * _FATES + fate, minlength=len(counts))
    rejected_bytes = np.zeros(len(spans), np.int64)
    if counts[Outcome.REJECTED :: _FATES].any():
        for part in saved_history.stretches(history.sends, ("producer", "seq", "size", by)):
            rows, span = spanned.rows(part[by])
            refused = outcome[index.numbers(part["producer"][rows], part["seq"][rows])] == Outcome.REJECTED
            np.add.at(rejected_bytes, span[refused], part["size"][rows[refused]])
    reasons = _reasons(history)
    return [
        _sends(of_span, int(size), reasons)
        for of_span, size in zip(counts.reshape(len(spans), _FATES), rejected_bytes, strict=True)
    ]


def added(parts: Iterable[Sends]) -> Sends:
    """The sends of several spans together."""
    every = list(parts)
    return Sends(
        sent=sum(part.sent for part in every),
        rejected=sum(part.rejected for part in every),
        unknown=sum(part.unknown for part in every),
        rejected_bytes=sum(part.rejected_bytes for part in every),
        reasons={name: why for part in reversed(every) for name, why in part.reasons.items()},
    )


class _Spanned:
    """Finds the span of each time."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._starts, self._ends = np.array(spans, np.int64).reshape(-1, 2).T

    def rows(self, times: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows within a span, and the number of the span of each."""
        span = np.searchsorted(self._starts, times, "right") - 1
        rows = np.flatnonzero((span >= 0) & (times < np.append(self._ends, 0)[span]))
        return rows, span[rows]


def _outcomes(history: History, index: SendIndex) -> npt.NDArray[np.int8]:
    """By the messages' numbers; UNKNOWN where there is none, as for the number -1."""
    outcome = np.full(len(index) + 1, Outcome.UNKNOWN, np.int8)
    for part in saved_history.stretches(history.send_outcomes, ("producer", "seq", "outcome")):
        numbers = index.numbers(part["producer"], part["seq"])
        known = numbers >= 0
        outcome[numbers[known]] = part["outcome"][known]
    return outcome


def _reasons(history: History) -> Mapping[str, str]:
    """By outcome the first reason."""
    return {str(mark["outcome"]): str(mark["reason"]) for mark in reversed(list(history.events("not_acknowledged")))}


def _sends(counts: npt.NDArray[np.int64], rejected_bytes: int, reasons: Mapping[str, str]) -> Sends:
    counted = {outcome.name.lower(): int(counts[outcome]) for outcome in Outcome}
    return Sends(
        sent=int(counts.sum()),
        rejected=counted["rejected"],
        unknown=counted["unknown"],
        rejected_bytes=rejected_bytes,
        reasons={name: why for name, why in reasons.items() if counted.get(name)},
    )
