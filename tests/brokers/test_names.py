"""Names of plug-ins and foreign results become parts of paths: hostile ones are refused in one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokerbench.bench import store
from brokerbench.brokers import names
from brokerbench.reports import record
from brokerbench.scenarios import results
from tests.reports import sample

HOSTILE = [
    "",
    ".",
    "..",
    "../../../x",
    "a/b",
    "a\\b",
    "/etc",
    ".hidden",
    "-rf",
    "a b",
    "a\n",
    "a\x00",
    "\x1b[2J",
    "a\u202eb",
    "é",
    "a" * 121,
    "C:",
    "~",
    "a*",
]
FIT = ["kafka", "kafka.throughput.2", "20260102-030405-abcd", "liar_1+2=3@x", "A", "a..b", "a" * 120]


@pytest.mark.parametrize("name", FIT)
def test_a_fit_name_is_returned(name: str) -> None:
    assert names.check(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_builds_no_path(name: str, tmp_path: Path) -> None:
    for build in (names.check, lambda it: store.cell_directory(tmp_path, it), lambda it: record.path_in(tmp_path, it)):
        with pytest.raises(ValueError, match="is no name: letters, digits"):
            build(name)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("field", ["run_id", "id", "profile", "scenario", "engine", "history", "name"])
def test_a_result_with_a_hostile_name_is_refused(name: str, field: str, tmp_path: Path) -> None:
    result = sample.result()
    if field == "history" and name in ("a/b",):
        return  # a path may have parts
    changed = {field: name}
    if field == "run_id":
        forged = result.model_copy(update=changed)
    elif field == "name":
        forged = result.model_copy(update={"engines": [result.engines[0].model_copy(update=changed)]})
    else:
        forged = result.model_copy(update={"cells": [result.cells[0].model_copy(update=changed)]})
    path = tmp_path / "result.json"
    path.write_text(results.dump(forged), encoding="utf-8")
    with pytest.raises(results.ResultError, match=rf"at (\w+\.0\.)?{field}: .* is no name: letters"):
        results.read(path)


def test_a_record_that_names_a_run_elsewhere_is_not_followed(tmp_path: Path) -> None:
    record.write_record(sample.result(), tmp_path / "docs", ())
    page = tmp_path / "docs" / record.NAME
    page.write_text(page.read_text().replace(f"`{sample.result().run_id}`", "`../../elsewhere`"))
    (problem,) = record.check_record(tmp_path / "docs", ())
    assert "'../../elsewhere' is no name" in problem
