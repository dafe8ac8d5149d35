"""Speeds of a run, each with its spread, client CPU, ceiling of the harness, limit and grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from brokerbench.reports import words
from brokerbench.scenarios.metrics import window_rates
from brokerbench.scenarios.results import Cell, Metric, RunResult
from brokerbench.scenarios.verdicts import Grade

CPU = "client_cpu"
CEILING = "noop_ceiling"
_RANKING_GRADES = (Grade.SERVICE, Grade.SOFTWARE)
_ROLE = {"publish_rate": "producer", "consume_rate": "consumer"}
_SETTINGS = ("size", "producers", "consumers", "partitions", "keys", "acknowledge_every", "durability")
"""Labels of the conditions of a speed: stated once, beside the figures, unless a plan varied them."""


@dataclass(frozen=True, slots=True)
class Speed:
    """One speed of one profile. ``cpu`` and ``ceiling`` are None if the run did not measure them beside it.

    ``varied``: settings in which the run's speeds of this profile differ.
    """

    profile: str
    cell: str
    metric: Metric
    cpu: Metric | None
    ceiling: Metric | None
    varied: Sequence[str] = ()

    @property
    def median(self) -> float:
        return words.median(self.metric.samples)

    @property
    def no_rank(self) -> str:
        """Why this figure ranks nothing; empty if it may rank."""
        if self.metric.grade not in _RANKING_GRADES:
            return words.GRADE_WORDS[self.metric.grade]
        if self.metric.doubt:
            return self.metric.doubt
        if not self.metric.comparable:
            return self.metric.note
        if self.metric.limited_by:
            return f"limited by the {self.metric.limited_by}"
        # Another profile took these sends, too: its load was another one.
        return "sends were rejected" if self.metric.sends and self.metric.sends.rejected else ""

    @property
    def not_acknowledged(self) -> str:
        """The sends behind the figure that the broker did not acknowledge; empty if it acknowledged all."""
        return words.not_acknowledged(self.metric.sends)

    @property
    def what(self) -> str:
        """``publish, batch 100`` or ``consume while publishing, batch 100, partitions 3``: the measured work."""
        labels = self.metric.labels
        mode = str(labels.get("mode", "")).replace("_", " ")
        first = action = self.metric.name.removesuffix("_rate").replace("_", " ")
        if mode == "both":
            first = f"{action} while {'consuming' if action == 'publish' else 'publishing'}"
        elif mode not in ("", action):
            first = f"{action} {mode}"
        more = [f"{name} {value}" for name, value in sorted(labels.items()) if name not in ("mode", *_SETTINGS)]
        varied = [f"{name.replace('_', ' ')} {labels[name]}" for name in self.varied if name in labels]
        return ", ".join([first, *more, *varied])


def is_speed(metric: Metric) -> bool:
    return metric.name.endswith("_rate") and metric.unit.endswith("/s") and bool(metric.samples)


def of_one_group(metric: Metric) -> bool:
    """True for a figure of one group among several: pictures show all groups together."""
    return metric.labels.get("group", window_rates.ALL) != window_rates.ALL


def of_cell(cell: Cell) -> list[Speed]:
    return [
        Speed(cell.profile, cell.id, metric, _beside(cell, metric, CPU), _beside(cell, metric, CEILING))
        for metric in cell.metrics
        if is_speed(metric)
    ]


def of_run(result: RunResult, profiles: Sequence[str]) -> list[Speed]:
    """Speeds in the order of ``profiles``, within a profile in the order of the result."""
    every = []
    for profile in profiles:
        found = [speed for cell in result.cells if cell.profile == profile for speed in of_cell(cell)]
        varied = tuple(name for name in _SETTINGS if len(_values(found, name)) > 1)
        every += [replace(speed, varied=varied) for speed in found]
    return every


def _values(found: Sequence[Speed], name: str) -> set[str | int | float]:
    return {speed.metric.labels[name] for speed in found if name in speed.metric.labels}


def conditions(found: Sequence[Speed]) -> str:
    """The settings of the speeds: ``size 1,024, producers 1``; all values of a varied setting."""
    texts = []
    for name in _SETTINGS:
        if values := sorted(_values(found, name), key=str):
            plain = [value if isinstance(value, str) else f"{value:,}" for value in values]
            texts.append(f"{name.replace('_', ' ')} {words.listed(plain)}")
    return ", ".join(texts)


def best(
    result: RunResult, profile: str, name: str, labels: Mapping[str, str | int | float], *, higher: bool = True
) -> Speed | None:
    """The profile's best figure of that name and those labels, at the batch size that suits it best.

    A figure that may rank precedes one that may not.
    """
    found = [
        speed
        for speed in of_run(result, [profile])
        if speed.metric.name == name and labels.items() <= speed.metric.labels.items()
    ]
    ranking = [speed for speed in found if not speed.no_rank]
    return (max if higher else min)(ranking or found, key=lambda speed: speed.median, default=None)


def profiles_without(result: RunResult, profiles: Sequence[str], scenario: str) -> list[str]:
    """Profiles without a speed from a scenario."""
    measured = {cell.profile for cell in result.cells if cell.scenario == scenario and of_cell(cell)}
    return [name for name in profiles if name not in measured]


def _beside(cell: Cell, metric: Metric, name: str) -> Metric | None:
    """The companion metric of that name: the same labels, except for the one that names its subject."""
    own = {"of": metric.name, "role": _ROLE.get(metric.name, ""), **metric.labels}
    others = (other for other in cell.metrics if other.name == name and other.samples)
    return next((other for other in others if other.labels.items() <= own.items()), None)
