"""The harness's own times of its calls, to which an adapter's times are held.

An adapter says when messages arrived and when settlements did. It is right only where that lies within the call that
returned them; a settlement may also have arrived in the background, between what it answers and that call. Other times
are an error of the adapter: with them a duplicate could be dated before its acknowledgement. Within ``TOLERANCE_NS``,
for libraries whose clocks count coarsely, a time is moved to the nearer end instead.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_right
from dataclasses import dataclass, field, replace

import numpy as np

from brokerbench.brokers.types import Received, Settlements

TOLERANCE_NS = 1_000_000
_STEP_NS = 1_000_000
"""Sends within this time count as one: the sent times of a long run take little room."""


class AdapterClock(RuntimeError):
    """An adapter told a time at which it cannot have been."""


@dataclass(frozen=True, slots=True)
class CallTimes:
    """``profile``: whose adapter it is."""

    profile: str

    def received(self, call: str, received: Received, asked_ns: int) -> Received:
        """What the call that began at ``asked_ns`` has just returned, with its time held to the call's."""
        returned_ns = time.monotonic_ns()
        told_ns = received.received_ns
        if asked_ns <= told_ns <= returned_ns:
            return received
        self._check(call, "received_ns", told_ns, told_ns, asked_ns, returned_ns)
        return replace(received, received_ns=min(max(told_ns, asked_ns), returned_ns))

    def settled(self, call: str, settlements: Settlements, asked_ns: int) -> Settlements:
        """The same for settlements of what was asked for at ``asked_ns`` or later."""
        if not len(settlements):
            return settlements
        returned_ns, told_ns = time.monotonic_ns(), settlements.settled_ns
        first_ns, last_ns = (int(told_ns[0]),) * 2 if len(told_ns) == 1 else (int(told_ns.min()), int(told_ns.max()))
        if asked_ns <= first_ns and last_ns <= returned_ns:
            return settlements
        self._check(call, "settled_ns", first_ns, last_ns, asked_ns, returned_ns)
        return replace(settlements, settled_ns=np.clip(told_ns, asked_ns, returned_ns))

    def _check(self, call: str, name: str, first_ns: int, last_ns: int, asked_ns: int, returned_ns: int) -> None:
        for told_ns in (first_ns, last_ns):
            if not asked_ns - TOLERANCE_NS <= told_ns <= returned_ns + TOLERANCE_NS:
                raise AdapterClock(
                    f"the adapter of {self.profile} tells a time outside of its call: {call} returned {name} "
                    f"{told_ns}, but the call, or what it answers, began at {asked_ns} and ended at {returned_ns} "
                    f"(monotonic nanoseconds; {_off(told_ns, asked_ns, returned_ns)}). "
                    "Take the time with time.monotonic_ns() when the answer arrives"
                )


def _off(told_ns: int, asked_ns: int, returned_ns: int) -> str:
    if told_ns < asked_ns:
        return f"{(asked_ns - told_ns) / 1e6:g} ms too early"
    return f"{(told_ns - returned_ns) / 1e6:g} ms too late"


@dataclass(slots=True)
class SentTimes:
    """When a producer's messages were handed over, to a millisecond: never later than they were."""

    _firsts: array[int] = field(default_factory=lambda: array("q"))
    _sent_ns: array[int] = field(default_factory=lambda: array("q"))

    def sent(self, first_ticket: int, sent_ns: int) -> None:
        """Messages from this ticket on were handed over at this time or later."""
        if not self._sent_ns or sent_ns - self._sent_ns[-1] >= _STEP_NS:
            self._firsts.append(first_ticket)
            self._sent_ns.append(sent_ns)

    def of(self, ticket: int) -> int:
        """The time of this ticket, or somewhat earlier; 0 where it was never handed over."""
        at = bisect_right(self._firsts, ticket) - 1
        return self._sent_ns[at] if at >= 0 else 0
