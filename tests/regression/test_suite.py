"""The regression suite, small, on what needs no engine; and that it believes no round with a lost message."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.regression import work
from bench.regression.work import WORKS, Load, NotVerified
from brokers.faulty import Faulty, parse_faults
from brokers.memory import Memory, Space
from brokers.types import ChannelSpec
from tests.cli.conftest import Call, call

__all__ = ["call"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def timings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "base.json"
    options = ["--profile", "memory", "--profile", "noop", "--messages", "100", "--rounds", "3"]
    command = [sys.executable, "-m", "pytest", "bench/regression", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run([*command, f"--benchmark-json={path}"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    return path


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
    monkeypatch.setattr(work, "_WAIT_S", 0.05)
    broker = Faulty(Memory(Space()), parse_faults(faults))
    broker.create_channel(ChannelSpec("c"))
    doing = WORKS[name]
    with pytest.raises(NotVerified, match=reason):
        found = work.begin(broker, "c", Load(200, 128, 50), tmp_path / "history")
        doing.prepare(found)
        doing.do(found)
        doing.finish(found)
        found.verify()
