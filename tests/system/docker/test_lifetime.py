"""No container outlives its run, whatever ends it."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from brokerbench.bench.engines import docker as engines
from brokerbench.bench.engines.catalogue import REDIS
from brokerbench.bench.errors import EngineUnavailable
from brokerbench.bench.guard import Guard

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

# What a run does first: the guard, then an engine. It says when each is there, and waits to be killed.
RUN = """
import sys, time
from pathlib import Path
from brokerbench.bench.engines import docker
from brokerbench.bench.engines.catalogue import REDIS
from brokerbench.bench.guard import Guard

guard = Guard.start(sys.argv[1])
print("guarded", flush=True)
docker.start(REDIS, Path(sys.argv[2]), guard)
print("up", flush=True)
time.sleep(600)
"""


def containers(daemon: docker.DockerClient, run_id: str) -> int:
    label = f"{engines.RUN_LABEL}={run_id}"
    return len(daemon.containers.list(all=True, filters={"label": label}, ignore_removed=True))


def soon(holds: Callable[[], bool], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return held


def test_a_container_is_removed_within_5_s_of_its_parents_sigkill(daemon: docker.DockerClient, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", RUN, "docker-killed", tmp_path], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.read(len("guarded\nup\n")) == b"guarded\nup\n"
        assert containers(daemon, "docker-killed") == 1
        run.send_signal(signal.SIGKILL)

        assert soon(lambda: containers(daemon, "docker-killed") == 0)


@pytest.mark.parametrize("after_s", [0.05, 0.15, 0.25, 0.35, 0.5])
def test_a_run_that_is_killed_while_it_starts_leaves_none(
    daemon: docker.DockerClient, tmp_path: Path, after_s: float
) -> None:
    run_id = f"docker-early-{after_s}"
    with subprocess.Popen([sys.executable, "-c", RUN, run_id, tmp_path], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        run.stdout.readline()
        time.sleep(after_s)
        run.send_signal(signal.SIGKILL)

    time.sleep(5.0)
    assert containers(daemon, run_id) == 0


def test_an_engine_that_does_not_start_leaves_none_and_shows_the_end_of_its_log(
    daemon: docker.DockerClient, tmp_path: Path
) -> None:
    broken = dataclasses.replace(REDIS, settings={"nonsense": "1"})
    with Guard.start("docker-broken") as guard:
        with pytest.raises(EngineUnavailable, match="nonsense"):
            engines.start(broken, tmp_path, guard)

        assert containers(daemon, guard.run_id) == 0


def test_the_guard_removes_what_nobody_stopped(daemon: docker.DockerClient, tmp_path: Path) -> None:
    with Guard.start("docker-forgotten") as guard:
        engines.start(REDIS, tmp_path, guard)
        assert containers(daemon, guard.run_id) == 1

    assert containers(daemon, "docker-forgotten") == 0
