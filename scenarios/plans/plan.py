"""Plans: which cells to run. Written by people in YAML, checked strictly, expanded to cells.

::

    name: quick
    profiles: [kafka, redis-streams]        # optional; otherwise all that an entry does not name itself
    cells:
      - scenario: throughput
        profiles: [kafka]                   # optional; or ``without: [kafka]``: all but these
        parameters: {window_s: 3 s, size: 1 KiB}
        vary: {producers: [1, 2, 4]}        # optional; a cell for each value, or combination of values
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from brokerbench.scenarios import experiments, units
from brokerbench.scenarios.plans import yaml_document
from brokerbench.scenarios.plans.yaml_document import Document, Place

_NUMBERS = (1.0, 2.0)
"""Example of a list of numbers that is empty by default."""


class Entry(BaseModel):
    """One line of a plan: a scenario, on some profiles, with some parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scenario: str
    profiles: list[str] | None = None
    without: list[str] = Field(default_factory=list)
    parameters: dict[str, Any] = Field(default_factory=dict)
    vary: dict[str, list[Any]] = Field(default_factory=dict)


class Plan(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, pattern=r"^[a-z0-9][a-z0-9-]*$")
    profiles: list[str] | None = None
    cells: list[Entry] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class CellPlan:
    """A cell to run. ``id`` is unique within the run and fit for a file name."""

    id: str
    profile: str
    scenario: str
    parameters: Mapping[str, Any]
    seed: int


def read(path: Path, profiles: Sequence[str]) -> Document[Plan]:
    """Read and check a plan; ``profiles`` are the names that exist. Raises DocumentError."""
    document = yaml_document.read(path, Plan)
    plan = document.value
    _check_names(document, ("profiles",), plan.profiles or (), profiles, "profile")
    for number, entry in enumerate(plan.cells):
        here: Place = ("cells", number)
        _check_names(document, (*here, "scenario"), (entry.scenario,), experiments.NAMES, "scenario")
        _check_names(document, (*here, "profiles"), entry.profiles or (), profiles, "profile")
        _check_names(document, (*here, "without"), entry.without, profiles, "profile")
        if entry.profiles and entry.without:
            raise document.error((*here, "without"), "an entry has profiles, or is without some; not both")
        _check_parameters(document, here, entry)
    return document


def _check_parameters(document: Document[Plan], here: Place, entry: Entry) -> None:
    given = [("parameters", name, [value]) for name, value in entry.parameters.items()]
    for where, name, values in (*given, *(("vary", name, values) for name, values in entry.vary.items())):
        if where == "vary" and (not values or name in entry.parameters):
            raise document.error((*here, where, name), f"{name} needs values, and must not stand in parameters, too")
        try:
            for value in values:
                parameter(entry.scenario, name, value)
        except ValueError as error:
            raise document.error((*here, where, name), str(error)) from None
    known = experiments.scenario(entry.scenario)
    for chosen in _combinations(entry):
        try:
            known.check({**known.defaults, **chosen})
        except ValueError as error:
            varied = ", ".join(f"{name}: {chosen[name]}" for name in entry.vary)
            raise document.error(here, f"{error} (with {varied})" if varied else str(error)) from None


def _combinations(entry: Entry) -> list[dict[str, Any]]:
    """The parameters of each cell that an entry means on one profile. Raises ValueError as ``parameter`` does."""
    varied = [[(name, value) for value in values] for name, values in entry.vary.items()]
    return [
        {name: parameter(entry.scenario, name, value) for name, value in {**entry.parameters, **dict(chosen)}.items()}
        for chosen in product(*varied)
    ]


def _check_names(document: Document[Plan], place: Place, names: Sequence[str], known: Sequence[str], what: str) -> None:
    for number, name in enumerate(names):
        if name not in known:
            at = place if what == "scenario" else (*place, number)
            raise document.error(at, f"unknown {what} {name!r}; {yaml_document.suggest(name, known)}")


def parameter(scenario: str, name: str, value: object) -> Any:
    """A parameter's value in its own unit and type. Raises ValueError that says what would be right."""
    known = experiments.scenario(scenario)
    defaults = known.defaults
    if name not in defaults:
        raise ValueError(f"unknown parameter {name!r} of {scenario}; {yaml_document.suggest(name, defaults)}")
    if name in known.off_at_zero and value == 0 and not isinstance(value, bool):
        return type(defaults[name])(0)
    return _like(name, defaults[name], value)


def _like(name: str, default: object, value: object) -> Any:
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise ValueError(f"{name} must be true or false, not {value!r}")
    if isinstance(default, (int, float)):
        return _number(name, default, value)
    if isinstance(default, (list, tuple)):
        if not isinstance(value, list) or (default and not value):
            raise ValueError(f"{name} must be a list such as {list(default or _NUMBERS)}, not {value!r}")
        return [_like(name, (default or _NUMBERS)[0], item) for item in value]
    if isinstance(default, StrEnum):
        known = [entry.value for entry in type(default)]
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        return type(default)(value)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text such as {default!r}, not {value!r}")
    return value


def _number(name: str, default: int | float, value: object) -> int | float:
    if isinstance(value, str):
        value = units.parse(name, value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} must be a number, not {value!r}")
    if value < 0 or (value == 0 and default > 0):
        raise ValueError(f"{name} must be greater than 0, not {value!r}")
    if isinstance(default, float):
        return float(value)
    if value != int(value):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return int(value)


def expand(
    plan: Plan,
    every_profile: Sequence[str],
    seed: int,
    *,
    only_profiles: Sequence[str] = (),
    only_scenarios: Sequence[str] = (),
) -> list[CellPlan]:
    """The plan's cells, narrowed to the given profiles and scenarios; seeds follow from ``seed`` and the id."""
    cells: list[CellPlan] = []
    taken: dict[str, int] = {}
    for entry in plan.cells:
        if only_scenarios and entry.scenario not in only_scenarios:
            continue
        defaults = experiments.scenario(entry.scenario).defaults
        names = [
            profile
            for profile in entry.profiles or plan.profiles or every_profile
            if profile not in entry.without and (not only_profiles or profile in only_profiles)
        ]
        for profile, chosen in product(names, _combinations(entry)):
            name = f"{profile}.{entry.scenario}"
            taken[name] = taken.get(name, 0) + 1
            cell_id = name if taken[name] == 1 else f"{name}.{taken[name]}"
            cells.append(CellPlan(cell_id, profile, entry.scenario, {**defaults, **chosen}, cell_seed(seed, cell_id)))
    return cells


def cell_seed(seed: int, cell_id: str) -> int:
    """The same run seed and cell give the same operations, whatever else the plan holds."""
    return zlib.crc32(f"{seed}/{cell_id}".encode())
