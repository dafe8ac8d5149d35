"""The result file: its versions, and what a reader of an older one learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brokerbench.scenarios import results
from tests.reports import sample

CLOSED_LOOP = "closed loop: not a latency under a given rate; clocks agree"
IN_PASSING = "until it was received; not a benchmark figure: cells run side by side"


def version_1() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(results.dump(sample.result()))
    content["schema_version"] = 1
    del content["environment"]["clients"]
    for cell in content["cells"]:
        for row in cell["verdicts"]:
            del row["measured"]["counts"], row["measured"]["open"]
        for metric in cell["metrics"]:
            del metric["comparable"], metric["doubt"]
    return content


def text_of(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize(("note", "comparable"), [(CLOSED_LOOP, False), (IN_PASSING, False), ("of all", True)])
def test_version_1_says_in_a_note_what_may_be_compared(tmp_path: Path, note: str, comparable: bool) -> None:
    content = version_1()
    metric = next(metric for cell in content["cells"] for metric in cell["metrics"])
    metric["note"] = note
    path = tmp_path / "result.json"
    path.write_text(text_of(content))
    read = results.read(path)
    found = next(metric for cell in read.cells for metric in cell.metrics)
    assert (read.schema_version, found.note, found.comparable) == (1, note, comparable)


def test_a_result_is_written_in_the_version_that_it_was_read_in(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    for text in (text_of(version_1()), results.dump(sample.result())):
        path.write_text(text)
        assert results.dump(results.read(path)) == text
    assert results.read(path) == sample.result()


@pytest.mark.parametrize("version", [0, results.SCHEMA_VERSION + 1])
def test_other_versions_are_refused(tmp_path: Path, version: int) -> None:
    path = tmp_path / "result.json"
    path.write_text(text_of({**version_1(), "schema_version": version}))
    with pytest.raises(results.ResultError, match="schema_version"):
        results.read(path)
