"""One round of measurements of a build, from a run or from pytest-benchmark.

A round holds three sorts of fact. *Conditions* must be alike on both sides, or no conclusion is possible: machine,
engine and its settings, grade, parameters. *Notes* may differ, and are reported: the build itself, its packages.
*Outcomes* are compared: verdicts, failures, speeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brokerbench.scenarios.results import Cell, Client, Engine, Environment, Metric, RunResult
from brokerbench.scenarios.verdicts import Verdict

Facts = Mapping[str, str]

CLIENT = "client"
"""A condition of a cell that runs of earlier versions do not state: then it is a note alone."""
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Series:
    """Repeats of one quantity in one round, in order of time. ``what`` tells it from the cell's others."""

    cell: str
    what: str
    unit: str
    better: Literal["higher", "lower"]
    samples: tuple[float, ...]
    limited_by: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """One verdict of one cell, with the declaration: a build may change either."""

    cell: str
    property: str
    verdict: Verdict
    declared: str
    reason: str


@dataclass(frozen=True, slots=True)
class Round:
    """``conditions`` hold for the whole round, ``cells`` for each cell; ``failed`` is cell -> error."""

    source: str
    created: str
    kind: Literal["run", "pytest-benchmark"]
    conditions: Facts
    notes: Facts
    cells: Mapping[str, Facts]
    failed: Facts = field(default_factory=dict)
    cut_short: bool = False
    verdicts: tuple[Judged, ...] = ()
    series: tuple[Series, ...] = ()


def of_run(result: RunResult, source: str) -> Round:
    """A run of brokerbench. ``source`` names it in messages."""
    engines = {engine.name: engine for engine in result.engines}
    return Round(
        source=source,
        created=result.created,
        kind="run",
        conditions=_host_class(result.environment),
        notes={**_build(result.environment), "seed": str(result.seed)},
        cells={
            cell.id: _cell_conditions(cell, engines.get(cell.engine), result.environment.clients.get(cell.profile))
            for cell in result.cells
        },
        failed={cell.id: cell.failure for cell in result.cells if cell.status == "failed"},
        cut_short=not result.complete,
        verdicts=tuple(
            Judged(cell.id, row.property, row.verdict, _declared(row.declared.model_dump()), row.reason)
            for cell in result.cells
            for row in cell.verdicts
        ),
        series=tuple(_series(cell, metric) for cell in result.cells for metric in cell.metrics if _compared(metric)),
    )


def _host_class(environment: Environment) -> Facts:
    return {
        "host: system": environment.system,
        "host: machine": environment.machine,
        "host: processor": environment.cpu_model,
        "host: cores": str(environment.cpu_count),
        # The memory that a kernel reserves differs between starts of one machine.
        "host: memory": f"{round(environment.memory_bytes / _GIB)} GiB",
    }


def _build(environment: Environment) -> Facts:
    packages = {f"package {name}": version for name, version in environment.packages.items()}
    clients = {f"client of {profile}": f"{used.name} ({used.reason})" for profile, used in environment.clients.items()}
    return {"code revision": environment.code_revision, "Python": environment.python, **packages, **clients}


def _cell_conditions(cell: Cell, engine: Engine | None, client: Client | None) -> Facts:
    parameters = {f"parameter {name}": str(value) for name, value in cell.parameters.items()}
    about = {"profile": cell.profile, "scenario": cell.scenario, "grade": cell.grade.value}
    if client is not None:
        about[CLIENT] = client.name
    if engine is None:
        return {**about, "engine": cell.engine, **parameters}
    settings = {f"engine setting {name}": value for name, value in engine.settings.items()}
    version = {"engine": engine.product, "engine version": engine.version, "engine kind": engine.kind}
    return {**about, **version, **settings, **parameters}


def _declared(declared: Mapping[str, Any]) -> str:
    """In one text, without the note."""
    bounds = [f"{name} {declared[name]:g}" for name in ("low", "high") if declared[name] is not None]
    return ", ".join([str(declared["support"]), f"by the {declared['provided_by']}", *bounds])


