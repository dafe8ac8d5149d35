"""Every fault is seen by its checker, with exactly the offending messages; every other answer has a reason."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from brokerbench.bench.selftest import matrix, page, random_histories, run
from brokerbench.bench.selftest.cases import CASES, CROSS
from brokerbench.bench.selftest.checks import CHECKS, answers
from brokerbench.bench.selftest.run import SelftestResult
from brokerbench.bench.selftest.scripts import Script, Size
from brokerbench.bench.selftest.simulation import CHANNEL
from brokerbench.brokers.faulty import FaultName
from brokerbench.scenarios.verdicts import Finding

MESSAGES = 4000
HISTORIES = 60


@pytest.fixture(scope="module")
def outcome() -> SelftestResult:
    return run.run(MESSAGES, HISTORIES, lambda share, doing: None)


def test_every_fault_has_a_case_and_every_case_a_checker() -> None:
    assert set(CASES) == set(FaultName)
    assert {case.checker for case in CASES.values()} <= set(CHECKS)


def test_every_fault_is_found_and_nothing_else_is(outcome: SelftestResult) -> None:
    assert outcome.problems == []
    for row in run.as_json(outcome)["faults"]:
        # Where an old message takes the place of a new one, both are hit.
        hit = 2 if row["fault"] == FaultName.NEWEST_REMOVED else 1
        assert (row["found"], row["offending_found"], row["offending_seeded"]) == (True, hit, hit), row
        assert row["messages"] == MESSAGES
    assert run.as_json(outcome)["false_alarms"] == {"histories": HISTORIES, "alarms": []}
    json.dumps(run.as_json(outcome))


def test_the_reviewed_list_holds_nothing_that_does_not_happen(outcome: SelftestResult) -> None:
    assert set(CROSS) == {(row.fault, name) for row in outcome.matrix.rows for name in row.others}


def test_a_clean_history_has_something_to_judge_by_every_checker() -> None:
    seen = {
        name
        for seed in range(30)
        for name, answer in answers(random_histories.history(seed), CHANNEL).items()
        if answer.observations
    }
    # Order among keys is promised to one consumer alone.
    assert seen >= set(CHECKS) - {"ordering.per_partition", "ordering.channel"}


def test_the_same_seed_gives_the_same_history() -> None:
    first, second = random_histories.history(7), random_histories.history(7)
    for name in ("reader", "producer", "seq", "broker_key", "place", "delivery_count"):
        assert first.deliveries[name].tolist() == second.deliveries[name].tolist()


def test_the_page_shows_every_fault_and_checker(outcome: SelftestResult) -> None:
    text = page.markdown(outcome)
    assert all(f"| {fault} |" in text for fault in FaultName)
    assert all(f". {name}" in text for name in CHECKS)
    assert all(f"| {fault} | {CASES[fault].checker} | {name} |" in text for fault, name in CROSS)
    assert f"{len(FaultName)} of {len(FaultName)}" in text and "## Problems" not in text
    assert text == page.markdown(outcome)


def test_a_false_alarm_or_an_answer_that_nobody_reviewed_is_a_problem(
    outcome: SelftestResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarmed = replace(outcome, alarms=[random_histories.Alarm(3, "delivery.no_loss", 2)])
    assert alarmed.problems == ["delivery.no_loss finds 2 in the clean history 3"]
    assert "## Problems" in page.markdown(alarmed)
    monkeypatch.delitem(CROSS, (FaultName.LOSE, "retention.not_early"))  # type: ignore[misc]
    assert outcome.problems == ["retention.not_early answers to lose, and nobody has reviewed why"]


def test_a_blind_checker_is_told(outcome: SelftestResult, monkeypatch: pytest.MonkeyPatch) -> None:
    size = Size(1000)
    hits = matrix.quiet(Script.DELIVER, size).hits[FaultName.LOSE].first(1)
    assert matrix.seeded(FaultName.LOSE, Script.DELIVER, size, hits).found() == 1
    monkeypatch.setitem(CHECKS, "delivery.no_loss", lambda whole: Finding("delivery.no_loss"))  # type: ignore[misc]
    blind = matrix.seeded(FaultName.LOSE, Script.DELIVER, size, hits)
    assert (len(blind.seeded), blind.found()) == (1, 0)
    rows = [replace(row, single=blind) if row.fault == FaultName.LOSE else row for row in outcome.matrix.rows]
    blinded = replace(outcome, matrix=replace(outcome.matrix, rows=rows))
    assert blinded.problems == ["lose is not found by delivery.no_loss"]


def test_a_checker_that_names_others_has_not_found_it() -> None:
    size = Size(1000)
    run = matrix.seeded(FaultName.LOSE, Script.DELIVER, size, matrix.quiet(Script.DELIVER, size).hits[FaultName.LOSE])
    answer = run.answers["delivery.no_loss"]
    assert run.found() == len(run.seeded) == 5
    wrong = replace(answer, named=answer.named | {("sent", 0, 10**6)})
    assert replace(run, answers={**run.answers, "delivery.no_loss": wrong}).found() == 0
