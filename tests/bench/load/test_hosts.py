"""Load processes that dask places, on this host: commands, answers, and every way to end. Needs no broker."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from brokerbench.bench import environment
from brokerbench.bench.errors import BadInput
from brokerbench.bench.load import hosts as load
from brokerbench.bench.load import wires
from brokerbench.bench.load.hosts import Hosts, check
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios.base import LoadFailed

BODIES = "tests.bench.load.test_processes"
BROKER = Endpoint("redis", "redis://127.0.0.1:1/0")
TOKEN = b"t" * 32


@dataclass(frozen=True, slots=True)
class Dask:
    address: str
    worker: subprocess.Popen[bytes]
    directory: Path


@pytest.fixture(scope="module")
def dask(bodies_of_tests: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    directory = tmp_path_factory.mktemp("dask")
    file, log = directory / "scheduler.json", directory / "log"
    with log.open("wb") as out:

        def start(*words: str) -> subprocess.Popen[bytes]:
            argv = [sys.executable, "-m", "dask", *words, "--scheduler-file", str(file), "--host=127.0.0.1"]
            return subprocess.Popen([*argv, "--no-dashboard"], stdout=out, stderr=out)

        scheduler = start("scheduler", "--port=0")
        worker = start("worker", "--no-nanny", "--nthreads=1", f"--local-directory={directory}")
    try:
        deadline = time.monotonic() + 30.0
        while b"Registered to" not in log.read_bytes():
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        yield Dask(json.loads(file.read_text(encoding="utf-8"))["address"], worker, directory)
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def hosts(dask: Dask) -> Iterator[Hosts]:
    with Hosts(dask.address) as found:
        yield found


def arguments(tmp_path: Path, name: str = "producer-0") -> dict[str, object]:
    return {"greeting": "yes", "history": str(tmp_path), "name": name}


def test_orders_are_answered_by_a_process_of_its_own(hosts: Hosts, dask: Dask, tmp_path: Path) -> None:
    check(dask.address)
    first = hosts.start(f"{BODIES}:echo", "redis-streams", BROKER, arguments(tmp_path))
    second = hosts.start(f"{BODIES}:echo", "redis-streams", BROKER, arguments(tmp_path, "producer-1"))
    for process in (first, second):
        process.command("how")
    answers = [process.report(20.0) for process in (first, second)]
    assert [answer[:2] for answer in answers] == [("yes", "how")] * 2
    assert {psutil.Process(answer[2]).ppid() for answer in answers} == {dask.worker.pid}
    with pytest.raises(TimeoutError, match=r"on the host .*127\.0\.0\.1"):
        first.report(0.1)
    for process in (first, second):
        process.wait(20.0)
    assert not any(psutil.pid_exists(answer[2]) for answer in answers)
    assert list(dask.directory.glob("*/*/brokerbench-*"))
    hosts.close()
    deadline = time.monotonic() + 5.0
    while list(dask.directory.glob("*/*/brokerbench-*")):
        assert time.monotonic() < deadline, "what was written elsewhere is still there"
        time.sleep(0.02)


def test_a_failure_and_a_death_bring_the_hosts_name(hosts: Hosts, tmp_path: Path) -> None:
    failed = hosts.start(f"{BODIES}:fail", "redis-streams", BROKER, arguments(tmp_path))
    with pytest.raises(
        LoadFailed, match=rf"on the host {socket.gethostname()} \(127\.0\.0\.1\): ValueError: something"
    ):
        failed.report(20.0)
    killed = hosts.start(f"{BODIES}:sleep", "redis-streams", BROKER, arguments(tmp_path, "producer-1"))
    os.kill(killed.report(20.0), signal.SIGKILL)
    with pytest.raises(LoadFailed, match=r"127\.0\.0\.1.*was killed by SIGKILL"):
        killed.report(20.0)


def test_a_host_with_other_code_is_refused(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = environment.describe(environment.PROFILES_WITH_CLIENTS)
    monkeypatch.setattr(environment, "describe", lambda _: ours.model_copy(update={"code_revision": "0123abcd"}))
    with pytest.raises(LoadFailed, match=r"another code_revision: .*; here: 0123abcd"):
        hosts.start(f"{BODIES}:echo", "redis-streams", BROKER, arguments(tmp_path))


def test_the_end_of_the_cell_ends_its_processes(dask: Dask, tmp_path: Path) -> None:
    code = (
        "import os, signal; from brokerbench.brokers.types import Endpoint\n"
        "from brokerbench.bench.load.hosts import Hosts\n"
        f"hosts = Hosts({dask.address!r}); broker = Endpoint('redis', 'redis://127.0.0.1:1/0')\n"
        f"arguments = {arguments(tmp_path)!r}\n"
        f"print(hosts.start('{BODIES}:sleep', 'redis-streams', broker, arguments).report(20.0), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    cell = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60)
    left = [psutil.Process(pid) for pid in map(int, cell.stdout.split()) if psutil.pid_exists(pid)]
    assert cell.stdout
    assert not psutil.wait_procs(left, 5.0)[1]


def test_a_lost_worker_is_noticed_at_once(dask: Dask, hosts: Hosts, tmp_path: Path) -> None:
    """Last with this worker."""
    process = hosts.start(f"{BODIES}:sleep", "redis-streams", BROKER, arguments(tmp_path))
    body = psutil.Process(process.report(20.0))
    dask.worker.kill()
    began = time.monotonic()
    with pytest.raises(LoadFailed, match=r"the host .*127\.0\.0\.1\) is lost"):
        process.report(60.0)
    assert time.monotonic() - began < 30.0
    hosts.close()
    assert not psutil.wait_procs([body], 5.0)[1]
    with pytest.raises(BadInput, match="no dask worker"):
        while True:  # until the scheduler has seen it, too
            check(dask.address)


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(BadInput, match=f"--scheduler {address}: no dask scheduler answers"):
        check(address)


def test_a_stranger_is_turned_away() -> None:
    def strangers(address: wires.Address) -> None:
        for said in (b"", b"x" * 36, TOKEN + (8).to_bytes(4, "big")):
            with socket.create_connection(address) as wire:
                wire.sendall(said)
        with Connection(wires.connect(address, TOKEN, 7).detach()) as wire:
            wire.send("it is me")
            wire.recv()

    with wires.listen("127.0.0.1") as listener:
        thread = threading.Thread(target=strangers, args=[listener.getsockname()])
        thread.start()
        with wires.accept(listener, TOKEN, 7, 20.0, lambda: None) as wire:
            assert wire.recv() == "it is me"
            wire.send(None)
        thread.join()
        with pytest.raises(TimeoutError):
            wires.accept(listener, TOKEN, 7, 0.1, lambda: None)
