"""Send commands to load processes and wait for their reports, with a progress callback once a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from brokerbench.scenarios.base import LoadProcess
from brokerbench.scenarios.load.load_commands import Command

_PROGRESS_EVERY_S = 1.0

OnProgress = Callable[[float], None]
"""Called about once a second with the share of a window that has passed, from 0 to 1."""


def no_progress(share: float) -> None: ...


def ask(process: LoadProcess, command: Command, timeout_s: float) -> Any:
    """The process' report on a command. Raises LoadFailed, TimeoutError."""
    process.command(command)
    return process.report(timeout_s)


def ask_all(processes: Sequence[LoadProcess], command: Command, timeout_s: float) -> list[Any]:
    """The reports of all processes on one command, which they execute side by side. Raises LoadFailed, TimeoutError."""
    for process in processes:
        process.command(command)
    return reports(processes, timeout_s)


def reports(
    processes: Sequence[LoadProcess], timeout_s: float, waiting: Callable[[], None] = lambda: None
) -> list[Any]:
    """The next report of each process. Calls ``waiting`` once a second meanwhile. Raises LoadFailed, TimeoutError."""
    return [_report(process, timeout_s, waiting) for process in processes]


def _report(process: LoadProcess, timeout_s: float, waiting: Callable[[], None]) -> Any:
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = deadline - time.monotonic()
        try:
            return process.report(max(0.0, min(_PROGRESS_EVERY_S, left_s)))
        except TimeoutError as late:
            if left_s <= _PROGRESS_EVERY_S:
                raise TimeoutError(f"no report within {timeout_s:g} s: {late}") from None
            waiting()


def share_passed(on_progress: OnProgress, start_ns: int, end_ns: int) -> Callable[[], None]:
    """A function that reports the share of the window from ``start_ns`` to ``end_ns`` that has passed by now."""
    return lambda: on_progress(min(1.0, max(0.0, (time.monotonic_ns() - start_ns) / max(1, end_ns - start_ns))))
