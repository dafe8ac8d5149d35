"""Speeds of a run, each with what it needs to be believed: spread, client CPU, the harness' ceiling, limit, grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports import facts, words
from scenarios.results import Cell, Metric, RunResult
from scenarios.verdicts import Grade

CPU = "client_cpu"
CEILING = "noop_ceiling"
_RANKING_GRADES = (Grade.SERVICE, Grade.SOFTWARE)


@dataclass(frozen=True, slots=True)
class Speed:
    """One speed of one profile. ``cpu`` and ``ceiling`` are None where the run did not measure them beside it."""

    profile: str
    cell: str
    metric: Metric
    cpu: Metric | None
    ceiling: Metric | None

    @property
    def median(self) -> float:
        return words.median(self.metric.samples)

    @property
    def no_rank(self) -> str:
        """Why this figure ranks nothing; empty where it may rank."""
        if self.metric.grade not in _RANKING_GRADES:
            return words.GRADE_WORDS[self.metric.grade]
        return f"limited by the {self.metric.limited_by}" if self.metric.limited_by else ""

    @property
    def what(self) -> str:
        """``publish, batch 100``: the labels in words, or the metric's name where it has none."""
        mode = str(self.metric.labels.get("mode", self.metric.name.removesuffix("_rate").replace("_", " ")))
        return ", ".join([mode] + [f"{k} {v}" for k, v in sorted(self.metric.labels.items()) if k != "mode"])


def is_speed(metric: Metric) -> bool:
    return metric.unit.endswith("/s") and metric.better == "higher" and metric.name != CEILING


def of_cell(cell: Cell) -> list[Speed]:
    return [
        Speed(
            cell.profile,
            cell.id,
            metric,
            _beside(cell, metric, CPU),
            _beside(cell, metric, CEILING),
        )
        for metric in cell.metrics
        if is_speed(metric) and metric.samples
    ]


def of_run(result: RunResult, profiles: Sequence[str]) -> list[Speed]:
    """Speeds in the order of ``profiles``, within a profile in the order of the result."""
    return [
        speed for profile in profiles for cell in result.cells if cell.profile == profile for speed in of_cell(cell)
    ]


def best(
    result: RunResult,
    profile: str,
    name: str,
    labels: Mapping[str, str | int | float],
    *,
    higher: bool = True,
) -> Speed | None:
    """The profile's best figure of that name and those labels: its own best batch size, not one that suits another.

    A figure that may rank goes before one that may not.
    """
    found = [
        speed
        for speed in of_run(result, [profile])
        if speed.metric.name == name and labels.items() <= speed.metric.labels.items()
    ]
    ranking = [speed for speed in found if not speed.no_rank]
    return (max if higher else min)(ranking or found, key=lambda speed: speed.median, default=None)


def cells_without(result: RunResult, scenario: str) -> list[str]:
    """Profiles of the run that have no speed from a scenario, for the tables to say so."""
    measured = {cell.profile for cell in result.cells if cell.scenario == scenario and of_cell(cell)}
    return [name for name in facts.options(result) if name not in measured]


def _beside(cell: Cell, metric: Metric, name: str) -> Metric | None:
    """The companion measured under the same labels; one without a label holds for all its values."""
    for other in cell.metrics:
        if other.name == name and other.samples and other.labels.items() <= metric.labels.items():
            return other
    return None
