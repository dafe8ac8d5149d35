"""A self-test that is stopped leaves no process and no file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_self_test_that_is_stopped_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    command = [str(Path(sys.executable).parent / "brokerbench"), "selftest", "--quiet"]
    running = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE)
    workers = _until(lambda: list(tmp_path.glob("*/*/*.parquet")) and psutil.Process(running.pid).children())
    running.send_signal(number)
    assert running.wait(30) == code
    assert running.stderr is not None
    assert b"Traceback" not in running.stderr.read()
    _until(lambda: not any(worker.is_running() for worker in workers))
    _until(lambda: not list(tmp_path.iterdir()))


def _until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (seen := look()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return seen