def _compared(metric: Metric) -> bool:
    """Whether it is a speed that means something by itself. A rate in bytes is the one in messages times the size."""
    speed = metric.name.endswith(("_rate", "_latency"))
    return speed and metric.comparable and bool(metric.better and metric.samples)


def _series(cell: Cell, metric: Metric) -> Series:
    """Named by the labels that are no parameters of the cell: parameters are alike on both sides.

    A label may differ from its parameter, where a profile did not honour the parameter.
    """
    own = {name: value for name, value in metric.labels.items() if name not in cell.parameters}
    labels = ", ".join(f"{name} {value}" for name, value in sorted(own.items()))
    what = f"{metric.name} ({labels})" if labels else metric.name
    better: Literal["higher", "lower"] = "higher" if metric.better == "higher" else "lower"
    return Series(cell.id, what, metric.unit, better, tuple(metric.samples), metric.limited_by)


class _Lenient(BaseModel):
    """A part of another tool's file; fields that are not needed are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Cpu(_Lenient):
    brand_raw: str = "unknown"
    count: int = 0


class _Machine(_Lenient):
    machine: str
    system: str
    release: str
    python_implementation: str
    python_version: str
    cpu: _Cpu = _Cpu()


class _Commit(_Lenient):
    id: str | None = None


class _Stats(_Lenient):
    data: list[float] = Field(default_factory=list)


class _Benchmark(_Lenient):
    fullname: str
    params: dict[str, Any] | None = None
    extra_info: dict[str, Any] = Field(default_factory=dict)
    stats: _Stats


class BenchmarkFile(_Lenient):
    """A JSON file of pytest-benchmark (``--benchmark-json``, or ``--benchmark-save`` and ``--benchmark-save-data``)."""

    machine_info: _Machine
    commit_info: _Commit = _Commit()
    benchmarks: list[_Benchmark]
    datetime: str


CONDITIONS, MESSAGES = "conditions", "messages"
"""Keys of ``extra_info``: facts that must be alike, and the number of messages of one timing."""


def of_benchmarks(content: bytes, source: str) -> Round:
    """A JSON file of pytest-benchmark. Raises ValueError for any other file, or one without its single timings."""
    try:
        file = BenchmarkFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "top level"
        raise ValueError(f"{source}: not a file of pytest-benchmark: at {where}: {first['msg']}") from None
    for entry in file.benchmarks:
        if not entry.stats.data:
            raise ValueError(f"{source}: {entry.fullname} has no single timings: write them with --benchmark-json")
    machine = file.machine_info
    return Round(
        source=source,
        created=file.datetime,
        kind="pytest-benchmark",
        conditions={
            "host: system": f"{machine.system} {machine.release}",
            "host: machine": machine.machine,
            "host: processor": machine.cpu.brand_raw,
            "host: cores": str(machine.cpu.count),
        },
        notes={
            "code revision": file.commit_info.id or "unknown",
            "Python": f"{machine.python_implementation} {machine.python_version}",
        },
        cells={entry.fullname: _benchmark_conditions(entry) for entry in file.benchmarks},
        series=tuple(_timings(file.benchmarks)),
    )


def _benchmark_conditions(entry: _Benchmark) -> Facts:
    parameters = {f"parameter {name}": str(value) for name, value in (entry.params or {}).items()}
    parameters[MESSAGES] = str(entry.extra_info.get(MESSAGES, "none"))
    stated = entry.extra_info.get(CONDITIONS, {})
    return {**parameters, **({name: str(value) for name, value in stated.items()} if isinstance(stated, dict) else {})}


def _timings(benchmarks: Iterable[_Benchmark]) -> Iterable[Series]:
    """A rate where the benchmark gives the number of messages of a timing, else a time."""
    for entry in benchmarks:
        messages = entry.extra_info.get(MESSAGES)
        if isinstance(messages, int) and messages > 0:
            rates = tuple(messages / timing for timing in entry.stats.data)
            yield Series(entry.fullname, "rate", "msg/s", "higher", rates)
        else:
            yield Series(entry.fullname, "time", "s", "lower", tuple(entry.stats.data))
