"""How a run may end before its time: signals, SIGKILL, engines that die or do not start. Nothing outlives it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from brokerbench.bench.guard import TOKEN
from brokerbench.scenarios import results

pytestmark = pytest.mark.engine

THREE = ("kafka", "redis-streams", "sqs-standard")


@dataclass(slots=True)
class Run:
    """A run in a process of its own, its lines of progress, and the processes seen to belong to it."""

    process: subprocess.Popen[str]
    out: Path
    lines: list[str] = field(default_factory=list)
    members: set[psutil.Process] = field(default_factory=set)

    def read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def wait_for(self, text: str, within_s: float = 90.0) -> None:
        deadline = time.monotonic() + within_s
        while not any(text in line for line in list(self.lines)):
            ended = self.process.poll()
            assert ended is None and time.monotonic() < deadline, f"code {ended}: {''.join(self.lines)}"
            time.sleep(0.02)

    def look(self) -> set[psutil.Process]:
        """Every process of the run now: descendants of the parent, and processes that carry the token."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.members |= set(psutil.Process(self.process.pid).children(recursive=True))
        run_id = self.run_id()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if run_id and process.environ().get(TOKEN) == run_id:
                    self.members.add(process)
        return self.members

    def run_id(self) -> str:
        for process in self.members:
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "brokerbench.bench.guard" in words:
                    return words[words.index("brokerbench.bench.guard") + 1]
        return ""

    def end(self, within_s: float = 30.0) -> str:
        self.process.wait(within_s)
        time.sleep(0.1)
        return "".join(self.lines)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    runs: list[Run] = []

    def begin(*words: str, env: dict[str, str] | None = None) -> Run:
        out = tmp_path / f"run-{len(runs)}"
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "brokerbench"), "run", "--engine", "native", "--out", str(out), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | (env or {}),
        )
        run = Run(process, out)
        threading.Thread(target=run.read, daemon=True).start()
        runs.append(run)
        return run

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()


def words(*profiles: str, scenario: str = "ordering") -> list[str]:
    return [*(word for profile in profiles for word in ("--profile", profile)), "--scenario", scenario]


