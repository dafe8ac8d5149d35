"""The regression suite, small, on profiles that need no engine; it refuses a round with a lost message."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from brokerbench.bench.regression import work
from brokerbench.bench.regression.work import WORKS, NotVerified, RoundLoad
from brokerbench.brokers.faulty import Faulty, parse_faults
from brokerbench.brokers.memory.broker import Memory, Space
from brokerbench.brokers.types import ChannelSpec
from tests.system.cli.conftest import Call, call

__all__ = ["call"]
ROOT = Path(__file__).parents[3]


_STEPS = yaml.safe_load((ROOT / "examples" / "github-actions" / "compare.yml").read_text())["jobs"]["compare"]["steps"]


def run_step(name: str, where: Path) -> subprocess.CompletedProcess[str]:
    """A step of the example workflow, as a CI runner executes it: one turn, small, without an engine."""
    (script,) = (step["run"] for step in _STEPS if step.get("name") == name)
    profiles = "--profile memory --profile noop --messages 100 -p no:cacheprovider"
    # Not a worker process of this suite: benchmarks refuse to run in those.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment = {**own, "PROFILES": profiles, "TURNS": "1"}
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=where, env=environment, capture_output=True, text=True, timeout=200
    )


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkouts, both of this project, and the measurements of one turn each."""
    where = tmp_path_factory.mktemp("runner")
    for side in ("base", "head"):
        (where / side / ".venv" / "bin").mkdir(parents=True)
        for name in ("bench", "pyproject.toml"):
            (where / side / name).symlink_to(ROOT / name)
        for name in ("python", "brokerbench"):
            program = where / side / ".venv" / "bin" / name
            program.write_text(f'#!/bin/sh\nexec "{Path(sys.executable).parent / name}" "$@"\n')
            program.chmod(0o755)
    done = run_step("Speeds, in turns", where)
    assert done.returncode == 0, done.stdout + done.stderr
    return where


@pytest.fixture
def timings(runner: Path) -> Path:
    return runner / "speeds" / "base" / "1.json"


def test_the_example_workflow_compares_what_it_measured(runner: Path) -> None:
    """Speeds may differ by chance: they were measured. Verdicts are those of one run."""
    evidence = next((ROOT / "docs" / "evidence").glob("*"))
    for side in ("base", "head"):
        shutil.copytree(evidence, runner / "verdicts" / side)
    done = run_step("Compare", runner)
    assert done.returncode in (0, 1), done.stderr
    page = (runner / "compare.md").read_text()
    assert page.count("### brokerbench: ") == 2
    assert "### brokerbench: no regression" in page
    assert "test_speed[memory-publish-128]" in page
    assert (runner / "verdicts.xml").exists()
    assert (runner / "speeds.xml").exists()


def test_the_example_workflow_says_why_it_could_not_compare(runner: Path, tmp_path: Path) -> None:
    (tmp_path / "head").symlink_to(runner / "head")
    done = run_step("Compare", tmp_path)
    assert done.returncode == 2
    assert "speeds/base: cannot be read" in (tmp_path / "compare.md").read_text()


def test_every_work_and_size_is_timed_with_its_conditions(timings: Path) -> None:
    found = json.loads(timings.read_text())["benchmarks"]
    names = {
        (entry["params"]["name"], entry["params"]["size"], entry["params"]["brokerbench_profile"]) for entry in found
    }
    every = {(name, size, profile) for name in WORKS for size in (128, 1024, 65536) for profile in ("memory", "noop")}
    assert names == every - {("replay", size, "noop") for size in (128, 1024, 65536)}
    assert all(len(entry["stats"]["data"]) == 3 for entry in found)
    assert {entry["extra_info"]["conditions"]["grade"] for entry in found} == {"model"}


def test_its_file_is_compared(call: Call, timings: Path, tmp_path: Path) -> None:
    assert call("compare", timings, timings).code == 0
    content = json.loads(timings.read_text())
    for entry in content["benchmarks"]:
        if "publish" in entry["name"]:
            entry["stats"]["data"] = [value * 1000 for value in entry["stats"]["data"]]
    head = tmp_path / "head.json"
    head.write_text(json.dumps(content))
    ended = call("compare", timings, head, "--json")
    worse = [entry["cell"] for entry in json.loads(ended.out)["speeds"] if entry["change"] == "worse"]
    assert ended.code == 1
    assert worse
    assert all("publish" in cell for cell in worse)
    content["benchmarks"][0]["extra_info"]["conditions"]["engine version"] = "another"
    head.write_text(json.dumps(content))
    assert call("compare", timings, head).code == 2


def test_a_run_and_benchmarks_are_no_pair(call: Call, timings: Path) -> None:
    run = next((ROOT / "docs" / "evidence").glob("*"))
    ended = call("compare", run, timings)
    assert (ended.code, "one is a run result" in ended.err) == (2, True)


@pytest.mark.parametrize("name", WORKS)
@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ("lose:0.05", "did not come"),
        ("duplicate:0.05", "came more than once"),
        ("corrupt:0.05", "altered"),
    ],
)
def test_a_round_that_is_not_whole_is_no_round(
    name: str, faults: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "_PATIENCE_S", 0.3)
    broker = Faulty(Memory(Space()), parse_faults(faults))
    broker.create_channel(ChannelSpec("c"))
    doing = WORKS[name]
    with pytest.raises(NotVerified, match=reason):
        found = work.begin(broker, "c", RoundLoad(200, 128, 50), tmp_path / "history")
        doing.prepare(found)
        doing.do(found)
        doing.finish(found)
        found.verify()
