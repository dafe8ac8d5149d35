"""The model of ``result.json``, its published schema, and its rows: findings and metrics beside the declaration.

Strict: unknown keys, missing units and unknown versions are errors. ``schema_version`` grows with every
change that an old reader would misread; results of older versions can be read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from brokerbench.brokers import names
from brokerbench.brokers.declarations import PROPERTIES, Kind, ProfileDeclaration, Provider, Support
from brokerbench.scenarios import base
from brokerbench.scenarios.base import Examination, Measured
from brokerbench.scenarios.verdicts import Finding, Grade, Verdict, judge

SCHEMA_VERSION = 2
"""2 added ``counts`` of a measurement, ``comparable`` of a metric and ``clients`` of an environment."""
_SINCE_2: Any = {
    "cells": {"__all__": {"verdicts": {"__all__": {"measured": {"counts"}}}, "metrics": {"__all__": {"comparable"}}}},
    "environment": {"clients"},
}
_LATER_IN_2 = ("open", "sample_lows", "disturbed", "doubt", "sends", "left_out", "unjudged")
"""Facts that joined cells, measurements and metrics within version 2: written only where they say something."""
_NOT_COMPARABLE_IN_1 = ("closed loop", "not a benchmark figure")
"""Words in the note of a metric of version 1 that may not be compared or ranked."""


Name = Annotated[str, AfterValidator(names.check), Field(json_schema_extra={"pattern": f"^{names.PATTERN}$"})]
"""Becomes part of a path."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Client(_Model):
    """The client library of a profile that has more than one way to use it."""

    name: str
    reason: str = Field(description="why this one: what was found on the machine, or the variable that was set")


class Environment(_Model):
    """The machine and the software that measured."""

    system: str
    machine: str
    cpu_model: str
    cpu_count: int
    memory_bytes: int
    python: str
    packages: dict[str, str]
    code_revision: str = Field(description="revision of brokerbench, with +dirty where it was changed")
    clients: dict[str, Client] = Field(
        default_factory=dict, description="profile: the client that ran; not stated by runs of versions that had one"
    )


class Engine(_Model):
    """A broker that was measured. ``version`` is what the running engine answered."""

    name: Name
    product: str
    version: str
    kind: Literal["native", "docker", "external", "in-process"]
    grade: Grade
    settings: dict[str, str]


class Declared(_Model):
    support: Support
    provided_by: Provider
    note: str = ""
    low: float | None = None
    high: float | None = None


class Measurement(_Model):
    """Facts behind a verdict."""

    observations: int
    violations: int
    unknown: int = Field(default=0, description="cases of which nothing could be required: their fate is unknown")
    open: int = Field(default=0, description="cases that were required, not seen and not excused")
    samples: list[float] = Field(default_factory=list)
    sample_lows: list[float] = Field(
        default_factory=list, description="lower ends of the samples, which are upper ends then; empty: they are exact"
    )
    missed_rate_upper_95: float | None = None
    counts: dict[str, int] = Field(default_factory=dict, description="further counts, which the note has in words")
    note: str = ""
    disturbed: str = Field(default="", description="how far others took the machine meanwhile, in words")


class Evidence(_Model):
    """Where to look: the history (relative to the run's directory) and the first offending messages."""

    history: str
    offenders: list[dict[str, Any]] = Field(default_factory=list)


class VerdictRow(_Model):
    property: str
    statement: str
    kind: Kind
    unit: str
    declared: Declared
    measured: Measurement
    verdict: Verdict
    reason: str
    grade: Grade
    source: str
    evidence: Evidence


class Sends(_Model):
    """The fates of sends. Those neither rejected nor of unknown fate were acknowledged."""

    sent: int
    rejected: int = Field(description="refused: by the broker, or by the client before it sent them")
    unknown: int = Field(description="without an answer, or with one that leaves the fate open")
    rejected_bytes: int
    reasons: dict[str, str] = Field(description="rejected, unknown: the first reason that was given")


class Metric(_Model):
    """A quantity with its samples. ``limited_by`` names what limited it where that was not the broker."""

    name: str
    unit: Annotated[str, Field(min_length=1)]
    samples: list[float]
    warmup: list[float] = Field(default_factory=list)
    labels: dict[str, str | int | float] = Field(default_factory=dict)
    better: Literal["higher", "lower", ""] = ""
    limited_by: str = ""
    comparable: bool = Field(default=True, description="whether it may be ranked, and compared with another build's")
    doubt: str = Field(default="", description="why it need not be the broker's: its windows were disturbed")
    note: str = ""
    grade: Grade
    sends: Sends | None = Field(default=None, description="the fates of the sends behind a rate")


