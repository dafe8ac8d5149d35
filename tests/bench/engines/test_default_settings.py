"""Brokers with the settings that they have by default, used as external ones: no promise is refuted."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from brokerbench.bench import store
from brokerbench.bench.engines import catalogue, external, native
from brokerbench.bench.guard import Guard
from brokerbench.scenarios.results import RunResult
from brokerbench.scenarios.verdicts import Verdict

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ONE_NODE = (
    "process.roles",
    "node.id",
    "controller.listener.names",
    "listener.security.protocol.map",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "transaction.state.log.min.isr",
    "share.coordinator.state.topic.replication.factor",
    "share.coordinator.state.topic.min.isr",
)
"""Settings without which Kafka does not work on one node."""
PLAN = """\
name: defaults
cells:
  - scenario: retention
    parameters: {age_s: 2 s, sending_s: 1 s, held: 50, give_back_after_s: 2 s, grace_s: 4 s}
  - scenario: ordering
    parameters: {messages: 200}
  - scenario: replay
    parameters: {messages: 300, beside: 90, attempts: 2}
  - scenario: throughput
    parameters: {batches: [100], modes: [both], repeats: 1, window_s: 1 s}
"""
PROFILES = {"kafka": ("kafka", "kafka-share"), "redis": ("redis-streams",)}


@pytest.fixture(scope="module")
def addresses() -> Iterator[Mapping[str, str]]:
    """{variable: address} of each broker."""
    settings = {"kafka": {name: catalogue.KAFKA.settings[name] for name in ONE_NODE}, "redis": {}}
    with Guard.start("default-settings") as guard:
        logs = guard.directory("logs")
        engines = {
            name: native.start(replace(catalogue.ENGINES[name], settings=given), logs, guard)
            for name, given in settings.items()
        }
        yield {external.VARIABLES[name]: engine.endpoint.address for name, engine in engines.items()}


def run(out: Path, name: str, addresses: Mapping[str, str]) -> RunResult:
    plan = out.with_suffix(".yaml")
    plan.write_text(PLAN)
    chosen = [word for profile in PROFILES[name] for word in ("--profile", profile)]
    command = [
        str(Path(sys.executable).parent / "brokerbench"),
        "run",
        str(plan),
        *chosen,
        "--quiet",
        "--out",
        str(out),
    ]
    done = subprocess.run(
        [*command, "--engine", "external"], env={**os.environ, **addresses}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return store.load(out)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(PROFILES))
def test_nothing_is_refuted(tmp_path: Path, addresses: Mapping[str, str], name: str) -> None:
    given = dict(addresses)
    if name == "kafka":
        with socket.socket() as nothing:
            nothing.bind(("127.0.0.1", 0))  # and does not listen
            dead = f"127.0.0.1:{nothing.getsockname()[1]}"
            variable = external.VARIABLES[name]
            result = run(tmp_path / "run", name, given | {variable: f"{dead},{given[variable]}"})
    else:
        result = run(tmp_path / "run", name, given)
    assert [cell.error for cell in result.cells if cell.error] == []
    assert len(result.cells) == 4 * len(PROFILES[name])
    rows = [(cell.id, row) for cell in result.cells for row in cell.verdicts]
    assert [(cell, row.property, row.reason) for cell, row in rows if row.verdict is Verdict.REFUTED] == []
    assert {row.property for _, row in rows if row.verdict is Verdict.CONFIRMED} >= {
        "delivery.no_loss",
        "delivery.no_duplicate",
        "replay.from_beginning",
        "replay.complete",
        "redelivery.after_release",
    }
    (engine,) = result.engines
    if name == "kafka":
        assert engine.settings["log.retention.check.interval.ms"] == "300000"
        assert engine.settings["group.share.min.record.lock.duration.ms"] == "15000"
        assert all("300" in row.declared.note for _, row in rows if row.property == "retention.overshoot")
    else:
        assert (engine.settings["appendonly"], engine.settings["maxmemory"]) == ("no", "0")
