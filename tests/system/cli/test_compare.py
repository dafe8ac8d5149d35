"""``brokerbench compare`` as a CI job calls it: exit codes and written files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from brokerbench.scenarios import results
from brokerbench.scenarios.results import RunResult
from tests.reports import sample
from tests.system.cli.conftest import Call


def write_run(where: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> Path:
    content = sample.result().model_dump(mode="json")
    change(content)
    where.mkdir(parents=True)
    (where / "result.json").write_text(results.dump(RunResult.model_validate(content)))
    return where


def slower(factor: float) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for cell in content["cells"]:
            for metric in cell["metrics"]:
                if metric["name"] == "publish_rate":
                    metric["samples"] = [100 * factor, 101 * factor, 99 * factor]

    return change


def refute(content: dict[str, Any]) -> None:
    row = next(row for row in content["cells"][0]["verdicts"] if row["verdict"] == "confirmed")
    row.update(verdict="refuted")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_run(tmp_path / "base", slower(1))


def test_the_same_run_twice_is_no_regression(call: Call, base: Path) -> None:
    ended = call("compare", base, base / "result.json")
    assert (ended.code, ended.err) == (0, "")
    assert "no regression" in ended.out


def test_a_regression_is_told_in_every_form(call: Call, base: Path, tmp_path: Path) -> None:
    head = write_run(tmp_path / "head", slower(0.3))
    page, xml = tmp_path / "compare.md", tmp_path / "compare.xml"
    ended = call("compare", base, head, "--markdown", page, "--junit", xml)
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert "worse" in ended.out
    assert "publish_rate" in ended.err
    assert "### brokerbench: a regression" in page.read_text()
    assert "| worse |" in page.read_text()
    suite = ElementTree.parse(xml).getroot()[0]
    failures = [case for case in suite if case.find("failure") is not None]
    assert len(failures) == int(suite.attrib["failures"]) > 0
    assert all("publish_rate" in case.attrib["name"] for case in failures)
    assert len(suite) == int(suite.attrib["tests"])


def test_json_is_all_that_stands_on_standard_output(call: Call, base: Path, tmp_path: Path) -> None:
    ended = call("compare", base, write_run(tmp_path / "head", refute), "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["counts"]["worse"]) == (1, found["regressions"])
    assert found["regressions"] >= 1


def test_a_refuted_property_alone_is_a_regression(call: Call, base: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        slower(1)(content)
        refute(content)

    ended = call("compare", base, write_run(tmp_path / "head", change))
    assert ended.code == 1
    assert "worse than base: 1, first" in ended.err


def test_a_larger_minimum_effect_forgives(call: Call, base: Path, tmp_path: Path) -> None:
    head = write_run(tmp_path / "head", slower(0.8))
    assert call("compare", base, head).code == 1
    for effect in ("50 %", "50%", "0.5"):
        assert call("compare", base, head, "--minimum-effect", effect).code == 0


def test_unlike_runs_are_refused_with_the_reason(call: Call, base: Path, tmp_path: Path) -> None:
    head = write_run(tmp_path / "head", lambda content: content["environment"].update(cpu_count=64))
    ended = call("compare", base, head)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "host: cores" in ended.err


def test_noise_that_was_measured_forgives(call: Call, base: Path, tmp_path: Path) -> None:
    def rough(at: int) -> Callable[[dict[str, Any]], None]:
        def change(content: dict[str, Any]) -> None:
            slower(1 + at % 2)(content)
            content["created"] = f"2026-01-01T00:00:{at:02d}+00:00"

        return change

    for at in range(6):
        write_run(tmp_path / "noise" / str(at), rough(at))
    head = write_run(tmp_path / "head", slower(0.8))
    assert call("compare", base, head, "--noise", tmp_path / "noise").code == 0
    few = call("compare", base, head, "--noise", base)
    assert (few.code, "repeats that measure noise" in few.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["nowhere"], "nowhere"),
        (["."], "neither a run nor a directory of"),
        (["broken.json"], "not a file of pytest-benchmark"),
        (["base", "--minimum-effect", "much"], "--minimum-effect 'much'"),
        (["base", "--minimum-effect", "5"], "below 100 %"),
        (["base", "--markdown", "none/x.md"], "--markdown: none/x.md cannot be written"),
        (["base", "--junit", "."], "--junit: . cannot be written"),
    ],
)
def test_bad_input_is_one_line_that_names_it(
    call: Call, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], reason: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "base").symlink_to(base)
    monkeypatch.chdir(empty)
    if words == ["broken.json"]:
        (empty / "broken.json").write_text("{")
    if words == ["."]:
        (empty / "base").unlink()
    ended = call("compare", base, *words)
    assert (ended.code, reason in ended.err, len(ended.err.splitlines())) == (2, True, 1), ended.err
