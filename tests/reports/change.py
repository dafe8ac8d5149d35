"""Small changes to a sample result, so that a test says only what it is about."""

from __future__ import annotations

from collections.abc import Callable

from brokerbench.brokers.declarations import Support
from brokerbench.scenarios.results import Cell, Metric, RunResult, VerdictRow
from brokerbench.scenarios.verdicts import Verdict


def rows(
    result: RunResult, profile: str, property_name: str, change: Callable[[VerdictRow], VerdictRow | None]
) -> RunResult:
    """Change (or, by None, drop) every row of a property under a profile."""

    def of_cell(cell: Cell) -> Cell:
        if cell.profile != profile:
            return cell
        changed = [change(row) if row.property == property_name else row for row in cell.verdicts]
        return cell.model_copy(update={"verdicts": [row for row in changed if row is not None]})

    return result.model_copy(update={"cells": [of_cell(cell) for cell in result.cells]})


def judged(
    result: RunResult, profile: str, property_name: str, verdict: Verdict, support: Support | None = None
) -> RunResult:
    def change(row: VerdictRow) -> VerdictRow:
        declared = row.declared if support is None else row.declared.model_copy(update={"support": support})
        return row.model_copy(update={"verdict": verdict, "declared": declared, "reason": f"made {verdict.value}"})

    return rows(result, profile, property_name, change)


def metrics(result: RunResult, profile: str, change: Callable[[Metric], Metric]) -> RunResult:
    cells = [
        cell.model_copy(update={"metrics": [change(metric) for metric in cell.metrics]})
        if cell.profile == profile
        else cell
        for cell in result.cells
    ]
    return result.model_copy(update={"cells": cells})
