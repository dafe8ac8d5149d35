"""Strangers are told from the run and its broker."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from brokerbench.bench.run import meters
from brokerbench.bench.run.meters import MachineMeter
from brokerbench.scenarios.base import MachineUsage

_HOG = "while True: pass"


@pytest.fixture
def hog() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", _HOG]) as process:
        yield process
        process.kill()


def _used(meter: MachineMeter, seconds: float = 0.6) -> float:
    before: MachineUsage = meter()
    time.sleep(seconds)
    after = meter()
    assert before.ours_s is not None and after.ours_s is not None
    return after.ours_s - before.ours_s


def test_a_child_is_ours_and_the_same_process_beside_us_is_not(hog: subprocess.Popen[bytes]) -> None:
    time.sleep(0.2)
    assert _used(MachineMeter({os.getpid()})) > 0.1
    # Of the guard of another run: the hog is none of its descendants. Kernel threads are in both.
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        time.sleep(0.3)
        assert _used(MachineMeter({other.pid})) < 0.3
        other.kill()


def test_the_machine_counts_what_all_programs_use(hog: subprocess.Popen[bytes]) -> None:
    meter = MachineMeter({hog.pid})
    before = meter()
    time.sleep(0.6)
    after = meter()
    assert after.programs_s - before.programs_s > 0.1
    assert after.cores == os.cpu_count()
    assert after.stolen_s >= before.stolen_s


def test_nothing_is_said_about_strangers_when_a_process_of_ours_is_gone() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert MachineMeter({os.getpid(), gone.pid})().ours_s is None
    assert MachineMeter(None)().ours_s is None


def test_a_look_is_cheap() -> None:
    meter = MachineMeter({os.getpid()})
    meter()
    begin_s = time.process_time()
    for _ in range(10):
        meter()
    assert (time.process_time() - begin_s) / 10 < 0.03


def test_the_broker_that_listens_here_is_ours_and_one_elsewhere_needs_no_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        here = meters.ours(1, None, f"redis://user:secret@127.0.0.1:{port}/0", in_process=False)
        assert here == {1, os.getpid()}
        assert meters.ours(1, 77, f"127.0.0.1:{port}", in_process=False) == {1, 77, os.getpid()}
    assert meters.ours(1, None, f"127.0.0.1:{port}", in_process=False) is None, "its processes are not known"
    assert meters.ours(1, 0, f"127.0.0.1:{port}", in_process=False) is None, "Docker does not tell its number"
    assert meters.ours(1, None, "192.0.2.7:9092,192.0.2.8:9092", in_process=False) == {1}
    assert meters.ours(1, None, "memory://x", in_process=True) == {1}
