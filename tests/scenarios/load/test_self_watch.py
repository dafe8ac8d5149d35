"""A load process tells its own lateness from that of a broker, also when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brokerbench.scenarios.load.self_watch import LoopWatch, Pulse

MS = 1_000_000
LIMIT_NS = 100 * MS


def busy(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def late_after(step: Callable[[LoopWatch], None]) -> int:
    """Messages due every millisecond for 300 ms, in which this happens: how many were late by the loop's own doing."""
    watch = LoopWatch(LIMIT_NS)
    watch.on_time()
    due_ns = time.monotonic_ns() + np.arange(300, dtype=np.int64) * MS
    step(watch)
    watch.sending(due_ns, max(time.monotonic_ns(), int(due_ns[-1])))
    own, _ = watch.end("loop")
    assert own.due == 300
    return own.late


def called(watch: LoopWatch, work: Callable[[], None]) -> None:
    begin_ns = time.monotonic_ns()
    work()
    watch.called(begin_ns, time.monotonic_ns())


def test_a_call_that_waits_for_the_broker_is_no_lateness_of_the_loop() -> None:
    assert late_after(lambda watch: called(watch, lambda: time.sleep(0.35))) == 0


def test_waiting_outside_of_calls_is() -> None:
    assert late_after(lambda watch: time.sleep(0.35)) > 200


def test_a_call_that_computes_is_time_of_the_loop() -> None:
    assert late_after(lambda watch: called(watch, lambda: busy(0.35))) > 200


def test_what_was_held_up_has_to_be_caught_up_with_and_excuses_no_more() -> None:
    watch = LoopWatch(LIMIT_NS)
    watch.on_time()
    begin_ns = time.monotonic_ns()
    called(watch, lambda: time.sleep(1.0))
    # Three times as fast as they came, the backlog is caught up with: those late meanwhile are late through the call.
    for part in np.array_split(begin_ns + np.arange(1500, dtype=np.int64) * MS, 15):
        watch.sending(part, begin_ns + 1000 * MS + (int(part[0]) - begin_ns) // 3)
    assert watch.end("loop")[0].late == 0
    watch = LoopWatch(LIMIT_NS)
    watch.on_time()
    called(watch, lambda: time.sleep(0.3))
    watch.sending(np.array([time.monotonic_ns()]), time.monotonic_ns())  # caught up
    watch.sending(np.array([time.monotonic_ns() - 250 * MS]), time.monotonic_ns())
    assert watch.end("loop")[0].late == 1


def test_a_gap_between_calls_is_told() -> None:
    watch = LoopWatch(LIMIT_NS)
    called(watch, lambda: time.sleep(0.01))
    time.sleep(0.12)
    called(watch, lambda: time.sleep(0.2))
    own, _ = watch.end("loop")
    (gap_ms,) = own.gaps_ms
    assert gap_ms == pytest.approx(120, abs=60)


def test_a_pulse_that_still_has_to_come_counts() -> None:
    pulse = Pulse()
    now_ns = time.monotonic_ns()
    (stall,) = pulse.stalls(now_ns + 1000 * MS, now_ns + 2000 * MS)
    assert stall == (now_ns + 1000 * MS, now_ns + 2000 * MS)
    assert not pulse.stalls(now_ns - 1000 * MS, now_ns)


STOPPED = """
import json, sys
from pathlib import Path
from brokerbench.bench.load.processes import Processes
from brokerbench.scenarios import latency, throughput
from brokerbench.scenarios.load.controller import LoadController
from brokerbench.scenarios.load.schedule import Schedule
from tests.scenarios.harness import loaded

doubts = []
with Processes() as load:
    about = loaded(latency, Path(sys.argv[1]), load, profile="memory")
    with about.writer("stopped") as writer, LoadController(about, writer) as controller:
        controller.open("stopped", [(100, 10_000), (10, 100)])
        for seconds in (1.5, 5.0):
            print(json.dumps("window"), flush=True)
            controller.paced("curve", 100, Schedule(500.0, seconds), late_after_s=0.1)
            doubts.append(controller.doubts)
            controller.drain()
        print(json.dumps("window"), flush=True)
        controller.window("publish", 10, 5.0)
        doubts.append(controller.doubts)
        controller.close()
print(json.dumps(doubts), flush=True)
"""


def test_a_load_that_is_stopped_for_three_seconds_doubts_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPPED, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
        assert running.stdout is not None
        for stopped in (False, True, True):
            assert json.loads(running.stdout.readline()) == "window"
            if stopped:
                time.sleep(1.0)
                running.send_signal(signal.SIGSTOP)
                time.sleep(3.0)
                running.send_signal(signal.SIGCONT)
        _, paced, closed = json.loads(running.stdout.readline())
    assert any("producer-0 was late by itself" in doubt for doubt in paced)
    assert any("consumer-0 stood still" in doubt for doubt in paced)
    assert any("producer-0 stood still" in doubt for doubt in closed)
