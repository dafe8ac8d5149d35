"""What load processes report, waited for, while somebody is told that time passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from brokerbench.scenarios.base import LoadProcess
from brokerbench.scenarios.load.bodies import Order

_TELL_S = 1.0

Passed = Callable[[float], None]
"""Told about once a second which share of a window is over."""


def told_nobody(share: float) -> None: ...


def answers(processes: Sequence[LoadProcess], order: Order, timeout_s: float) -> list[Any]:
    """Each one's report on the same order. Raises LoadFailed, TimeoutError."""
    for process in processes:
        process.command(order)
    return reports(processes, timeout_s)


def reports(
    processes: Sequence[LoadProcess], timeout_s: float, waiting: Callable[[], None] = lambda: None
) -> list[Any]:
    """One after the other; ``waiting`` is called once a second meanwhile. Raises LoadFailed, TimeoutError."""
    return [_report(process, timeout_s, waiting) for process in processes]


def _report(process: LoadProcess, timeout_s: float, waiting: Callable[[], None]) -> Any:
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = deadline - time.monotonic()
        try:
            return process.report(max(0.0, min(_TELL_S, left_s)))
        except TimeoutError as late:
            if left_s <= _TELL_S:
                raise TimeoutError(f"no report within {timeout_s:g} s: {late}") from None
            waiting()


def telling(passed: Passed, start_ns: int, end_ns: int) -> Callable[[], None]:
    """Call it to say which share of the window from ``start_ns`` to ``end_ns`` is over by now."""
    return lambda: passed(min(1.0, max(0.0, (time.monotonic_ns() - start_ns) / max(1, end_ns - start_ns))))