class Cell(_Model):
    """profile x scenario x parameters. A failed cell is a result: ``error`` says what happened."""

    id: Name
    profile: Name
    scenario: Name
    parameters: dict[str, Any]
    seed: int
    engine: Name
    grade: Grade
    status: Literal["completed", "failed"]
    error: str = ""
    started: str
    duration_s: float
    history: Annotated[str, AfterValidator(names.check_path)]
    disturbed: str = Field(default="", description="how far others took the machine meanwhile, in words")
    verdicts: list[VerdictRow]
    metrics: list[Metric]
    sends: Sends | None = Field(default=None, description="the fates of all sends, warm-up included")
    left_out: dict[str, str] = Field(
        default_factory=dict, description="what was asked for and is not shown: why, or what is shown instead"
    )
    unjudged: str = Field(default="", description="of a failed cell: why its history could not be judged again")

    @property
    def failure(self) -> str:
        """Everything that is known about the failure of a failed cell."""
        return "; ".join(filter(None, (self.error, self.unjudged)))


class RunResult(_Model):
    schema_version: int = Field(default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    run_id: Name
    created: str = Field(description="UTC, ISO 8601")
    plan: str
    seed: int
    complete: bool = Field(description="False when the run was cut short; cells then hold what was measured")
    environment: Environment
    engines: list[Engine]
    cells: list[Cell]


class ResultError(ValueError):
    """A file that is not a result of a known version; the message names the file and the place."""


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of ``result.json``."""
    return RunResult.model_json_schema()


def dump(result: RunResult) -> str:
    """Canonical text: the same result gives the same bytes. A result stays in the version that it was read in."""
    content = result.model_dump(mode="json", exclude=_SINCE_2 if result.schema_version < 2 else None)
    for cell in content["cells"]:
        for part in (cell, *(row["measured"] for row in cell["verdicts"]), *cell["metrics"]):
            for name in _LATER_IN_2:
                if name in part and not part[name]:
                    del part[name]
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read(path: Path) -> RunResult:
    """Raises ResultError."""
    try:
        result = RunResult.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ResultError(f"{path}: no such file") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise ResultError(f"{path}: at {where}: {first['msg'].removeprefix('Value error, ')}") from error
    return result if result.schema_version >= 2 else _with_comparability(result)


def _with_comparability(result: RunResult) -> RunResult:
    """Version 1 said in a metric's note alone that it may not be compared."""
    cells = []
    for cell in result.cells:
        metrics = [
            metric.model_copy(update={"comparable": not any(words in metric.note for words in _NOT_COMPARABLE_IN_1)})
            for metric in cell.metrics
        ]
        cells.append(cell.model_copy(update={"metrics": metrics}))
    return result.model_copy(update={"cells": cells})


MAX_OFFENDERS = 10
"""Offending messages in a row; the history has all of them."""

_NOT_EXAMINED = "the experiment ended before it could observe this"


def verdict_rows(
    declaration: ProfileDeclaration,
    examination: Examination,
    properties: Sequence[str],
    grade: Grade,
    history: str,
    disturbed: str = "",
) -> list[VerdictRow]:
    """One row for each of ``properties``, then one for each other finding.

    A property without a finding is shown as not examined, never left out.
    """
    found = {finding.property: replace(finding, disturbed=disturbed) for finding in examination.findings}
    return [
        _row(declaration, found.get(name, Finding(name, remarks=(_NOT_EXAMINED,))), grade, history)
        for name in dict.fromkeys((*properties, *found))
    ]


def _row(declaration: ProfileDeclaration, finding: Finding, grade: Grade, history: str) -> VerdictRow:
    entry = PROPERTIES[finding.property]
    declared = declaration.of(finding.property)
    if declared.client_lacks:
        finding = Finding(finding.property, not_testable=declared.client_lacks)
    # Rounded before they are judged: a verdict follows from the figures beside it.
    finding = replace(finding, samples=_rounded(finding.samples), sample_lows=_rounded(finding.sample_lows))
    judgement = judge(declared, finding)
    return VerdictRow(
        property=entry.name,
        statement=entry.statement,
        kind=entry.kind,
        unit=entry.unit,
        declared=Declared.model_validate(declared, from_attributes=True),
        measured=Measurement(
            observations=finding.observations,
            violations=finding.violations,
            unknown=finding.unknown,
            open=finding.open,
            samples=list(finding.samples),
            sample_lows=list(finding.sample_lows),
            missed_rate_upper_95=judgement.missed_rate_upper_95,
            counts=finding.counts,
            note=finding.note,
            disturbed=finding.disturbed,
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
            doubt=entry.doubt,
            note=entry.note,
            grade=grade,
            sends=None if entry.sends is None else sends_row(entry.sends),
        )
        for entry in measured
    ]


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(map(round_sample, values))


def sends_row(found: base.Sends) -> Sends:
    return Sends.model_validate(found, from_attributes=True)


def round_sample(value: float) -> float:
    """Six significant digits: more is noise, and would make results differ for no reason.

    Raises ValueError for a value that is not finite: it must not reach a result.
    """
    if not math.isfinite(value):
        raise ValueError(f"a sample is {value}")
    return float(f"{value:.6g}")
