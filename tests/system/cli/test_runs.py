"""Runs without an engine: their output and files, and damaged ones read again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokerbench.bench import seal, store
from brokerbench.bench.run import runner
from brokerbench.scenarios import results
from tests.system.cli.conftest import PLAN, Call


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("once")
    plan = where / "small.yaml"
    plan.write_text(PLAN, encoding="utf-8")
    program = str(Path(sys.executable).parent / "brokerbench")
    command = [program, "run", str(plan), "--out", str(where / "run"), "--seed", "7", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return where / "run"


@pytest.fixture
def finished(run_once: Path, tmp_path: Path) -> Path:
    """A run of its own for each test, to damage."""
    return shutil.copytree(run_once, tmp_path / "run")


def test_json_is_all_that_stands_on_standard_output(call: Call, plan: Path, tmp_path: Path) -> None:
    ended = call("run", plan, "--out", tmp_path / "run", "--json")
    content = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert content["directory"] == str(tmp_path / "run")
    assert [cell["status"] for cell in content["cells"]] == ["completed"]


def test_progress_is_plain_lines_on_standard_error(call: Call, plan: Path, tmp_path: Path) -> None:
    ended = call("run", plan, "--out", tmp_path / "run")
    assert "memory.replay: begins" in ended.err
    assert "\x1b" not in ended.err + ended.out
    assert "memory.replay" in ended.out
    assert str(tmp_path / "run" / "result.json") in ended.out


def test_the_result_is_complete_and_says_what_ran(finished: Path) -> None:
    result = results.read(finished / "result.json")
    assert (result.complete, result.seed, result.plan) == (True, 7, "small")
    assert (finished / "report.html").stat().st_size > 1000
    assert [path.name for path in (finished / "cells").iterdir()] == ["memory.replay"]


def test_a_run_is_judged_again_to_the_same_result(call: Call, finished: Path) -> None:
    before = json.loads((finished / "result.json").read_text())
    ended = call("analyse", finished, "--json")
    assert ended.code == 0
    assert json.loads((finished / "result.json").read_text()) == before
    assert call("analyse", finished / "result.json").code == 0


def test_a_cell_that_ended_unjudged_is_judged_later(call: Call, finished: Path) -> None:
    path = finished / "result.json"
    before = json.loads(path.read_text())
    (cell,) = before["cells"]
    unjudged = {**cell, "status": "failed", "error": "interrupted", "verdicts": [], "metrics": []}
    path.write_text(json.dumps({**before, "cells": [unjudged]}))
    assert call("analyse", finished).code == 0
    assert json.loads(path.read_text()) == before
    # Not where the experiment itself did not come to its end, nor where it still cannot be judged.
    (finished / "cells" / "memory.replay" / "declaration.json").write_text("{}")
    path.write_text(json.dumps({**before, "cells": [unjudged]}))
    assert call("analyse", finished).code == 1
    assert "cannot be judged again" in json.loads(path.read_text())["cells"][0]["unjudged"]
    (finished / "cells" / "memory.replay" / "history.json").unlink()
    path.write_text(json.dumps({**before, "cells": [unjudged]}))
    assert call("analyse", finished).code == 1
    assert json.loads(path.read_text())["cells"] == [unjudged]


@pytest.mark.parametrize("command", [["report"], ["analyse"], ["decide", "--run"]])
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"schema_version": 2', '"schema_version": 99'),
        lambda text: text.replace('"seed"', '"sead"', 1),
        lambda text: "[]",
    ],
    ids=["half", "empty", "future", "misspelt", "list"],
)
def test_a_damaged_result_is_named(
    call: Call, finished: Path, tmp_path: Path, command: list[str], damage: object
) -> None:
    path = finished / "result.json"
    assert callable(damage)
    path.write_text(damage(path.read_text()))
    docs = ["--docs", str(tmp_path / "docs")] if command[0] == "decide" else []
    ended = call(*command, finished, *docs)
    assert (ended.code, str(path) in ended.err, len(ended.err.splitlines())) == (2, True, 1), ended.err


@pytest.mark.parametrize("damage", ["half", "empty", "gone"])
@pytest.mark.parametrize("kind", ["sends", "send_outcomes", "deliveries", "acknowledgements", "marks", "declaration"])
def test_a_damaged_history_is_named_and_the_result_stays(call: Call, finished: Path, kind: str, damage: str) -> None:
    before = (finished / "result.json").read_text()
    cell = finished / "cells" / "memory.replay"
    file = max(cell.rglob(f"{kind}.*"), key=lambda path: path.stat().st_size)
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(whole[: len(whole) // 2] if damage == "half" else b"")
    ended = call("analyse", finished)
    assert ended.code == 2
    assert "the cell memory.replay cannot be judged again" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert (finished / "result.json").read_text() == before


def test_an_edited_declaration_is_refused(call: Call, finished: Path) -> None:
    path = finished / "cells" / "memory.replay" / "declaration.json"
    path.write_text(path.read_text().replace('"guaranteed"', '"possible"'))
    ended = call("analyse", finished)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert f"{path} is not what the run wrote" in ended.err


def test_a_refuted_verdict_ends_with_1_unless_the_option_says_otherwise(call: Call, finished: Path) -> None:
    """The declaration that was sealed with the run promises what the memory broker does not do."""
    cell = finished / "cells" / "memory.replay"
    path = cell / "declaration.json"
    content = json.loads(path.read_text())
    content["properties"]["replay.from_beginning"]["support"] = "impossible"
    path.write_text(json.dumps(content))
    seal.write(cell)
    ended = call("analyse", finished)
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert "verdicts are refuted: memory.replay replay.from_beginning" in ended.err
    assert call("analyse", finished, "--fail-on", "failed").code == 0
    assert call("analyse", finished, "--fail-on", "loudly").code == 2


def test_no_record_is_written_from_a_forged_result(call: Call, finished: Path, tmp_path: Path) -> None:
    path = finished / "result.json"
    content = json.loads(path.read_text())
    row = next(
        row for row in content["cells"][0]["verdicts"] if row["verdict"] == "confirmed" and row["kind"] == "always"
    )
    row["measured"]["violations"] = 3
    path.write_text(json.dumps(content))
    ended = call("decide", "--run", finished, "--docs", tmp_path / "docs")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert f"contradicts itself: memory.replay: {row['property']} is said to be confirmed" in ended.err
    assert list((tmp_path / "docs").iterdir()) == []


def test_a_run_sealed_by_size_is_judged_and_says_so(call: Call, finished: Path) -> None:
    before = (finished / "result.json").read_text()
    cell = finished / "cells" / "memory.replay"
    sizes = {path.name: path.stat().st_size for path in (cell / "history").iterdir()}
    (cell / "history.json").write_text(json.dumps(sizes))
    ended = call("analyse", finished)
    assert (ended.code, len(ended.err.splitlines())) == (0, 1)
    assert "1 of 1 histories are sealed by size only" in ended.err
    assert (finished / "result.json").read_text() == before


def test_an_error_of_our_own_is_one_line_and_kept(
    call: Call, plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise LookupError("a mistake")

    prove_ready = runner._prove_ready
    monkeypatch.setattr(runner, "_prove_ready", broken)
    ended = call("run", plan, "--out", tmp_path / "run")
    log = tmp_path / "run" / "logs" / "brokerbench.log"
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith("brokerbench: unexpected LookupError: a mistake; nothing was measured")
    assert str(log) in ended.err
    assert "Traceback" in log.read_text()
    monkeypatch.setattr(runner, "_prove_ready", prove_ready)
    assert call("run", plan, "--out", tmp_path / "run").code == 0, "logs alone do not block the next try"


def test_a_report_that_cannot_be_written(call: Call, finished: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "x.html", tmp_path):
        ended = call("report", finished, "--html", path)
        assert (ended.code, f"--html: {path} cannot be written" in ended.err) == (2, True), ended.err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KiB. Needs the right to mount."""
    where = tmp_path / "small"
    where.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", where], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield where
    subprocess.run(["umount", "--lazy", where], check=True)


def test_no_space_is_one_message_and_what_was_measured_stays(call: Call, tmp_path: Path, small_disk: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN + "  - scenario: replay\n    parameters: {messages: 50000}\n")
    out = small_disk / "run"
    ended = call("run", plan, "--out", out)
    assert ended.code in (1, 2)
    assert "no space left" in ended.err
    if (out / store.RESULT).exists():
        assert results.read(out / store.RESULT).cells


def test_no_space_from_the_start(call: Call, plan: Path, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * 280 * 1024)
    ended = call("run", plan, "--out", small_disk / "run")
    assert (ended.code in (1, 2), "no space left" in ended.err.lower()) == (True, True), ended.err
