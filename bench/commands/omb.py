"""Workloads of the OpenMessaging Benchmark on the command line: their files in, their result files out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brokerbench.bench import seal, store
from brokerbench.bench.errors import BadInput
from brokerbench.brokers import registry
from brokerbench.brokers.types import AckGranularity
from brokerbench.scenarios import units
from brokerbench.scenarios.history import saved_history
from brokerbench.scenarios.history.stamp import SIZE
from brokerbench.scenarios.omb import driver_file, test_result, workload_file
from brokerbench.scenarios.omb.test_result import About
from brokerbench.scenarios.plans import yaml_document
from brokerbench.scenarios.plans.plan import CellPlan, cell_seed
from brokerbench.scenarios.results import Cell, RunResult

SPEEDS = ("latency", "throughput")
_SLACK = 2.0
_SLACK_S = 900.0
_COMMIT_EVERY = 10


@dataclass(frozen=True, slots=True)
class Files:
    """Files that the command line names. ``duration``: such as ``2 s``, instead of the workload's own."""

    workload: Path
    driver: Path | None
    duration: str | None


@dataclass(frozen=True, slots=True)
class OmbPlan:
    """``notices`` are shown before the cells run. A cell that takes longer than ``timeout_s`` has failed."""

    cells: list[CellPlan]
    notices: list[str]
    timeout_s: float


def omb_plan(files: Files, profiles: Sequence[str], default: Sequence[str], seed: int) -> OmbPlan:
    """One cell for each profile: the named ones, else the driver's, else ``default``. Raises BadInput."""
    try:
        document = yaml_document.read(files.workload, workload_file.Workload)
        driver = driver_file.read(files.driver) if files.driver else None
        if document.value.messageSize < SIZE:
            raise document.error(("messageSize",), f"messageSize must be at least {SIZE}: that is the measuring stamp")
        duration_s = None if files.duration is None else units.parse("--omb-duration_s", files.duration)
        if duration_s == 0:
            raise ValueError("--omb-duration must be greater than 0")
        try:
            mapped = workload_file.mapped(document.value, files.workload, driver, duration_s)
        except workload_file.IncompatibleField as misfit:
            raise document.error((misfit.field,), str(misfit)) from None
    except ValueError as problem:
        raise BadInput(str(problem).replace("--omb-duration_s", "--omb-duration")) from None
    named = profiles or ([driver.profile] if driver and driver.profile else default)
    cells = [
        CellPlan(name, profile, mapped.scenario, {**mapped.parameters, **_commits(profile)}, cell_seed(seed, name))
        for profile in named
        for name in [f"{profile}.{mapped.scenario}"]
    ]
    notices = [f"{files.workload}: {note}" for note in mapped.notes]
    notices += [f"{files.workload}: not honoured: {name}: {instead}" for name, instead in mapped.not_honoured.items()]
    timed_s = sum(float(mapped.parameters.get(name, 0.0)) for name in ("window_s", "rate_warmup_s", "warmup_s"))
    backlog_s = 4 * float(mapped.parameters.get("away_s", 0.0))
    return OmbPlan(cells, notices, _SLACK * (timed_s + backlog_s) + _SLACK_S)


def _commits(profile: str) -> Mapping[str, int]:
    """Commit every tenth batch: its drivers do not wait for commits, and waiting after each batch would be slower."""
    declared = registry.declared(profile)
    up_to_position = declared is not None and declared.limits.ack_granularity is AckGranularity.UP_TO_POSITION
    return {"acknowledge_every": _COMMIT_EVERY} if up_to_position else {}


def write(result: RunResult, directory: Path, path: Path, option: str) -> list[Path]:
    """One ``TestResult`` for each cell that measured speed: to ``path``; of several, each to one beside it.

    Raises BadInput where there is none, or where it cannot be written.
    """
    cells = [cell for cell in result.cells if cell.scenario in SPEEDS and cell.status == "completed"]
    written, reasons = list[Path](), list[str]()
    for cell in cells:
        target = path if len(cells) == 1 else path.with_name(f"{path.stem}-{cell.id}{path.suffix}")
        try:
            sealed = store.cell_directory(directory, cell.id)
            seal.check(sealed)
            content = test_result.as_test_result(saved_history.load(sealed / "history"), _about(cell))
        except ValueError as problem:
            reasons.append(f"{cell.id}: {problem}")
            continue
        if missing := {**cell.parameters.get("omb", {}).get("not_honoured", {}), **cell.left_out}:
            content["notHonoured"] = missing
        store.write_named(option, target, json.dumps(content, indent=2) + "\n")
        written.append(target)
    if not written:
        raise BadInput(f"{option}: nothing to write: {'; '.join(reasons) or 'no cell that measured speed'}")
    return written


def _about(cell: Cell) -> About:
    """Description of a cell: from its workload file, else from its parameters."""
    theirs = cell.parameters.get("omb", {})
    workload = theirs.get("workload", {})
    return About(
        workload=workload.get("name") or cell.scenario,
        driver=theirs.get("driver") or cell.profile,
        message_size=cell.parameters["size"],
        topics=1,
        partitions=cell.parameters["partitions"],
        producers_per_topic=cell.parameters["producers"],
        consumers_per_topic=cell.parameters["consumers"],
    )
