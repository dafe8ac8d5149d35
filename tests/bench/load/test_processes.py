"""Load processes: commands, answers, and every way to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from brokerbench.bench.load.processes import Processes
from brokerbench.brokers.errors import Refused
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios.base import LoadFailed, Worker

HERE = "tests.bench.load.test_processes"
NOWHERE = Endpoint("redis", "redis://127.0.0.1:1/0", secrets={"password": "hunter2"})
IN_PROCESS = Endpoint("memory", "memory://workers")
PROFILES = (("redis-streams", NOWHERE), ("memory", IN_PROCESS))
"""The first runs in a process of its own, the second in a thread. Neither connects."""


def echo(worker: Worker, arguments: Mapping[str, Any]) -> None:
    while (order := worker.next_command()) is not None:
        worker.report((arguments["greeting"], order, os.getpid()))


def fail(worker: Worker, arguments: Mapping[str, Any]) -> None:
    if arguments.get("refused"):
        raise Refused("no such luck")
    raise ValueError("something else")


def sleep(worker: Worker, arguments: Mapping[str, Any]) -> None:
    worker.report(os.getpid())
    time.sleep(60)


def leave(worker: Worker, arguments: Mapping[str, Any]) -> None:
    os._exit(7)


def what_is_imported(worker: Worker, arguments: Mapping[str, Any]) -> None:
    worker.connect_noop().close()
    from brokerbench.scenarios.load import bodies  # noqa: F401

    worker.report(sorted({name.partition(".")[0] for name in sys.modules}))


@pytest.fixture
def load(bodies_of_tests: None) -> Iterator[Processes]:
    with Processes() as processes:
        yield processes


@pytest.mark.parametrize(("profile", "endpoint"), PROFILES)
def test_orders_are_answered_in_order(load: Processes, profile: str, endpoint: Endpoint) -> None:
    process = load.start(f"{HERE}:echo", profile, endpoint, {"greeting": "yes"})
    for number in range(3):
        process.command(number)
    answers = [process.report(20.0) for _ in range(3)]
    assert [answer[:2] for answer in answers] == [("yes", 0), ("yes", 1), ("yes", 2)]
    assert (answers[0][2] == os.getpid()) is (profile == "memory")
    process.wait(20.0)


@pytest.mark.parametrize(("profile", "endpoint"), PROFILES)
def test_a_failure_brings_its_message(load: Processes, profile: str, endpoint: Endpoint) -> None:
    with pytest.raises(LoadFailed, match=r"^no such luck$"):
        load.start(f"{HERE}:fail", profile, endpoint, {"refused": True}).report(20.0)
    with pytest.raises(LoadFailed, match=r"^ValueError: something else$"):
        load.start(f"{HERE}:fail", profile, endpoint, {}).wait(20.0)


def test_nobody_there_is_a_failure_without_secrets(load: Processes) -> None:
    process = load.start(
        "brokerbench.scenarios.load.bodies:produce",
        "redis-streams",
        NOWHERE,
        {"history": "/nonexistent", "name": "x", "run": 1},
    )
    with pytest.raises(LoadFailed) as failure:
        process.report(20.0)
    assert "hunter2" not in str(failure.value)


def test_secrets_stand_in_no_command_line(load: Processes) -> None:
    process = load.start(f"{HERE}:sleep", "redis-streams", NOWHERE, {})
    child = psutil.Process(process.report(20.0))
    assert not any("hunter2" in part for part in [*child.cmdline(), *child.environ().values()])


@pytest.mark.parametrize(("body", "message"), [("leave", "ended with code 7"), ("sleep", "was killed by SIGKILL")])
def test_a_lost_process_is_named(load: Processes, body: str, message: str) -> None:
    process = load.start(f"{HERE}:{body}", "redis-streams", NOWHERE, {})
    with pytest.raises(LoadFailed, match=message):
        if body == "sleep":
            os.kill(process.report(20.0), signal.SIGKILL)
        process.report(20.0)


@pytest.mark.parametrize(("profile", "endpoint"), PROFILES)
def test_late_is_late(load: Processes, profile: str, endpoint: Endpoint) -> None:
    process = load.start(f"{HERE}:echo", profile, endpoint, {})
    with pytest.raises(TimeoutError):
        process.report(0.05)


def test_kill_is_immediate_and_final(load: Processes) -> None:
    process = load.start(f"{HERE}:sleep", "redis-streams", NOWHERE, {})
    pid = process.report(20.0)
    process.kill()
    assert not psutil.pid_exists(pid)
    process.kill()
    with pytest.raises(LoadFailed):
        process.command(1)


def test_a_worker_ends_with_its_starter(tmp_path: Path) -> None:
    """Also a busy one, also after SIGKILL."""
    script = (
        "import time\n"
        "from brokerbench.bench.load.processes import Processes\n"
        "from tests.bench.load.test_processes import HERE, NOWHERE\n"
        "process = Processes().start(f'{HERE}:sleep', 'redis-streams', NOWHERE, {})\n"
        "print(process.report(20.0), flush=True)\n"
        "time.sleep(60)\n"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
    deadline = time.monotonic() + 5.0
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not psutil.pid_exists(pid)


def test_a_load_process_imports_no_more_than_it_needs(load: Processes) -> None:
    process = load.start(f"{HERE}:what_is_imported", "redis-streams", NOWHERE, {})
    # This test module, not the process, imports pytest and its dependencies.
    assert not {"pandas", "scipy", "pydantic", "confluent_kafka", "boto3", "typer"} & set(process.report(30.0))
