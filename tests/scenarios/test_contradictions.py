"""A row follows from its own figures; a forged one is found, and its cell and property named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerbench.brokers.declarations import PROPERTIES, Declaration, Kind, ProfileDeclaration, Provider, Support
from brokerbench.brokers.memory.declaration import DECLARATION as REFERENCE
from brokerbench.scenarios import contradictions, results
from brokerbench.scenarios.base import Examination
from brokerbench.scenarios.results import RunResult, VerdictRow
from brokerbench.scenarios.verdicts import Finding, Grade, Verdict
from tests.reports import change, sample

_NUMBERS = st.floats(-1e9, 1e9)
_COUNTS = st.integers(0, 10_000)
FIELDS: Mapping[str, st.SearchStrategy[Any]] = {
    "property": st.sampled_from(list(PROPERTIES)),
    "observations": _COUNTS,
    "violations": st.one_of(st.just(0), _COUNTS),
    "samples": st.lists(_NUMBERS, max_size=5).map(tuple),
    "sample_lows": st.just(()),
    "unknown": _COUNTS,
    "open": st.one_of(st.just(0), _COUNTS),
    "offenders": st.just(()),
    "remarks": st.just(()),
    "not_testable": st.just(""),
    "disturbed": st.sampled_from(["", "disturbed: 43 % of the machine was taken by others"]),
}


def rows_of(declaration: Declaration, finding: Finding) -> list[VerdictRow]:
    promised = ProfileDeclaration("p", "p", "p", REFERENCE.limits, {finding.property: declaration})
    return results.verdict_rows(promised, Examination([finding], []), [finding.property], Grade.SOFTWARE, "h")


def with_rows(rows: list[VerdictRow]) -> RunResult:
    result = sample.result()
    cell = result.cells[-1]
    return result.model_copy(
        update={"cells": [cell.model_copy(update={"grade": Grade.SOFTWARE, "verdicts": rows, "metrics": []})]}
    )


@given(
    finding=st.builds(Finding, **FIELDS),
    why_not=st.sampled_from(["", "nothing was read"]),
    lacks=st.sampled_from(["", "", "the client cannot"]),
    support=st.sampled_from(Support),
    low=st.none() | _NUMBERS,
    high=st.none() | _NUMBERS,
)
def test_whatever_was_found_a_row_carries_all_that_its_verdict_needs(
    finding: Finding, why_not: str, lacks: str, support: Support, low: float | None, high: float | None
) -> None:
    if why_not:
        finding = Finding(finding.property, not_testable=why_not)
    declaration = Declaration(support, Provider.BROKER, "s", low=low, high=high, client_lacks=lacks)
    assert contradictions.of_result(with_rows(rows_of(declaration, finding))) == []
    lows = tuple(sample - abs(low or 0.0) for sample in finding.samples)
    intervals = dataclasses.replace(finding, sample_lows=lows)
    assert contradictions.of_result(with_rows(rows_of(declaration, intervals))) == []


def test_that_test_knows_every_field_of_a_finding() -> None:
    assert set(FIELDS) == {field.name for field in dataclasses.fields(Finding)}


def test_a_sample_on_the_bound_is_judged_as_it_is_shown() -> None:
    declaration = Declaration(Support.GUARANTEED, Provider.BROKER, "s", high=0.5)
    (row,) = rows_of(declaration, Finding("retention.overshoot", samples=(0.50000001,)))
    assert (row.measured.samples, row.verdict) == ([0.5], Verdict.CONFIRMED)
    (row,) = rows_of(declaration, Finding("retention.overshoot", samples=(0.500001,)))
    assert (row.measured.samples, row.verdict) == ([0.500001], Verdict.REFUTED)


def test_the_sample_result_is_consistent() -> None:
    assert contradictions.of_result(sample.result()) == []


def measured(**figures: object) -> Callable[[VerdictRow], VerdictRow]:
    return lambda row: row.model_copy(update={"measured": row.measured.model_copy(update=figures)})


def said(**fields: object) -> Callable[[VerdictRow], VerdictRow]:
    return lambda row: row.model_copy(update=fields)


@pytest.mark.parametrize(
    ("name", "forge", "words"),
    [
        (
            "delivery.no_loss",
            measured(violations=5),
            "is said to be confirmed; from its own figures follows refuted: 5",
        ),
        ("delivery.no_loss", measured(open=5), "from its own figures follows inconclusive"),
        ("delivery.no_loss", measured(observations=7), "from its own figures follows inconclusive"),
        ("delivery.no_loss", measured(observations=-6000), "counts less than nothing"),
        ("delivery.no_loss", measured(missed_rate_upper_95=1e-9), "missed at a rate of at most 1e-09"),
        ("delivery.no_loss", said(verdict=Verdict.REFUTED), "is said to be refuted; from its own figures follows conf"),
        ("delivery.no_loss", said(verdict=Verdict.NOT_TESTABLE), "is said to be not testable here, and was measured"),
        ("delivery.no_loss", said(kind=Kind.CAN), "is said to be 'can'"),
        ("delivery.no_loss", said(grade=Grade.SERVICE), "has grade service, its cell software"),
        ("replay.from_beginning", measured(violations=3), "is said to be confirmed; from its own figures follows ref"),
        ("retention.overshoot", measured(samples=[0.1, 2.1]), "1 of 2 samples outside the declared bound"),
        ("retention.overshoot", measured(samples=[]), "from its own figures follows inconclusive"),
        ("retention.overshoot", said(unit="ms"), "is said to be 'quantity' in 'ms'"),
    ],
)
def test_a_forged_row_is_named(name: str, forge: Callable[[VerdictRow], VerdictRow], words: str) -> None:
    forged = change.rows(sample.result(), "kafka", name, forge)
    found = contradictions.of_result(forged)
    assert found
    assert all(problem.startswith("kafka.") and f": {name} " in problem and words in problem for problem in found)


def test_a_row_that_stands_there_twice_is_named() -> None:
    result = sample.result()
    cell = result.cells[-1]
    twice = cell.model_copy(update={"verdicts": [*cell.verdicts, cell.verdicts[0]]})
    (problem, _) = contradictions.of_result(result.model_copy(update={"cells": [twice]}))
    assert problem == f"{cell.id}: {cell.verdicts[0].property} stands there 2 times"


def test_grades_that_the_engine_has_not_are_named() -> None:
    result = sample.result()
    cell = next(cell for cell in result.cells if cell.grade is Grade.EMULATOR and cell.metrics)
    raised = cell.model_copy(
        update={
            "grade": Grade.SERVICE,
            "verdicts": [row.model_copy(update={"grade": Grade.SERVICE}) for row in cell.verdicts],
        }
    )
    found = contradictions.of_result(result.model_copy(update={"cells": [raised]}))
    assert found[0] == f"{cell.id} has grade service, its engine emulator"
    assert found[1].startswith(f"{cell.id}: {cell.metrics[0].name} has grade emulator, its cell service")


def test_an_unknown_property_is_named() -> None:
    forged = change.rows(sample.result(), "kafka", "delivery.no_loss", said(property="delivery.ever"))
    assert any(": delivery.ever is no property" in problem for problem in contradictions.of_result(forged))
