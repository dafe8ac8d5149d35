"""A load process watches itself: when it stood still, how long it asked nothing, and how long the broker held it.

A broker that stalls and a generator that stalls look the same from outside: messages are late. They differ in two
ways. A thread that only sleeps wakes on time while a broker stalls, and late while the process does not run. And the
loop's own thread neither runs nor waits for a core while a call waits for the broker.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from functools import cache

import numpy as np

from brokerbench.scenarios.history import Column
from brokerbench.scenarios.metrics.own_time import OwnTime

_EVERY_NS = 20_000_000
_LATE_NS = 20_000_000
"""A pulse that is later counts as a stall. On a busy machine one may wait some milliseconds for a core."""
_GAP_NS = 50_000_000
"""Between two calls of a loop; batches are decoded, verified and recorded in less."""
_LOOK_NS = 5_000_000
"""Between two readings of a thread's time: one costs 3 us."""
_MOST = 1000
"""Stalls that are kept, and stalls or gaps of one window that are recorded."""


class Pulse:
    """A thread that wakes every 20 ms. ``stalls`` tells when it could not, since it was made."""

    def __init__(self) -> None:
        self._due_ns = time.monotonic_ns() + _EVERY_NS
        self._stalls: deque[tuple[int, int]] = deque(maxlen=_MOST)
        threading.Thread(target=self._beat, name="pulse", daemon=True).start()

    def _beat(self) -> None:
        while True:
            time.sleep(_EVERY_NS / 1e9)
            now_ns = time.monotonic_ns()
            if now_ns - self._due_ns >= _LATE_NS:
                self._stalls.append((self._due_ns, now_ns))
            self._due_ns = now_ns + _EVERY_NS

    def stalls(self, begin_ns: int, end_ns: int) -> list[tuple[int, int]]:
        """(begin, end) of stalls within these times. The last may not have ended for the thread that beats."""
        known, due_ns = list(self._stalls), self._due_ns
        if end_ns - due_ns >= _LATE_NS and (not known or known[-1][0] < due_ns):
            known.append((due_ns, end_ns))
        within = [(max(begin_ns, begin), min(end_ns, end)) for begin, end in known]
        return [(begin, end) for begin, end in within if begin < end]


@cache
def pulse() -> Pulse:
    """The one of this process."""
    return Pulse()


class _ThreadClock:
    """Nanoseconds in which this thread ran or waited for a core, since it began."""

    def __init__(self) -> None:
        try:
            self._file: int | None = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:  # another system: waiting for a core then looks like waiting for the broker
            self._file = None

    def ran_ns(self) -> tuple[int, int]:
        """(on a core, waiting for one)."""
        if self._file is None:
            return time.thread_time_ns(), 0
        on_core, waiting, _ = os.pread(self._file, 64, 0).split()
        return int(on_core), int(waiting)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)


class LoopWatch:
    """Watches the loop of this thread through one window, from its making to ``end``.

    ``limit_ns``: a message sent later than that is late.
    """

    def __init__(self, limit_ns: int) -> None:
        self._limit_ns, self._pulse, self._clock = limit_ns, pulse(), _ThreadClock()
        self._begin_ns = self._called_ns = self._looked_ns = time.monotonic_ns()
        self._begin = self._ran = self._clock.ran_ns()
        self._in_calls_ns = self._held_ns = self._excuse_ns = 0
        self._gaps_ms: list[float] = []
        self._due = self._late = 0

    def called(self, begin_ns: int, end_ns: int) -> None:
        """A call of the broker's client has ended."""
        if begin_ns - self._called_ns >= _GAP_NS:
            self._gaps_ms.append(round((begin_ns - self._called_ns) / 1e6, 1))
        self._called_ns = end_ns
        self._in_calls_ns += end_ns - begin_ns
        if end_ns - self._looked_ns >= _LOOK_NS:
            self._look(end_ns)

    def _look(self, now_ns: int) -> None:
        """Add the time in calls in which the thread neither ran, nor waited for a core, nor was stopped."""
        ran = self._clock.ran_ns()
        busy_ns = sum(ran) - sum(self._ran)
        held_ns = min(self._in_calls_ns, now_ns - self._looked_ns - busy_ns)
        if held_ns >= _LATE_NS:
            held_ns -= sum(end - begin for begin, end in self._pulse.stalls(self._looked_ns, now_ns))
        self._held_ns += max(0, held_ns)
        self._looked_ns, self._ran, self._in_calls_ns = now_ns, ran, 0

    def on_time(self) -> None:
        """Nothing is due: the broker has excused whatever it held up."""
        self._held_ns = self._excuse_ns = 0

    def sending(self, due_ns: Column, now_ns: int) -> None:
        """These messages (ascending) go out now, or never. What the broker held up is no lateness of the loop.

        An excuse ends with the delay that it caused: messages that became due meanwhile have to be caught up with.
        """
        lag_ns = now_ns - int(due_ns[0])
        self._excuse_ns = min(self._excuse_ns + self._held_ns, lag_ns)
        self._held_ns = 0
        self._due += len(due_ns)
        if lag_ns - self._excuse_ns > self._limit_ns:
            self._late += int(np.count_nonzero(due_ns < now_ns - self._excuse_ns - self._limit_ns))

    def end(self, name: str) -> tuple[OwnTime, int]:
        """The loop's time in this window, and for how many ns its thread waited for a core."""
        now_ns, ran = time.monotonic_ns(), self._clock.ran_ns()
        self._clock.close()
        stalls = [round((end - begin) / 1e6, 1) for begin, end in self._pulse.stalls(self._begin_ns, now_ns)]
        own = OwnTime(
            name,
            now_ns - self._begin_ns,
            tuple(sorted(stalls, reverse=True)[:_MOST]),
            tuple(sorted(self._gaps_ms, reverse=True)[:_MOST]),
            self._due,
            self._late,
        )
        return own, ran[1] - self._begin[1]
