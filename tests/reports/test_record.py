"""The record follows from its evidence, byte for byte, and says where it does not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from brokerbench.brokers import registry
from brokerbench.reports import facts, record
from brokerbench.reports.charts import panels, run_charts
from brokerbench.reports.record import CommittedEvidence, path_in
from brokerbench.scenarios import results
from brokerbench.scenarios.results import RunResult, VerdictRow
from tests.reports import change, sample

OPTIONS = registry.options()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("written")
    record.write_record(sample.result(), directory, OPTIONS)
    return directory


@pytest.fixture
def docs(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "docs")
    return tmp_path / "docs"


def test_it_follows_from_its_evidence(docs: Path) -> None:
    assert record.check_record(docs, OPTIONS) == []
    assert {path.relative_to(docs).as_posix() for path in docs.rglob("*") if path.is_file()} == {
        "decision-record.md",
        "charts/verdicts.svg",
        "charts/speeds.svg",
        "charts/replay.svg",
        "charts/overshoot.svg",
        "evidence/20260102-030405-abcd/result.json",
    }


def test_the_same_result_gives_the_same_bytes(docs: Path) -> None:
    before = {path: path.read_bytes() for path in docs.rglob("*") if path.is_file()}
    record.write_record(results.read(path_in(docs, sample.result().run_id)), docs, OPTIONS)
    assert {path: path.read_bytes() for path in docs.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("figure", "other"),
    [
        ('"observations": 6000', '"observations": 6001'),
        ("182000.0", "182001.0"),
        ('"seed": 42', '"seed": 43'),
        ('"missed_rate_upper_95": 0.0004', '"missed_rate_upper_95": 0.0005'),
    ],
)
def test_editing_one_figure_of_the_evidence_changes_the_record(docs: Path, figure: str, other: str) -> None:
    evidence = path_in(docs, sample.result().run_id)
    text = evidence.read_text(encoding="utf-8")
    assert figure in text
    evidence.write_text(text.replace(figure, other, 1), encoding="utf-8")
    problems = record.check_record(docs, OPTIONS)
    assert any("decision-record.md, line" in problem for problem in problems), problems


def test_a_result_that_was_forged_before_the_record_was_written_is_refused(tmp_path: Path) -> None:
    def forge(row: VerdictRow) -> VerdictRow:
        return row.model_copy(update={"measured": row.measured.model_copy(update={"violations": 5})})

    record.write_record(change.rows(sample.result(), "kafka", "delivery.no_loss", forge), tmp_path, OPTIONS)
    problems = record.check_record(tmp_path, OPTIONS)
    assert problems
    assert all(
        "contradicts itself: kafka." in problem and ": delivery.no_loss is said" in problem for problem in problems
    )


def test_an_edited_line_is_named(docs: Path) -> None:
    path = docs / record.NAME
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if line.startswith("| 1 |"))
    lines[at] = lines[at].replace("| 1 |", "| 2 |")
    path.write_text("".join(lines), encoding="utf-8")
    (problem,) = record.check_record(docs, OPTIONS)
    assert f"line {at + 1}: the record says '| 2 |" in problem
    assert "follows '| 1 |" in problem


def test_a_record_cut_short_is_noticed(docs: Path) -> None:
    path = docs / record.NAME
    path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:60]) + "\n", encoding="utf-8")
    (problem,) = record.check_record(docs, OPTIONS)
    assert "line 61: the record says nothing" in problem


def test_what_is_missing_or_invalid_is_said(docs: Path) -> None:
    evidence = path_in(docs, sample.result().run_id)
    text = evidence.read_text(encoding="utf-8")
    evidence.write_text(text.replace('"seed"', '"sead"'), encoding="utf-8")
    assert "cannot be used" in record.check_record(docs, OPTIONS)[0]
    evidence.unlink()
    assert "no such file" in record.check_record(docs, OPTIONS)[0]
    (docs / record.NAME).write_text("# by hand\n", encoding="utf-8")
    assert "does not name the run" in record.check_record(docs, OPTIONS)[0]
    (docs / record.NAME).unlink()
    assert "is missing; `brokerbench decide` writes it" in record.check_record(docs, OPTIONS)[0]


def test_evidence_of_another_run_is_noticed(docs: Path) -> None:
    path_in(docs, sample.result().run_id).write_text(results.dump(sample.result("other")), encoding="utf-8")
    assert "is of run 'other'" in record.check_record(docs, OPTIONS)[0]


def test_pictures_are_checked_by_data_and_by_drawing(docs: Path) -> None:
    picture = docs / "charts" / "verdicts.svg"
    text = picture.read_text(encoding="utf-8")
    picture.write_text(text.replace("kafka", "kafkb"), encoding="utf-8")
    assert record.check_record(docs, OPTIONS) == [f"{picture} was edited"]
    faster = change.metrics(
        sample.result(), "kafka", lambda m: m.model_copy(update={"samples": [2 * value for value in m.samples]})
    )
    speeds = docs / "charts" / "speeds.svg"
    speeds.write_text(panels.draw(run_charts.of_run(faster)["speeds"]), encoding="utf-8")
    picture.unlink()
    assert record.check_record(docs, OPTIONS) == [
        f"{picture} is missing",
        f"{speeds} does not show the data of its evidence",
    ]


def test_a_picture_without_data_does_not_stay(docs: Path) -> None:
    slow = sample.with_cells("b", [cell for cell in sample.result().cells if cell.scenario == "retention"])
    record.write_record(slow, docs, OPTIONS)
    assert not (docs / "charts" / "speeds.svg").exists()
    assert record.check_record(docs, OPTIONS) == []
    (docs / "charts" / "speeds.svg").write_text("<svg/>", encoding="utf-8")
    assert "is of another run" in record.check_record(docs, OPTIONS)[0]


def test_every_link_to_the_evidence_lands_on_what_it_names(docs: Path) -> None:
    lines = path_in(docs, sample.result().run_id).read_text(encoding="utf-8").splitlines()
    text = (docs / record.NAME).read_text(encoding="utf-8")
    links = re.findall(r"\[([a-z_.-]+)\]\(evidence/[^)#]+#L(\d+)\)", text)
    assert len(links) > 30
    for name, number in links:
        line = lines[int(number) - 1]
        assert '"property": ' in line or '"id": ' in line, (name, line)
        if name in facts.PROPERTY_NAMES:
            assert f'"{name}"' in line


def test_all_five_profiles_stand_in_every_table_measured_or_not() -> None:
    text = record.render(sample.with_cells("r", [sample.cell("kafka", "replay")]), OPTIONS)
    heads = [line for line in text.splitlines() if line.startswith("| |")]
    assert len(heads) == 5
    for head in heads:
        assert all(f" {profile} |" in head for profile in OPTIONS)
    assert "Not measured in this run, and so not judged: sqs-standard, sqs-fifo, redis-streams and kafka-share" in text


def test_tables_have_as_many_columns_as_their_head() -> None:
    columns = 0
    for line in record.render(_failed(), OPTIONS).splitlines():
        if not line.startswith("|"):
            columns = 0
            continue
        here = len(re.findall(r"(?<!\\)\|", line))
        columns = columns or here
        assert here == columns, line


def test_a_failed_cell_is_shown_and_cannot_break_the_page() -> None:
    text = record.render(_failed(), OPTIONS)
    assert "**Failed cells.**" in text
    assert "the engine is gone \\| &lt;last> line of its log" in text
    assert "FAILED **cell failed** [kafka.replay](evidence/" in text


def test_an_incomplete_run_says_so() -> None:
    result = sample.result().model_copy(update={"complete": False})
    assert "**The run was cut short" in record.render(result, OPTIONS)


def test_a_run_without_options_has_a_record_too() -> None:
    assert "No profile that could be chosen was measured." in record.render(sample.with_cells("r", []), OPTIONS)


def test_lines_of_the_evidence_are_found_whatever_the_cells_hold() -> None:
    evidence = CommittedEvidence.of(_failed())
    assert evidence.link("kafka.replay") != evidence.path
    assert evidence.link("no.cell") == evidence.path


def _failed() -> RunResult:
    cells = [cell for cell in sample.result().cells if cell.id != "kafka.replay"]
    kept = [cell for cell in cells if cell.profile != "kafka"]
    return sample.with_cells("r", [*kept, sample.broken("kafka", "replay")])
