"""Starts the engines of a run side by side, each by the way that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.engines import catalogue, external, native
from bench.engines.base import EngineChoice, EngineSpec, RunningEngine
from bench.guard import Guard

Starter = Callable[[EngineSpec, Path, Guard], RunningEngine]


def start_engines(names: Sequence[str], choice: EngineChoice, logs: Path, guard: Guard) -> Mapping[str, RunningEngine]:
    """All of them or none: when one does not start, the others are stopped and its EngineUnavailable is raised."""
    starters: Mapping[EngineChoice, Starter] = {
        EngineChoice.NATIVE: native.start,
        EngineChoice.DOCKER: _docker,
        EngineChoice.EXTERNAL: lambda spec, logs, guard: external.connect(spec),
        EngineChoice.AUTO: _auto,
    }
    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        begun = {name: pool.submit(starters[choice], catalogue.ENGINES[name], logs, guard) for name in names}
    problems = [problem for future in begun.values() if (problem := future.exception())]
    if problems:
        for future in begun.values():
            if not future.exception():
                future.result().stop()
        raise problems[0]
    return {name: future.result() for name, future in begun.items()}


def _docker(spec: EngineSpec, logs: Path, guard: Guard) -> RunningEngine:
    from bench.engines import docker  # testcontainers is slow to import and not always wanted

    return docker.start(spec, logs, guard)


def _auto(spec: EngineSpec, logs: Path, guard: Guard) -> RunningEngine:
    """Docker where a daemon answers and has the image, else native."""
    from bench.engines import docker

    return docker.start(spec, logs, guard) if docker.available(spec) else native.start(spec, logs, guard)
