"""Load from two hosts on a broker of a third: what the record says, what the clocks say, and what a lost host does."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from brokerbench.bench import seal, store
from brokerbench.scenarios.history import saved_history
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.metrics import clock_sync
from tests.system.hosts.three_hosts import (
    ADDRESSES,
    AHEAD_S,
    SCHEDULER,
    NotAllowed,
    ThreeHosts,
    brokerbench,
    three_hosts,
)

LEFT, RIGHT = (f"{name} ({ADDRESSES[name]})" for name in ("left", "right"))
SHORT = """\
name: hosts
cells:
  - scenario: throughput
    parameters: {batches: [100], repeats: 1, window_s: 500 ms, warmup_s: 200 ms, ceiling_s: 50 ms, modes: [both]}
"""
LONG = SHORT.replace("500 ms", "30 s")
_RUNS_S = 60.0


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreeHosts]:
    try:
        with three_hosts(tmp_path_factory.mktemp("hosts")) as found:
            yield found
    except (NotAllowed, FileNotFoundError) as problem:
        pytest.skip(f"no network and time namespaces here: {problem}")


def begin(hosts: ThreeHosts, directory: Path, plan: str) -> subprocess.Popen[str]:
    path = directory / "plan.yaml"
    path.write_text(plan, encoding="utf-8")
    run = ["run", path, "--profile", "redis-streams", "--engine", "external", "--scheduler", SCHEDULER]
    return brokerbench(hosts, *run, "--out", directory / "run", "--seed", "7", "--quiet")


def load_processes(of: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [
        child for child in psutil.Process(of.pid).children() if "brokerbench.bench.load.processes" in child.cmdline()
    ]


@pytest.mark.engine
def test_two_hosts_load_the_broker_of_a_third(hosts: ThreeHosts, tmp_path: Path) -> None:
    run = begin(hosts, tmp_path, SHORT)
    out, err = run.communicate(timeout=_RUNS_S)
    assert run.returncode == 0, out + err
    result = store.load(tmp_path / "run")
    (cell,) = result.cells
    untold = {"delivery.key"}  # loads ask for no key of a delivery
    assert {row.verdict.value for row in cell.verdicts if row.property not in untold} == {"confirmed"}
    assert {row.property for row in cell.verdicts if row.verdict.value == "not testable here"} == untold

    directory = tmp_path / "run" / "cells" / cell.id
    assert seal.check(directory) is seal.Strength.DIGESTS
    record = saved_history.load(directory / "history")
    # The truth about the clocks is known: the namespaces were made with it.
    assert clock_sync.hosts(record) == [LEFT, RIGHT]
    for host, name in ((LEFT, "left"), (RIGHT, "right")):
        readings = list(record.events("clock", host=host))
        assert [mark["when"] for mark in readings] == ["begin", "end"]
        for mark in readings:
            assert abs(mark["offset_ns"] - AHEAD_S[name] * 10**9) <= mark["error_ns"] < 10**9
    assert {mark["host"] for mark in record.events("producer")} == {LEFT}
    assert {mark["host"] for mark in record.events("reader")} == {RIGHT}

    # Nothing is received before it was sent, but for the error; and all within the run.
    error_ns = clock_sync.error_ns(record)
    sends, deliveries = record.sends, record.deliveries
    assert (deliveries["status"] == INTACT).all()
    assert sorted(deliveries["seq"].tolist()) == sorted(sends["seq"].tolist())
    sent_ns = np.empty(len(sends["seq"]), np.int64)
    sent_ns[sends["seq"]] = sends["sent_ns"]
    took_ns = deliveries["received_ns"] - sent_ns[deliveries["seq"]]
    assert -error_ns <= took_ns.min() and took_ns.max() < _RUNS_S * 1e9
    (window,) = (mark for mark in record.events("window", mode="both") if not mark["warmup"])
    inside = (sends["sent_ns"] >= window["start_ns"] - error_ns) & (sends["sent_ns"] < window["end_ns"])
    assert np.count_nonzero(inside)

    # Stated, or refused: by the figures themselves.
    (error,) = (metric for metric in cell.metrics if metric.name == "clock_error")
    latencies = [metric for metric in cell.metrics if metric.name == "end_to_end_latency"]
    assert error.samples == [error_ns / 1e6]
    assert bool(latencies) != ("refused" in error.note)
    assert all(f"within {error_ns / 1e6:.3f} ms" in metric.note for metric in latencies)
    assert all(metric.labels["hosts"] == 2 for metric in cell.metrics if "mode" in metric.labels)
    assert not load_processes(hosts.processes["left"]) + load_processes(hosts.processes["right"])
    assert not list((hosts.directory).glob("*/dask-scratch-space/*/brokerbench-*"))


@pytest.mark.engine
def test_a_lost_host_is_a_failed_cell(hosts: ThreeHosts, tmp_path: Path) -> None:
    """Last in this module: the host does not come back."""
    run = begin(hosts, tmp_path, LONG)
    deadline = time.monotonic() + _RUNS_S
    while not (left := load_processes(hosts.processes["left"])) or not load_processes(hosts.processes["right"]):
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.05)
    hosts.processes["right"].kill()
    out, err = run.communicate(timeout=20.0)
    assert run.returncode == 1, out + err
    result = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    (cell,) = result["cells"]
    assert cell["status"] == "failed"
    assert RIGHT in cell["error"]
    assert psutil.wait_procs(left, timeout=5.0)[1] == []
