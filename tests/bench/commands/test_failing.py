"""Exit code 1 for refuted verdicts and failed cells; an option chooses."""

from __future__ import annotations

import pytest

from brokerbench.bench.commands.failing import Failing, problems
from brokerbench.scenarios.results import RunResult
from brokerbench.scenarios.verdicts import Verdict
from tests.reports import change, sample


def confirmed() -> RunResult:
    cells = [
        cell.model_copy(
            update={"verdicts": [row.model_copy(update={"verdict": Verdict.CONFIRMED}) for row in cell.verdicts]}
        )
        for cell in sample.result().cells
    ]
    return sample.result().model_copy(update={"cells": cells})


def refuted() -> RunResult:
    return change.judged(confirmed(), "kafka", "delivery.no_loss", Verdict.REFUTED)


def inconclusive() -> RunResult:
    return change.judged(confirmed(), "kafka", "delivery.no_loss", Verdict.INCONCLUSIVE)


def failed() -> RunResult:
    first, *others = confirmed().cells
    broken = first.model_copy(update={"status": "failed", "error": "boom", "verdicts": [], "metrics": []})
    return confirmed().model_copy(update={"cells": [broken, *others]})


@pytest.mark.parametrize(
    ("result", "fails_on"),
    [
        (confirmed(), set()),
        (change.judged(confirmed(), "kafka", "delivery.no_loss", Verdict.NOT_TESTABLE), set()),
        (inconclusive(), {Failing.INCONCLUSIVE}),
        (refuted(), {Failing.INCONCLUSIVE, Failing.REFUTED}),
        (failed(), {Failing.INCONCLUSIVE, Failing.REFUTED, Failing.FAILED}),
    ],
    ids=["confirmed", "not testable", "inconclusive", "refuted", "failed"],
)
def test_an_outcome_fails_where_it_or_a_milder_one_is_named(result: RunResult, fails_on: set[Failing]) -> None:
    assert {chosen for chosen in Failing if problems(result, chosen)} == fails_on


def test_cells_and_properties_are_named() -> None:
    (problem,) = problems(refuted(), Failing.REFUTED)
    rows = sum(len(cell.verdicts) for cell in refuted().cells)
    named = [cell.id for cell in refuted().cells if any(row.verdict is Verdict.REFUTED for row in cell.verdicts)]
    assert problem.startswith(f"{len(named)} of {rows} verdicts are refuted: {named[0]} delivery.no_loss")
    (problem,) = problems(failed(), Failing.REFUTED)
    assert problem == f"1 of {len(failed().cells)} cells failed: {failed().cells[0].id}"
