"""Nothing outlives a run, however its parent ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from brokerbench.bench.guard import TOKEN, Guard, sweep

PARENT = """
import signal, sys, time
from pathlib import Path
from brokerbench.bench.guard import Guard

# A shell that starts the suite in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

with Guard.start(sys.argv[1]) as guard:
    directory = guard.directory("work")
    (directory / "file").write_text("x")
    log = directory / "log"
    child = guard.spawn([sys.executable, "-c", "import subprocess, sys, time; "
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); "
        "time.sleep(600)"], log_path=log)
    piped = guard.spawn_piped([sys.executable, "-c", "import time; time.sleep(600)"], log_path=log)
    time.sleep(0.5)
    print(guard._process.pid, flush=True)
    time.sleep(float(sys.argv[2]))
"""


def of_run(run_id: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(TOKEN) == run_id:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def left_behind(run_id: str) -> list[str]:
    directories = [str(path) for path in Path(tempfile.gettempdir()).glob(f"brokerbench-{run_id}*")]
    return directories + [str(process) for process in of_run(run_id)]


def wait_until_clean(run_id: str, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while left_behind(run_id) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left_behind(run_id) == []


def start(run_id: str, length_s: float = 600) -> tuple[subprocess.Popen[str], int]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, run_id, str(length_s)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    guard_pid = int(parent.stdout.readline())
    assert len(of_run(run_id)) == 3, "a child, its own child in another session, and the piped one"
    return parent, guard_pid


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
def test_all_is_gone_when_the_parent_ends(how: signal.Signals | None) -> None:
    run_id = f"guard-{os.getpid()}-{how or 'plain'}"
    parent, _ = start(run_id, 0.1 if how is None else 600)
    if how is not None:
        parent.send_signal(how)
    parent.communicate(timeout=30)
    wait_until_clean(run_id, 5.0)


def test_the_run_ends_when_the_guard_dies() -> None:
    run_id = f"guard-{os.getpid()}-dies"
    parent, guard_pid = start(run_id)
    os.kill(guard_pid, signal.SIGKILL)
    _, errors = parent.communicate(timeout=10)
    assert parent.returncode != 0
    assert "the guard process died" in errors
    wait_until_clean(run_id, 5.0)


def descriptors(pid: int) -> list[Path]:
    """Open files of a process; it may close some meanwhile."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(entry.readlink())
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are read from /proc")
def test_the_pipe_is_not_inherited(tmp_path: Path) -> None:
    """A child that held the pipe's write end would keep the guard waiting for ever."""
    with Guard.start(f"guard-{os.getpid()}-pipe") as guard:
        child = guard.spawn([sys.executable, "-c", "import time; time.sleep(600)"], log_path=tmp_path / "log")
        assert guard._process.stdin is not None
        pipe = Path(f"/proc/self/fd/{guard._process.stdin.fileno()}").readlink()
        assert pipe not in descriptors(child.pid)
    child.wait()


def test_nothing_is_started_once_a_run_is_over(tmp_path: Path) -> None:
    guard = Guard.start(f"guard-{os.getpid()}-over")
    guard.close()
    for start_one in (guard.spawn, guard.spawn_piped):
        with pytest.raises(RuntimeError, match="the run is over"):
            start_one(["touch", str(tmp_path / "started")], log_path=tmp_path / "log")
    assert not (tmp_path / "started").exists()
    assert left_behind(guard.run_id) == []


def test_a_program_that_overwrites_its_environment_is_found(tmp_path: Path) -> None:
    """As redis-server does when it sets its title: the run's token is gone, its session is not."""
    bare = "import os, sys; os.execve(sys.executable, [sys.executable, '-c', 'import time; time.sleep(600)'], {})"
    with Guard.start(f"guard-{os.getpid()}-bare") as guard:
        child = guard.spawn([sys.executable, "-c", bare], log_path=tmp_path / "log")
        deadline = time.monotonic() + 10
        while of_run(guard.run_id) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert child.poll() is None
        assert of_run(guard.run_id) == []
    assert child.wait(timeout=5) == -signal.SIGKILL


def test_the_next_owner_of_a_number_is_left_alone(tmp_path: Path) -> None:
    """Process numbers are reused: the process with a noted number may be a stranger."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True) as stranger:
        ledger = tmp_path / "ledger"
        ledger.write_text(json.dumps({"session": stranger.pid, "age_s": -60.0}) + "\n")
        sweep("no-such-run", ledger, psutil.Process(stranger.pid).create_time())
        assert stranger.poll() is None
        ledger.write_text(json.dumps({"session": stranger.pid, "age_s": 0.0}) + "\n")
        sweep("no-such-run", ledger, psutil.Process(stranger.pid).create_time())
        assert stranger.wait(timeout=5) is not None
