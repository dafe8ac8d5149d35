"""A cell per broker, by the command that people use, with every engine in Docker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from brokerbench.bench.engines import docker as engines

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

PROFILES = ("kafka", "redis-streams", "sqs-standard")


def test_a_cell_per_broker_runs_on_docker_engines(daemon: docker.DockerClient, tmp_path: Path) -> None:
    out = tmp_path / "run"
    chosen = [word for profile in PROFILES for word in ("--profile", profile)]

    done = subprocess.run(
        [
            Path(sys.executable).parent / "brokerbench",
            "run",
            "--engine",
            "docker",
            "--scenario",
            "replay",
            "--out",
            out,
            *chosen,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((out / "result.json").read_text())
    assert {cell["profile"]: cell["status"] for cell in result["cells"]} == dict.fromkeys(PROFILES, "completed")
    assert {engine["name"]: engine["kind"] for engine in result["engines"]} == dict.fromkeys(
        ("kafka", "redis", "sqs"), "docker"
    )
    assert all(cell["verdicts"] for cell in result["cells"])
    left = daemon.containers.list(
        all=True, filters={"label": f"{engines.RUN_LABEL}={result['run_id']}"}, ignore_removed=True
    )
    assert left == []
