"""Does a result say of each property what its own figures say?

``judge`` is pure and a row carries all that it needs, so that a verdict that was written by hand, or whose figures
were, is found without any history.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from brokerbench.brokers.declarations import PROPERTIES, Declaration
from brokerbench.scenarios.results import Cell, Declared, Measurement, RunResult, VerdictRow
from brokerbench.scenarios.verdicts import Finding, Verdict, judge


def of_result(result: RunResult) -> list[str]:
    """Sentences; each names the cell, and the property or figure, that does not follow from the rest."""
    grades = {engine.name: engine.grade for engine in result.engines}
    found = []
    for cell in result.cells:
        if grades.get(cell.engine, cell.grade) is not cell.grade:
            found.append(f"{cell.id} has grade {cell.grade.value}, its engine {grades[cell.engine].value}")
        found += [f"{cell.id}: {problem}" for problem in _of_cell(cell)]
    return found


def _of_cell(cell: Cell) -> Iterator[str]:
    for metric in cell.metrics:
        if metric.grade is not cell.grade:
            yield f"{metric.name} has grade {metric.grade.value}, its cell {cell.grade.value}"
    counted = Counter(row.property for row in cell.verdicts)
    for row in cell.verdicts:
        if counted[row.property] > 1:
            yield f"{row.property} stands there {counted[row.property]} times"
        elif row.grade is not cell.grade:
            yield f"{row.property} has grade {row.grade.value}, its cell {cell.grade.value}"
        elif problem := _of_row(row):
            yield f"{row.property} {problem}"


def _of_row(row: VerdictRow) -> str:
    """The end of a sentence that begins with the property; empty for a row that follows from its own figures."""
    known, measured = PROPERTIES.get(row.property), row.measured
    if known is None:
        return "is no property that this version knows"
    if (known.kind, known.unit) != (row.kind, row.unit):
        return f"is said to be {row.kind.value!r} in {row.unit!r}, and is {known.kind.value!r} in {known.unit!r}"
    counts = (measured.observations, measured.violations, measured.unknown, measured.open, *measured.counts.values())
    if min(counts) < 0:
        return "counts less than nothing"
    judged = judge(_declaration(row.declared, row.source), _finding(row.property, measured))
    if row.verdict is Verdict.NOT_TESTABLE is not judged.verdict:
        # The experiment may say so, and then it has no figures.
        measured_all_the_same = measured.observations or measured.violations or measured.samples
        return f"is said to be {row.verdict.value}, and was measured" if measured_all_the_same else ""
    if judged.verdict is not row.verdict:
        return (
            f"is said to be {row.verdict.value}; from its own figures follows {judged.verdict.value}: {judged.reason}"
        )
    if not _alike(judged.missed_rate_upper_95, measured.missed_rate_upper_95):
        return (
            f"is said to be missed at a rate of at most {measured.missed_rate_upper_95}; "
            f"from its own figures follows {judged.missed_rate_upper_95}"
        )
    return ""


def _alike(bound: float | None, said: float | None) -> bool:
    """Versions may have computed it in another order."""
    if bound is None or said is None:
        return bound is said
    return math.isclose(bound, said, rel_tol=1e-9)


def _declaration(declared: Declared, source: str) -> Declaration:
    return Declaration(
        declared.support, declared.provided_by, source, note=declared.note, low=declared.low, high=declared.high
    )


def _finding(name: str, measured: Measurement) -> Finding:
    return Finding(
        name,
        observations=measured.observations,
        violations=measured.violations,
        samples=tuple(measured.samples),
        sample_lows=tuple(measured.sample_lows),
        unknown=measured.unknown,
        open=measured.open,
        disturbed=measured.disturbed,
    )
