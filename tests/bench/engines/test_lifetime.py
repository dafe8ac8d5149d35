"""No broker outlives its run, whatever ends it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from brokerbench.bench.engines import catalogue

pytestmark = pytest.mark.engine

RUN = """
import json, os, sys, time
from pathlib import Path
from brokerbench.bench.engines.base import EngineChoice
from brokerbench.bench.run.session import start_engines
from brokerbench.bench.guard import Guard

guard = Guard.start(sys.argv[1])
print(guard._process.pid, flush=True)
with guard:
    engines = start_engines(sys.argv[2:], EngineChoice.NATIVE, guard.directory("logs"), guard)
    print(json.dumps([engine.endpoint.address for engine in engines.values()]), flush=True)
    time.sleep(600)
"""


def begin(run_id: str, *names: str) -> tuple[subprocess.Popen[str], int]:
    """The run, and the number of its guard's process."""
    run = subprocess.Popen([sys.executable, "-c", RUN, run_id, *names], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    return run, int(run.stdout.readline())


def directories(run_id: str) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"brokerbench-{run_id}-*"))


def processes(run_id: str) -> list[psutil.Process]:
    """Found by working directory and arguments: redis-server overwrites its environment, and the token with it."""
    found = []
    for process in psutil.process_iter():
        try:
            if f"brokerbench-{run_id}-" in " ".join([process.cwd(), *process.cmdline()]):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def listens(address: str) -> bool:
    parts = urlsplit(address if "//" in address else f"//{address}")
    with socket.socket() as probe:
        return probe.connect_ex((str(parts.hostname), parts.port or 0)) == 0


def soon(holds: Callable[[], bool], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return held


def test_three_engines_are_gone_within_5_s_of_their_parents_sigkill() -> None:
    run_id = f"killed-{os.getpid()}"
    run, _ = begin(run_id, *catalogue.ENGINES)
    with run:
        assert run.stdout is not None
        addresses = json.loads(run.stdout.readline())
        assert len(addresses) == len(catalogue.ENGINES)
        assert all(map(listens, addresses))
        assert len(processes(run_id)) > len(addresses), "the engines and the guard"

        run.send_signal(signal.SIGKILL)

        assert soon(lambda: not processes(run_id) and not directories(run_id) and not any(map(listens, addresses)))


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1, 0.3])
def test_a_run_that_is_killed_while_it_starts_leaves_nothing(after_s: float) -> None:
    run_id = f"early-{os.getpid()}-{after_s}"
    run, _ = begin(run_id, "redis")
    with run:
        time.sleep(after_s)
        run.send_signal(signal.SIGKILL)

    assert soon(lambda: not processes(run_id) and not directories(run_id))
    time.sleep(0.5)
    assert not processes(run_id), "born after the sweep"


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.3, 1.0])
def test_a_run_whose_guard_is_killed_ends_and_leaves_nothing(after_s: float) -> None:
    run_id = f"guardless-{os.getpid()}-{after_s}"
    run, guard = begin(run_id, "redis", "kafka")
    with run:
        time.sleep(after_s)
        os.kill(guard, signal.SIGKILL)
        run.communicate(timeout=10)

    assert run.returncode != 0
    assert not processes(run_id)
    assert not directories(run_id)
