"""Pacing: send messages when they are due, and sleep until then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from brokerbench.scenarios.history import Column

_POLL_NS = 500_000
"""Interval of polling for answers while waiting for the next message: a poll is when an answer is timed."""
_AHEAD, _AHEAD_BYTES = 100, 256 << 10
"""Most messages, and bytes, stamped at once while on schedule: stamping singly costs 10x as much; larger batches delay
their first messages."""
_LEAST_SLACK, _USUAL_SLACK = "1", "0"
"""In nanoseconds, as Linux takes them; 0 restores the value that the thread began with."""


def batches(due_ns: Column, most: int, size: int) -> Iterator[Column]:
    """Cut due times into batches, each of which is stamped at once with messages of ``size`` bytes.

    Behind schedule, a batch holds all messages that are due, at most ``most``, so that nothing cuts it up further.
    """
    on_time = max(1, min(_AHEAD, _AHEAD_BYTES // size))
    at, count = 0, len(due_ns)
    while at < count:
        late = int(due_ns.searchsorted(time.monotonic_ns(), "right")) - at
        part = due_ns[at : at + (min(late, most) if late >= min(on_time, most) else on_time)]
        at += len(part)
        yield part


def send_when_due(due_ns: Column, most: int, send: Callable[[int], None], poll: Callable[[], None]) -> None:
    """Send all messages that are due, again and again until the last: at these times (ascending, monotonic).

    Behind schedule, at most ``most`` messages go out at once. Ahead of it, poll for answers, then sleep until the next
    message or the next poll.
    """
    at, count = 0, len(due_ns)
    while at < count:
        now_ns = time.monotonic_ns()
        due = min(int(due_ns.searchsorted(now_ns, "right")), at + most) - at
        if due:
            send(due)
            at += due
        else:
            poll()
            sleep_until(min(int(due_ns[at]), now_ns + _POLL_NS))


@contextmanager
def precise_sleep() -> Iterator[None]:
    """End this thread's sleeps on time. By default Linux extends each by up to 50 us, so as to wake less often."""
    _slack(_LEAST_SLACK)
    try:
        yield
    finally:
        _slack(_USUAL_SLACK)  # threads inherit it, and a client library's must have the default


def _slack(nanoseconds: str) -> None:
    with suppress(OSError):  # another system, or a kernel without it
        Path(f"/proc/{threading.get_native_id()}/timerslack_ns").write_text(nanoseconds, encoding="ascii")


def sleep_until(monotonic_ns: int) -> None:
    """Return at once for a time in the past."""
    time.sleep(max(0.0, (monotonic_ns - time.monotonic_ns()) / 1e9))
