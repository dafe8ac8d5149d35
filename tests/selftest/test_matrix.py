"""Every fault is seen by its checker, with exactly the offending messages, and what else answers is known why."""

from __future__ import annotations

import json

import pytest

from bench.selftest import clean, run
from bench.selftest.cases import CASES, CROSS
from bench.selftest.checks import CHECKS, answers
from bench.selftest.run import Outcome
from bench.selftest.scene import CHANNEL
from brokers.faulty import FaultName

MESSAGES = 4000
HISTORIES = 60


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return run.run(MESSAGES, HISTORIES, lambda share, doing: None)


def test_every_fault_has_a_case_and_every_case_a_checker() -> None:
    assert set(CASES) == set(FaultName)
    assert {case.checker for case in CASES.values()} <= set(CHECKS)


def test_every_fault_is_found_and_nothing_else_is(outcome: Outcome) -> None:
    assert outcome.problems == []
    for row in run.as_json(outcome)["faults"]:
        assert (row["found"], row["offending_found"], row["offending_seeded"]) == (True, 1, 1), row
        assert row["messages"] == MESSAGES
    assert run.as_json(outcome)["false_alarms"] == {"histories": HISTORIES, "alarms": []}
    json.dumps(run.as_json(outcome))


def test_the_reviewed_list_holds_nothing_that_does_not_happen(outcome: Outcome) -> None:
    assert set(CROSS) == {(row.fault, name) for row in outcome.matrix.rows for name in row.others}


def test_a_clean_history_has_something_to_judge_by_every_checker() -> None:
    seen = {
        name
        for seed in range(30)
        for name, answer in answers(clean.history(seed), CHANNEL).items()
        if answer.observations
    }
    # Order among keys is promised to one consumer alone; dead letters and deduplication have clean stories only.
    rest = {name for name in CHECKS if name.startswith(("dead_letter.", "deduplication."))}
    assert seen >= set(CHECKS) - rest - {"ordering.per_partition", "ordering.channel"}


def test_the_same_seed_gives_the_same_history() -> None:
    first, second = clean.history(7), clean.history(7)
    for name in ("reader", "producer", "seq", "key", "place", "delivery_count"):
        assert first.deliveries[name].tolist() == second.deliveries[name].tolist()
