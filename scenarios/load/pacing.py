"""Being on time: sending when messages are due, and sleeping until then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from brokerbench.scenarios.history import Column

_POLL_NS = 500_000
"""Who waits for the next message looks for answers this often: they are timed when they are seen."""
_AHEAD, _AHEAD_BYTES = 100, 256 << 10
"""Who is on time stamps so much at once: one by itself costs ten times as much, and of more the first are late."""
_LEAST_SLACK, _USUAL_SLACK = "1", "0"
"""In nanoseconds, as Linux takes them; 0 stands for what the thread began with."""


def batches(due_ns: Column, most: int, size: int) -> Iterator[Column]:
    """These times in parts, for each of which messages of ``size`` bytes are stamped at once.

    Who is late has parts of what is due, ``most`` at most, so that nothing cuts them up further.
    """
    on_time = max(1, min(_AHEAD, _AHEAD_BYTES // size))
    at, count = 0, len(due_ns)
    while at < count:
        late = int(due_ns.searchsorted(time.monotonic_ns(), "right")) - at
        part = due_ns[at : at + (min(late, most) if late >= min(on_time, most) else on_time)]
        at += len(part)
        yield part


def send_when_due(due_ns: Column, most: int, send: Callable[[int], None], poll: Callable[[], None]) -> None:
    """Have as many messages sent as are due, until all are: at these times (ascending, monotonic).

    Who is late catches up, at most ``most`` at once; who is early looks for answers, then sleeps, but not longer than
    answers may wait.
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
def woken_in_time() -> Iterator[None]:
    """Have sleeps of this thread end when they should. Linux lets each last up to 50 us longer, so as to wake less."""
    _slack(_LEAST_SLACK)
    try:
        yield
    finally:
        _slack(_USUAL_SLACK)  # threads inherit it: a client library's must be as its users have them


def _slack(nanoseconds: str) -> None:
    with suppress(OSError):  # another system, or a kernel without it
        Path(f"/proc/{threading.get_native_id()}/timerslack_ns").write_text(nanoseconds, encoding="ascii")


def sleep_until(monotonic_ns: int) -> None:
    """Return at once where that is past."""
    time.sleep(max(0.0, (monotonic_ns - time.monotonic_ns()) / 1e9))
