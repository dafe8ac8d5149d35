"""Other distributions: their plug-ins are listed with their origin, and broken ones are named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ADAPTER = """
from brokerbench.brokers.registry import Adapter
ADAPTER = Adapter("{name}", "brokerbench.brokers.memory.broker:Memory", {broker!r}, "pip install {name}")
"""
ENGINE = """
from brokerbench.bench.engines.base import Engine, EngineSpec
from brokerbench.scenarios.verdicts import Grade
SPEC = EngineSpec("{name}", "Product", "1", Grade.SOFTWARE, "package", "", {{}})
def recipe(spec, directory, log, guard):
    raise AssertionError("never started here")
ENGINE = Engine(SPEC, recipe)
"""
Install = Callable[..., None]
Brokerbench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """``install("name", {"group": "value"}, text)``: a distribution with one module, as an installer leaves it."""

    def installed(name: str, announced: dict[str, str], text: str) -> None:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(text, encoding="utf-8")
        information = tmp_path / f"{module}-2.5.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.5\n", encoding="utf-8")
        groups = "".join(f"[{group}]\n{name} = {module}:{value}\n" for group, value in announced.items())
        (information / "entry_points.txt").write_text(groups, encoding="utf-8")

    return installed


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text("name: plugins\ncells:\n  - scenario: replay\n", encoding="utf-8")
    return path


@pytest.fixture
def brokerbench(tmp_path: Path) -> Brokerbench:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("brokerbench")), *words],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_plug_ins_stand_in_the_list_with_their_origin(install: Install, brokerbench: Brokerbench) -> None:
    both = {"brokerbench.brokers": "ADAPTER", "brokerbench.engines": "ENGINE"}
    install("other-broker", both, ADAPTER.format(name="other", broker="other") + ENGINE.format(name="other"))
    done = brokerbench("list", "--json")
    content = json.loads(done.stdout)
    profiles = {row["name"]: row for row in content["profiles"]}
    assert profiles["other"]["origin"] == "other-broker 2.5"
    assert profiles["other"]["engine"] == "other"
    assert profiles["kafka"]["origin"] == "built in"
    origins = {row["name"]: row["origin"] for row in content["engines"]}
    assert origins["other"] == "other-broker 2.5"
    assert {origins[name] for name in ("kafka", "redis", "sqs", "elasticmq")} == {"built in"}
    assert not [label for label in content["broken_plugins"] if "other" in label]


def test_a_broken_plug_in_is_named_and_the_rest_goes_on(install: Install, brokerbench: Brokerbench) -> None:
    both = {"brokerbench.brokers": "ADAPTER", "brokerbench.engines": "ENGINE"}
    install("breaks", both, "import no_such_library_anywhere\n")
    install("takes-kafka", both, ADAPTER.format(name="kafka", broker="kafka") + ENGINE.format(name="kafka"))
    install("sound", {"brokerbench.brokers": "ADAPTER"}, ADAPTER.format(name="sound", broker=None))
    done = brokerbench("list")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    for group in ("brokerbench.brokers", "brokerbench.engines"):
        assert f"Broken plug-in {group}: breaks (breaks 2.5): breaks:" in said
        assert f"Broken plug-in {group}: takes-kafka (takes-kafka 2.5): takes_kafka:" in said
    assert "No module named 'no_such_library_anywhere'" in said
    assert "'kafka' is taken" in said
    assert "sound 2.5" in said
    assert "redis-streams" in said


def test_a_profile_without_its_engine_says_which_plug_in_is_broken(
    install: Install, brokerbench: Brokerbench, plan: Path, tmp_path: Path
) -> None:
    install("lonely", {"brokerbench.brokers": "ADAPTER"}, ADAPTER.format(name="lonely", broker="nowhere"))
    install("breaks", {"brokerbench.engines": "ENGINE"}, "import no_such_library_anywhere\n")
    done = brokerbench("run", str(plan), "--profile", "lonely", "--engine", "native", "--out", str(tmp_path / "run"))
    assert done.returncode == 3, done.stderr
    assert "no engine 'nowhere' is installed" in done.stderr
    assert "breaks (breaks 2.5) is broken" in done.stderr


@pytest.mark.parametrize("choice", ["docker", "external"])
def test_an_engine_from_elsewhere_runs_natively_only(
    choice: str, install: Install, brokerbench: Brokerbench, plan: Path, tmp_path: Path
) -> None:
    both = {"brokerbench.brokers": "ADAPTER", "brokerbench.engines": "ENGINE"}
    install("other-broker", both, ADAPTER.format(name="other", broker="other") + ENGINE.format(name="other"))
    done = brokerbench("run", str(plan), "--profile", "other", "--engine", choice, "--out", str(tmp_path / "run"))
    assert done.returncode == 2, done.stderr
    assert "runs natively only" in done.stderr
