"""From a plan to a decision record on real engines, through the command line alone, and back again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios import experiments, results
from brokerbench.scenarios.history import saved_history
from brokerbench.scenarios.verdicts import Grade

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PLAN = Path(__file__).with_name("small.yaml")
PROFILES = ("sqs-standard", "sqs-fifo", "redis-streams", "kafka", "kafka-share")


def brokerbench(*words: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("brokerbench")), *map(str, words)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "small"
    brokerbench("run", PLAN, "--engine", "native", "--seed", "7", "--out", directory)
    return directory


@pytest.fixture(scope="module")
def docs(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("docs")
    brokerbench("decide", "--run", run, "--docs", directory)
    return directory


@pytest.mark.timeout(900)
def test_no_cell_and_no_property_is_missing(run: Path) -> None:
    result = results.read(run / "result.json")
    assert result.complete
    assert {(cell.profile, cell.scenario) for cell in result.cells} == {
        (profile, scenario) for profile in PROFILES for scenario in experiments.NAMES if scenario != "latency"
    }
    for cell in result.cells:
        assert cell.status == "completed", (cell.id, cell.error)
        scenario = experiments.scenario(cell.scenario)
        judged = [row.property for row in cell.verdicts]
        assert judged[: len(scenario.properties)] == list(scenario.properties)
        assert set(judged) <= {*scenario.properties, *scenario.also}
        assert cell.grade is (Grade.EMULATOR if cell.profile.startswith("sqs") else Grade.SOFTWARE)
        assert list((run / cell.history).glob("sends.*.parquet")), "what was judged is on disk"
    assert {engine.kind for engine in result.engines} == {"native"}


def test_the_result_follows_its_published_schema(run: Path) -> None:
    schema = json.loads((Path(__file__).parents[3] / "docs" / "result.schema.json").read_text())
    jsonschema.validate(json.loads((run / "result.json").read_text()), schema)


def test_every_speed_has_its_spread_client_cpu_and_ceiling(run: Path) -> None:
    for cell in results.read(run / "result.json").cells:
        if cell.scenario == "throughput":
            names = {metric.name for metric in cell.metrics}
            assert {"publish_rate", "consume_rate", "noop_ceiling"} <= names, cell.id
            assert any("cpu" in name for name in names), cell.id
            assert all(metric.samples and metric.unit for metric in cell.metrics), cell.id


def test_each_of_two_groups_got_everything(run: Path) -> None:
    cells = [cell for cell in results.read(run / "result.json").cells if cell.parameters.get("groups") == 2]
    assert [cell.profile for cell in cells] == ["redis-streams", "kafka-share"]
    for cell in cells:
        settled = sum(
            np.count_nonzero(part["outcome"] == Outcome.ACKNOWLEDGED)
            for part in saved_history.stream(run / cell.history, "send_outcomes", ["outcome"])
        )
        (lost,) = (row for row in cell.verdicts if row.property == "delivery.no_loss")
        assert (lost.measured.observations, lost.measured.violations) == (2 * settled, 0), cell.id


def test_analysing_again_gives_the_same(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    brokerbench("analyse", copy)
    assert (copy / "result.json").read_bytes() == (run / "result.json").read_bytes()


def test_the_record_follows_from_its_evidence_until_a_figure_is_changed(docs: Path, tmp_path: Path) -> None:
    brokerbench("decide", "--check", "--docs", docs)
    copy = tmp_path / "docs"
    shutil.copytree(docs, copy)
    evidence = next((copy / "evidence").glob("*/result.json"))
    content = json.loads(evidence.read_text())
    cell = next(cell for cell in content["cells"] if cell["id"] == "kafka.throughput")
    metric = next(metric for metric in cell["metrics"] if metric["name"] == "publish_rate")
    metric["samples"] = [sample * 2 for sample in metric["samples"]]
    evidence.write_text(results.dump(results.RunResult.model_validate(content)))
    done = brokerbench("decide", "--check", "--docs", copy, expect=1)
    assert "decision-record.md" in done.stderr


def test_the_record_names_every_profile_and_grade(docs: Path) -> None:
    text = (docs / "decision-record.md").read_text()
    for word in (*PROFILES, "emulator", "software", "Replay", "Ordering", "Retention"):
        assert word in text, word
