"""Progress of a run, as shown."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brokerbench.bench.run.progress import Expected, Plain, estimate

CELLS = [Expected("a", 10.0, False), Expected("b", 30.0, False), Expected("c", 20.0, True), Expected("d", 20.0, True)]


def test_side_by_side_counts_once_and_alone_counts_each() -> None:
    assert estimate(CELLS, {}, 0.0) == (0.0, 70.0)
    done, left_s = estimate(CELLS, {"a": 1.0, "b": 1.0}, 30.0)
    assert done == pytest.approx(3 / 7)
    assert left_s == pytest.approx(40.0)
    assert estimate(CELLS, dict.fromkeys("abcd", 1.0), 70.0) == (1.0, 0.0)


def test_the_own_pace_counts_more_and_more() -> None:
    _, early_s = estimate(CELLS, {"b": 0.1, "a": 1.0}, 6.0)
    _, late_s = estimate(CELLS, dict.fromkeys("abc", 1.0), 100.0)
    assert 67.0 < early_s < 75.0
    assert 30.0 < late_s < 40.0, "half as fast as expected so far"


def test_a_log_shows_what_runs_when_nothing_happens(capsys: pytest.CaptureFixture[str]) -> None:
    with Plain(silence_s=0.1) as watcher:
        watcher.planned([Expected("a", 900.0, True)])
        watcher.began("a")
        watcher.moved("a", 0.4, "curve: 50,000 messages a second")
        shown, deadline = "", time.monotonic() + 10
        while shown.count("40%") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            shown += capsys.readouterr().err
        assert shown.count("a: 40%, curve: 50,000 messages a second\n") >= 2
    time.sleep(0.2)  # one line may be on its way
    capsys.readouterr()
    time.sleep(0.5)
    assert capsys.readouterr().err == "", "a run that was cut short falls silent, too"


def test_on_a_terminal_it_ends_with_a_full_bar_and_the_cursor_back(plan: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).parent / "brokerbench"), "run", str(plan), "--out", str(tmp_path / "run")]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:
        pass  # the other side is closed: it has ended
    os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is visible again"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "memory.replay" in plain
    assert "100 %" in plain
    assert "result: " in plain
