"""Messages go out when they are due: never before, at once when late, in parts that are not too large."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from brokerbench.scenarios.load.bodies import batches, precise_sleep, send_when_due

MS = 1_000_000


def test_who_is_late_sends_at_once_and_looks_for_no_answers() -> None:
    late_ns = time.monotonic_ns() - np.arange(25, 0, -1, dtype=np.int64)
    sent: list[int] = []
    polls: list[int] = []
    send_when_due(late_ns, 10, sent.append, lambda: polls.append(1))
    assert sent == [10, 10, 5]
    assert not polls


def test_nothing_is_sent_before_it_is_due_and_answers_are_looked_for_meanwhile() -> None:
    due_ns = time.monotonic_ns() + np.array([3, 3, 6, 300], np.int64) * MS
    sent: list[tuple[int, int]] = []
    polls: list[int] = []
    send_when_due(due_ns, 10, lambda count: sent.append((count, time.monotonic_ns())), lambda: polls.append(1))
    assert sum(count for count, _ in sent) == 4
    last = np.cumsum([count for count, _ in sent]) - 1
    assert all(at_ns >= due_ns[index] for index, (_, at_ns) in zip(last, sent, strict=True))
    assert polls


def test_who_is_late_stamps_full_batches_and_who_is_on_time_a_few_messages() -> None:
    now_ns = time.monotonic_ns()
    late_ns, early_ns = np.full(200, now_ns - 1), np.full(250, now_ns + 10**12)
    assert [*map(len, batches(late_ns, 64, 1024))] == [64, 64, 64, 8]
    assert [*map(len, batches(late_ns, 1000, 1024))] == [200]
    assert [*map(len, batches(early_ns, 64, 1024))] == [100, 100, 50]
    assert [*map(len, batches(np.append(late_ns, early_ns), 150, 1024))] == [150, 100, 100, 100]
    assert [*map(len, batches(early_ns, 1000, 100 << 10))] == [2] * 125
    assert {*map(len, batches(early_ns, 1000, 1 << 20))} == {1}
    assert np.array_equal(np.concatenate([*batches(late_ns, 7, 64)]), late_ns)


@pytest.mark.skipif(not Path("/proc/self/timerslack_ns").exists(), reason="this system has no such setting")
def test_who_must_be_on_time_is_woken_without_delay() -> None:
    def slack_ns() -> int:
        return int(Path(f"/proc/{threading.get_native_id()}/timerslack_ns").read_text())

    usual_ns = slack_ns()
    with pytest.raises(ZeroDivisionError), precise_sleep():
        assert slack_ns() == 1
        raise ZeroDivisionError
    assert slack_ns() == usual_ns
