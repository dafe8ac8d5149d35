"""Rows of a result: findings and metrics of one cell, compared with its profile's declaration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

from brokerbench.brokers.declarations import PROPERTIES, ProfileDeclaration
from brokerbench.scenarios.base import Examination, Measured
from brokerbench.scenarios.results import Declared, Evidence, Measurement, Metric, VerdictRow
from brokerbench.scenarios.verdicts import Finding, Grade, judge

MAX_OFFENDERS = 10
"""Offending messages in a row; the history has all of them."""

_NOT_EXAMINED = "the experiment ended before it could observe this"


def verdict_rows(
    declaration: ProfileDeclaration,
    examination: Examination,
    properties: Sequence[str],
    grade: Grade,
    history: str,
) -> list[VerdictRow]:
    """One row for each of ``properties``: a property without a finding is shown as not examined, never left out."""
    found = {finding.property: finding for finding in examination.findings}
    return [
        _row(declaration, found.get(name, Finding(name, remarks=(_NOT_EXAMINED,))), grade, history)
        for name in properties
    ]


def _row(declaration: ProfileDeclaration, finding: Finding, grade: Grade, history: str) -> VerdictRow:
    entry = PROPERTIES[finding.property]
    declared = declaration.of(finding.property)
    judgement = judge(declared, finding)
    return VerdictRow(
        property=entry.name,
        statement=entry.statement,
        kind=entry.kind,
        unit=entry.unit,
        declared=Declared(
            support=declared.support,
            provided_by=declared.provided_by,
            note=declared.note,
            low=declared.low,
            high=declared.high,
        ),
        measured=Measurement(
            observations=finding.observations,
            violations=finding.violations,
            unknown=finding.unknown,
            samples=[round_sample(value) for value in finding.samples],
            missed_rate_upper_95=judgement.missed_rate_upper_95,
            counts=finding.counts,
            note=finding.note,
        ),
        verdict=judgement.verdict,
        reason=judgement.reason,
        grade=grade,
        source=declared.source,
        evidence=Evidence(history=history, offenders=[dict(row) for row in finding.offenders[:MAX_OFFENDERS]]),
    )


def metric_rows(measured: Sequence[Measured], grade: Grade) -> list[Metric]:
    return [
        Metric(
            name=entry.name,
            unit=entry.unit,
            samples=[round_sample(value) for value in entry.samples],
            warmup=[round_sample(value) for value in entry.warmup],
            labels=dict(entry.labels),
            better=cast(Literal["higher", "lower", ""], entry.better),
            limited_by=entry.limited_by,
            comparable=entry.comparable,
            note=entry.note,
            grade=grade,
        )
        for entry in measured
    ]


def round_sample(value: float) -> float:
    """Six significant digits: more is noise, and would make results differ for no reason.

    Raises ValueError for a value that is not finite: it must not reach a result.
    """
    if not math.isfinite(value):
        raise ValueError(f"a sample is {value}")
    return float(f"{value:.6g}")
