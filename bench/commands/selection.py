"""Turns the words of the command line into cells. Imports little, so that a wrong name is refused at once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brokerbench.bench.errors import BadInput
from brokerbench.scenarios import experiments

if TYPE_CHECKING:
    from brokerbench.scenarios.plans.plan import CellPlan

PLANS = Path(__file__).parents[1] / "plans"
CELL_TIMEOUT_S = 900.0
_DEFAULT_PLAN = "quick"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The words: a plan, narrowed to profiles and scenarios; or a workload of the OpenMessaging Benchmark."""

    plan: str | None = None
    profiles: Sequence[str] = ()
    scenarios: Sequence[str] = ()
    omb: Path | None = None
    omb_driver: Path | None = None
    omb_duration: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The cells that the words mean. ``notices`` are shown to the user before they run."""

    name: str
    cells: list[CellPlan]
    notices: Sequence[str] = ()
    timeout_s: float = CELL_TIMEOUT_S


def work(chosen: Chosen, seed: int) -> Selection:
    """Raises BadInput."""
    if chosen.omb is not None:
        return _workload(chosen, chosen.omb, seed)
    for option, value in (("--omb-driver", chosen.omb_driver), ("--omb-duration", chosen.omb_duration)):
        if value is not None:
            raise BadInput(f"{option} belongs to --omb, which is missing")
    plan = chosen.plan or _DEFAULT_PLAN
    return Selection(Path(plan).stem, cells(plan, chosen.profiles, chosen.scenarios, seed))


def _workload(chosen: Chosen, path: Path, seed: int) -> Selection:
    for what, given in (("a plan", chosen.plan), ("--scenario", chosen.scenarios)):
        if given:
            raise BadInput(f"--omb stands instead of a plan: {what} cannot be given beside it")
    from brokerbench.bench.commands import omb
    from brokerbench.brokers import registry

    known = registry.profiles()
    _check_names("--profile", chosen.profiles, known)
    files = omb.Files(path, chosen.omb_driver, chosen.omb_duration)
    found = omb.omb_plan(files, chosen.profiles, registry.options(), seed)
    return Selection(path.stem, found.cells, found.notices, found.timeout_s)


def cells(plan_name: str, profiles: Sequence[str], scenarios: Sequence[str], seed: int) -> list[CellPlan]:
    """The plan's cells, narrowed to the profiles and scenarios that are named. Raises BadInput."""
    path = _find(plan_name)
    _check_names("--scenario", scenarios, experiments.NAMES)

    # After the refusals that need none of these: they import NumPy and pydantic.
    from brokerbench.brokers import registry

    known = registry.profiles()
    _check_names("--profile", profiles, known)

    from brokerbench.scenarios.plans import plan, yaml_document

    try:
        document = plan.read(path, known)
    except yaml_document.DocumentError as problem:
        raise BadInput(str(problem)) from None
    # A profile that is named runs even where the plan leaves it out.
    every = list(dict.fromkeys((*registry.options(), *profiles)))
    found = plan.expand(document.value, every, seed, only_profiles=profiles, only_scenarios=scenarios)
    if not found:
        raise BadInput(f"nothing to run: {path} has no cell for that --profile and --scenario")
    return found


def choose_seed(given: int | None) -> int:
    return random.SystemRandom().randrange(2**31) if given is None else given


def _find(plan_name: str) -> Path:
    shipped = PLANS / f"{plan_name}.yaml"
    if shipped.parent == PLANS and shipped.is_file():
        return shipped
    path = Path(plan_name)
    if not path.exists():
        names = ", ".join(sorted(entry.stem for entry in PLANS.glob("*.yaml")))
        raise BadInput(f"no plan {plan_name!r}: neither a file nor one that ships ({names})")
    return path


def _check_names(option: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            from brokerbench.scenarios.plans import yaml_document

            raise BadInput(f"{option} {name}: no such name; {yaml_document.suggest(name, known)}")
