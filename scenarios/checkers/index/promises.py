"""Promises of a channel that its history carries: the lease, and the broker's clock against the harness's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brokerbench.brokers.types import Clock
from brokerbench.scenarios.history import History


@dataclass(frozen=True, slots=True)
class Promises:
    lease_ns: int | None
    """None where deliveries have no lease that the history tells."""
    buffers_ahead: bool
    """The client fetches ahead of the calls: a lease may have begun before the call that returned the message."""
    clock: Clock | None
    """Of the broker's times; None where it keeps none, or the history does not tell."""
    resolution_ns: int


_NONE = Promises(None, False, None, 1)


def of(history: History, channel: str) -> Promises:
    """From the channel's mark (``clients/channels.py``); histories of before promise nothing."""
    mark = next(history.events("channel", channel=channel), None)
    if mark is None:
        return _NONE
    return Promises(
        None if mark["lease_s"] is None else round(float(mark["lease_s"]) * 1e9),
        bool(mark["buffers_ahead"]),
        None if mark["broker_clock"] is None else Clock(mark["broker_clock"]),
        int(mark["broker_clock_resolution_ns"]),
    )


def epoch_offsets_ns(history: History) -> tuple[int, int] | None:
    """The least and the most by which the epoch clock was ahead of the monotonic one; None where no mark tells.

    Every mark holds both clocks, read one after the other. Where marks of several hosts, whose monotonic clocks began
    at other times, stand together, the two are far apart, and bound little.
    """
    ahead = [
        int(mark["at_epoch_ns"]) - int(mark["at_ns"])
        for mark in history.marks
        if mark["event"] != "identities" and "at_epoch_ns" in mark and "at_ns" in mark
    ]
    return (min(ahead), max(ahead)) if ahead else None


def closing_ns(history: History, readers: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """By reader number, up to ``readers``: when its consumer began to close, and after that let go what it held."""
    closing = np.full(readers, np.iinfo(np.int64).max, np.int64)
    for mark in history.events("closing"):
        if mark["reader"] < readers:
            closing[mark["reader"]] = mark["at_ns"]
    return closing
