"""Waiting for reports, with progress."""

from __future__ import annotations

import time
from typing import Any

import pytest

from brokerbench.scenarios.load import load_commands
from brokerbench.scenarios.load.load_commands import reports, share_passed


class Process:
    """Reports on the ``late + 1``-st time of asking."""

    def __init__(self, late: int) -> None:
        self._late = late

    def command(self, command: Any) -> None: ...

    def report(self, timeout_s: float) -> int:
        self._late -= 1
        if self._late < 0:
            return 7
        time.sleep(timeout_s)
        raise TimeoutError("late")

    def wait(self, timeout_s: float) -> None: ...

    def kill(self) -> None: ...


def test_waiting_calls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_commands, "_PROGRESS_EVERY_S", 0.01)
    told: list[int] = []
    assert reports([Process(0), Process(3)], 10.0, lambda: told.append(1)) == [7, 7]
    assert len(told) == 3
    with pytest.raises(TimeoutError, match=r"^no report within 0\.05 s: late$"):
        reports([Process(1000)], 0.05, lambda: told.append(1))


def test_the_share_of_a_window_stays_within_it() -> None:
    now = time.monotonic_ns()
    told: list[float] = []
    for start_ns, end_ns in (
        (now + 10**9, now + 2 * 10**9),
        (now - 10**10, now + 3 * 10**10),
        (now - 10, now - 5),
        (now - 5, now - 5),
    ):
        share_passed(told.append, start_ns, end_ns)()
    assert 0.2 < told.pop(1) < 0.3
    assert told == [0.0, 1.0, 1.0]
