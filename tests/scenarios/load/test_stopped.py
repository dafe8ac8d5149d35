"""On a real broker: a load process that is stopped is its own fault, a broker that is stopped is the broker's."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from brokerbench.bench.load.processes import Processes
from brokerbench.brokers import registry
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios import latency
from brokerbench.scenarios.analysis import latency as latency_metrics
from brokerbench.scenarios.base import Context
from brokerbench.scenarios.history import saved_history
from brokerbench.scenarios.load.controller import LoadController
from brokerbench.scenarios.load.schedule import Schedule
from tests.scenarios.harness import loaded

PROFILE = "redis-streams"
LIMIT_S = 0.25


@pytest.fixture(scope="module")
def endpoint(endpoint_of: Callable[[str], Endpoint]) -> Endpoint:
    return endpoint_of("redis")


def on_redis(directory: Path, load: Processes, endpoint: Endpoint, name: str) -> Context:
    broker = registry.connect(PROFILE, endpoint)
    return replace(
        loaded(latency, directory, load),
        profile=PROFILE,
        endpoint=endpoint,
        broker=broker,
        declaration=broker.declaration(),
        connect=lambda: registry.connect(PROFILE, endpoint),
        channel_prefix=f"{name}-{os.getpid()}-",
    )


def _pid(controller: LoadController, endpoint: Endpoint, who: str) -> int:
    if who == "broker":
        return int(redis.Redis.from_url(endpoint.address).info("server")["process_id"])
    handle = (controller._producers if who == "producer" else controller._consumers)[0]
    return int(handle._process.process.pid)  # type: ignore[attr-defined]


@contextmanager
def stopped(pid: int, after_s: float, seconds: float) -> Iterator[None]:
    timers = [
        threading.Timer(after_s, os.kill, (pid, signal.SIGSTOP)),
        threading.Timer(after_s + seconds, os.kill, (pid, signal.SIGCONT)),
    ]
    for timer in timers:
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.join()


@contextmanager
def throttled(pid: int) -> Iterator[None]:
    """To a tenth, as a limit of a control group does it."""
    over = threading.Event()

    def throttle() -> None:
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            over.wait(0.09)
            os.kill(pid, signal.SIGCONT)
            over.wait(0.01)

    thread = threading.Thread(target=throttle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.engine
@pytest.mark.parametrize("who", ["producer", "consumer"])
def test_a_client_throttled_to_a_tenth_doubts_itself(tmp_path: Path, endpoint: Endpoint, who: str) -> None:
    with Processes() as load:
        about = on_redis(tmp_path, load, endpoint, f"throttled-{who}")
        with about.writer("latency") as writer, LoadController(about, writer) as controller:
            controller.open(who, [(100, 50_000)])
            with throttled(_pid(controller, endpoint, who)):
                controller.paced("curve", 100, Schedule(1000.0, 3.0), late_after_s=LIMIT_S)
            doubts = controller.doubts
            controller.drain()
            controller.close()
        about.broker.close()
    assert any(doubt.startswith(f"{who}-0") for doubt in doubts)


@pytest.mark.engine
@pytest.mark.parametrize("who", ["producer", "consumer", "broker"])
def test_lateness_has_the_right_cause(tmp_path: Path, endpoint: Endpoint, who: str) -> None:
    with Processes() as load:
        about = on_redis(tmp_path, load, endpoint, f"stopped-{who}")
        with about.writer("latency") as writer, LoadController(about, writer) as controller:
            controller.open(who, [(100, 50_000)])
            controller.paced("warm-up", 100, Schedule(2000.0, 1.0), warmup=True)
            controller.drain()
            with stopped(_pid(controller, endpoint, who), 1.0, 3.0):
                backlog = controller.paced("curve", 100, Schedule(2000.0, 6.0), late_after_s=LIMIT_S)
            controller.drain()
            doubts, late = controller.doubts, controller.late
            controller.close()
        about.broker.close()
    assert late > 0.2 * 12_000, f"{backlog} of 12,000 were left"
    (window,) = latency_metrics.paced_windows(saved_history.load(tmp_path / "history"))
    assert window.doubts == doubts
    assert not window.lasts(LIMIT_S * 1e9)
    if who == "broker":
        assert not doubts, "what the broker held up counts against it"
    else:
        assert any(doubt.startswith(f"{who}-0") for doubt in doubts)
