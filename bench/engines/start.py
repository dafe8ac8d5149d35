"""Starts the engines of a run side by side, each by the way that was asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from brokerbench.bench import children
from brokerbench.bench.engines import catalogue, external, native
from brokerbench.bench.engines.base import EngineChoice, EngineSpec, RunningEngine
from brokerbench.bench.errors import BadInput
from brokerbench.bench.guard import Guard

Starter = Callable[[EngineSpec, Path, Guard], RunningEngine]
OPINION = "BROKERBENCH_SQS_ENGINE"
"""``elasticmq``: the second emulator of SQS instead of the first, to see what only one of them does."""


def channel_prefix(run_id: str) -> str:
    """Begins the name of every channel that a run creates."""
    return f"bb-{run_id}-"


def start_engines(names: Sequence[str], choice: EngineChoice, logs: Path, guard: Guard) -> Mapping[str, RunningEngine]:
    """All of them or none: when one does not start, the others are stopped and its EngineUnavailable is raised."""
    specs = [_spec(name, choice) for name in names]
    starters: Mapping[EngineChoice, Starter] = {
        EngineChoice.NATIVE: native.start,
        EngineChoice.DOCKER: _docker,
        EngineChoice.EXTERNAL: _external,
        EngineChoice.AUTO: _auto,
    }
    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        begun = {
            name: pool.submit(starters[choice], spec, logs, guard) for name, spec in zip(names, specs, strict=True)
        }
    problems = [problem for future in begun.values() if (problem := future.exception())]
    if problems:
        for future in begun.values():
            if not future.exception():
                future.result().stop()
        raise problems[0]
    return {name: future.result() for name, future in begun.items()}


def _spec(name: str, choice: EngineChoice) -> EngineSpec:
    """The catalogue's engine for a broker, or the second opinion that a person asked for."""
    first, second = catalogue.spec(name), catalogue.SECOND_OPINIONS.get(name)
    wanted = os.environ.get(OPINION, "")
    if second is None or choice is EngineChoice.EXTERNAL or wanted in ("", "localstack"):
        return first
    if wanted != second.name:
        raise BadInput(f"{OPINION}={wanted}: must be localstack or {second.name}")
    if choice is EngineChoice.DOCKER:
        raise BadInput(f"{OPINION}={wanted} runs natively only: use --engine native")
    return second


def _external(spec: EngineSpec, logs: Path, guard: Guard) -> RunningEngine:
    _require_built_in(spec, EngineChoice.EXTERNAL)
    engine = external.connect(spec)
    guard.note_remote(children.command("bench.run.remove_channels", spec.name, channel_prefix(guard.run_id)))
    return engine


def _require_built_in(spec: EngineSpec, choice: EngineChoice) -> None:
    if spec.name not in catalogue.ENGINES:
        raise BadInput(f"{spec.name} comes from elsewhere and runs natively only, not with --engine {choice}")


def _docker(spec: EngineSpec, logs: Path, guard: Guard) -> RunningEngine:
    from brokerbench.bench.engines import docker  # testcontainers is slow to import and not always wanted

    _require_built_in(spec, EngineChoice.DOCKER)
    return docker.start(spec, logs, guard)


def _auto(spec: EngineSpec, logs: Path, guard: Guard) -> RunningEngine:
    """Docker where a daemon answers and has the image, else native."""
    from brokerbench.bench.engines import docker

    in_docker = spec.name in catalogue.ENGINES and docker.available(spec)
    return docker.start(spec, logs, guard) if in_docker else native.start(spec, logs, guard)