def listening(processes: set[psutil.Process]) -> set[int]:
    ports = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            ports |= {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    return ports


def left_behind(run_id: str, members: set[psutil.Process], ports: set[int]) -> list[str]:
    left = [str(path) for path in Path(tempfile.gettempdir()).glob(f"brokerbench-{run_id}*")] if run_id else []
    for process in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(str(process))
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                left.append(f"port {port}")
    return left


def assert_clean(run_id: str, members: set[psutil.Process], ports: set[int], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while (left := left_behind(run_id, members, ports)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


@pytest.mark.parametrize("moment", ["", "starting", "begins"])
def test_nothing_is_left_after_sigkill(start, moment: str) -> None:  # type: ignore[no-untyped-def]
    run = start(*words(*THREE))
    if moment:
        run.wait_for(moment)
        time.sleep(1.0)
    else:
        time.sleep(0.7)
    members = run.look()
    run_id, ports = run.run_id(), listening(members)
    run.process.kill()
    run.process.wait()
    assert_clean(run_id, members, ports, 5.0)


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_was_measured(start, sig: signal.Signals) -> None:  # type: ignore[no-untyped-def]
    run = start("--profile", "redis-streams", "--scenario", "retention", "--scenario", "throughput")
    run.wait_for(" confirmed")
    members = run.look()
    run_id, ports = run.run_id(), listening(members)
    begin = time.monotonic()
    run.process.send_signal(sig)
    said = run.end()
    assert time.monotonic() - begin < 10.0
    assert run.process.returncode == 130
    assert f"brokerbench: interrupted: what was measured is in {run.out}" in said
    assert "Traceback" not in said
    result = results.read(run.out / "result.json")
    assert (result.complete, [cell.id for cell in result.cells]) == (False, ["redis-streams.retention"])
    assert_clean(run_id, members, ports, 1.0)


LONG = """\
name: long
cells:
  - scenario: throughput
    profiles: [noop]
    parameters: {batches: [1000], repeats: 1, modes: [both], window_s: 4.0}
"""


def stopped_between_measuring_and_judging(start, plan: Path) -> Run:  # type: ignore[no-untyped-def]
    """A run whose cell stands still with a whole history, unjudged. Judging may be faster than this test: try again."""
    for _ in range(10):
        run = start(str(plan))
        run.wait_for("begins")
        time.sleep(1.0)
        (cell,) = [process for process in run.look() if "brokerbench.bench.run.cell" in process.cmdline()]
        directory, deadline = run.out / "cells" / "noop.throughput", time.monotonic() + 60
        while not (directory / "history.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        with contextlib.suppress(psutil.NoSuchProcess):
            cell.suspend()
            if not (directory / "cell.json").exists():
                return run
            cell.resume()
        run.end()
    raise AssertionError("every cell was judged before this test could look")


def test_an_interrupt_keeps_what_is_not_judged_yet(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    plan = tmp_path / "long.yaml"
    plan.write_text(LONG, encoding="utf-8")
    run = stopped_between_measuring_and_judging(start, plan)
    members, run_id = run.look(), run.run_id()
    seal = run.out / "cells" / "noop.throughput" / "history.json"
    run.process.send_signal(signal.SIGINT)
    said = run.end()
    assert run.process.returncode == 130
    assert f"interrupted: what was measured is in {run.out}" in said
    (cell,) = results.read(run.out / "result.json").cells
    assert (cell.status, cell.error) == (
        "failed",
        "the run was stopped; its history is whole, and `brokerbench analyse` judges it",
    )
    assert_clean(run_id, members, set(), 1.0)
    left = {f"history/{path.name}" for path in (run.out / "cells" / "noop.throughput" / "history").iterdir()}
    assert left | {"declaration.json"} == set(json.loads(seal.read_text())["files"]), "no shard is left"
    again = subprocess.run([str(Path(sys.executable).parent / "brokerbench"), "analyse", str(run.out)], check=False)
    assert again.returncode == 0
    (cell,) = results.read(run.out / "result.json").cells
    assert cell.status == "completed"
    assert cell.metrics


@pytest.mark.parametrize("moment", ["starting", "begins"])
def test_an_interrupt_before_anything_was_measured_leaves_nothing(start, moment: str) -> None:  # type: ignore[no-untyped-def]
    run = start(*words("redis-streams") if moment == "begins" else words("kafka", "redis-streams"))
    run.wait_for(moment)
    time.sleep(0.5)
    members = run.look()
    run_id, ports = run.run_id(), listening(members)
    run.process.send_signal(signal.SIGINT)
    said = run.end()
    assert run.process.returncode == 130
    assert "brokerbench: interrupted: nothing was measured" in said
    assert "Traceback" not in said
    assert not run.out.exists()
    assert_clean(run_id, members, ports, 1.0)


MIXED = """\
name: mixed
cells:
  - {scenario: ordering, profiles: [redis-streams]}
  - {scenario: replay, profiles: [kafka]}
"""


def test_an_engine_that_dies_fails_its_cells_and_no_others(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    plan = tmp_path / "mixed.yaml"
    plan.write_text(MIXED, encoding="utf-8")
    run = start(str(plan))
    run.wait_for("redis-streams.ordering: begins")
    time.sleep(0.5)
    servers = [process for process in run.look() if "redis-server" in process.name()]
    assert len(servers) == 1
    servers[0].kill()
    said = run.end(120)
    assert run.process.returncode == 1, said
    assert "Traceback" not in said
    cells = {cell.id: cell for cell in results.read(run.out / "result.json").cells}
    assert cells["redis-streams.ordering"].status == "failed"
    assert "the engine redis is gone" in cells["redis-streams.ordering"].error
    assert "redis.log ends: " in cells["redis-streams.ordering"].error
    assert cells["kafka.replay"].status == "completed", said
    assert "cells failed: " in said


def test_an_engine_that_does_not_start(start) -> None:  # type: ignore[no-untyped-def]
    run = start(*words("kafka", "redis-streams"), env={"BROKERBENCH_JAVA": "/bin/false"})
    said = run.end(60)
    assert run.process.returncode == 3
    assert "Apache Kafka" in said.splitlines()[-1]
    assert "Traceback" not in said


SPEED = """\
name: speed
profiles: [kafka, redis-streams, sqs-standard]
cells:
  - scenario: throughput
    parameters: {batches: [100], repeats: 1, modes: [both], window_s: 300 ms, warmup_s: 100 ms, ceiling_s: 100 ms}
"""


@pytest.mark.slow
def test_every_socket_of_a_run_is_on_loopback(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The engines', the cells', and their load processes'."""
    plan = tmp_path / "speed.yaml"
    plan.write_text(SPEED, encoding="utf-8")
    run = start(str(plan))
    run.wait_for("begins")
    addresses: set[tuple[str, str]] = set()
    modules: set[str] = set()
    while run.process.poll() is None:
        for process in run.look():
            with contextlib.suppress(psutil.Error):
                modules |= {"brokerbench.bench.run.cell", "brokerbench.bench.load.processes"} & set(process.cmdline())
                for connection in process.net_connections("inet"):
                    addresses |= {(process.name(), end.ip) for end in (connection.laddr, connection.raddr) if end}
        time.sleep(0.3)
    assert run.process.returncode == 0, "".join(run.lines)
    assert modules == {"brokerbench.bench.run.cell", "brokerbench.bench.load.processes"}
    assert len({name for name, _ in addresses}) >= 3
    for name, ip in addresses:
        found = ipaddress.ip_address(ip)
        assert (getattr(found, "ipv4_mapped", None) or found).is_loopback, (name, ip)
