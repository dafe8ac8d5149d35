"""The most that an open loop may leave in a broker: a rate far above what it takes must harm no machine.

A schedule ends some seconds after its window whatever is left to send, so a window leaves at most what the broker took
in that time. Where that may be more than a share of this machine's memory, the window is looked after: it is halted
once the broker holds more for its consumers, or once this machine has little memory left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psutil

from brokerbench.brokers.protocols import Counting
from brokerbench.scenarios.base import Context

_MOST_SHARE = 0.25
_LEAST_FREE_SHARE = 0.1


class BacklogBound:
    """For one window. ``most_bytes``: that may wait for consumers; 0: a quarter of this machine's memory."""

    def __init__(
        self,
        context: Context,
        channel: str,
        groups: Sequence[str],
        bytes_a_second: float,
        most_bytes: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker, self._channel, self._groups = context.broker, channel, groups
        self._size, self._bytes_a_second = float(context.parameters["size"]), bytes_a_second
        self._most_bytes = most_bytes or _MOST_SHARE * psutil.virtual_memory().total
        self._clock, self._begin = clock, clock()

    def passed(self) -> str:
        """What was passed, in words; empty while all is well. Asks the broker only when enough was due to pass it."""
        memory = psutil.virtual_memory()
        if memory.available < _LEAST_FREE_SHARE * memory.total:
            return f"less than {_LEAST_FREE_SHARE:.0%} of the machine's memory was free"
        due_bytes = (self._clock() - self._begin) * self._bytes_a_second
        if due_bytes <= self._most_bytes or not isinstance(self._broker, Counting):
            return ""
        waiting = max(self._broker.backlog(self._channel, group) or 0 for group in self._groups)
        if waiting * self._size <= self._most_bytes:
            return ""
        return f"{waiting:,} messages waited, more than {self._most_bytes / 2**20:,.0f} MiB"
