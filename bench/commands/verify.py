"""Verifies one adapter with the conformance kit, on an engine that is provided as for a run."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from brokerbench.bench import conformance, store
from brokerbench.bench.conformance import Context, Result, Status
from brokerbench.bench.engines.base import EngineChoice, Pausable, Restartable, RunningEngine
from brokerbench.bench.engines.start import channel_prefix, start_engines
from brokerbench.bench.errors import BadInput, EngineUnavailable
from brokerbench.bench.guard import Guard
from brokerbench.bench.run import readiness
from brokerbench.brokers import registry
from brokerbench.brokers.errors import AdapterUnavailable, UnknownProfile
from brokerbench.brokers.types import Endpoint


def verify(profile: str, choice: EngineChoice, done: Callable[[Result], None]) -> list[Result]:
    """All checks on one profile. Raises BadInput for an unknown one, EngineUnavailable."""
    try:
        adapter = registry.adapter(profile)
        registry.load(profile)
    except UnknownProfile as problem:
        raise BadInput(str(problem)) from None
    except AdapterUnavailable as problem:
        raise EngineUnavailable(str(problem)) from None
    with Guard.start(store.new_run_id(datetime.now(UTC))) as guard, _logs() as logs:
        prefix = channel_prefix(guard.run_id)
        if adapter.broker is None:
            return conformance.run(context(profile, prefix, None), conformance.CHECKS, done=done)
        engine = start_engines([adapter.broker], choice, logs, guard)[adapter.broker]
        try:
            return conformance.run(context(profile, prefix, engine), conformance.CHECKS, done=done)
        finally:
            engine.stop()


def context(profile: str, prefix: str, engine: RunningEngine | None) -> Context:
    """What the kit needs, once a message has come through. Raises EngineUnavailable."""
    endpoint = engine.endpoint if engine is not None else Endpoint(profile, f"{profile}://{prefix}")
    try:
        readiness.prove(profile, endpoint, f"{prefix}ready-{profile}")
    except readiness.NotReady as problem:
        raise EngineUnavailable(f"an engine started and does not work: {problem}") from problem
    restart = engine.restart if isinstance(engine, Restartable) else None
    pause = partial(_paused, engine) if isinstance(engine, Pausable) else None
    connect = partial(registry.connect, profile, endpoint)
    connection = connect()
    declaration = connection.declaration()
    connection.close()
    return Context(connect, declaration, prefix, restart, pause)


@contextmanager
def _paused(engine: Pausable) -> Iterator[None]:
    engine.pause()
    try:
        yield
    finally:
        engine.resume()


@contextmanager
def _logs() -> Iterator[Path]:
    """Of the engine, for as long as it runs: what went wrong is quoted from them."""
    directory = Path(tempfile.mkdtemp(prefix="brokerbench-verify-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def as_json(profile: str, results: Sequence[Result]) -> dict[str, Any]:
    return {"profile": profile, "counts": _counts(results), "checks": [asdict(result) for result in results]}


def line(result: Result) -> str:
    """One check for a person; a second line says why it did not pass."""
    detail = f"\n        {result.detail}" if result.detail else ""
    return f"{result.status:<7} {result.name}: {result.sentence}{detail}"


def text(profile: str, results: Sequence[Result]) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in _counts(results).items())
    return "\n".join([*map(line, results), f"{profile}: {counts}"])


def failed(results: Sequence[Result]) -> list[str]:
    return [result.name for result in results if result.status is Status.FAILED]


def _counts(results: Sequence[Result]) -> dict[str, int]:
    counts = Counter(result.status for result in results)
    return {status.value: counts[status] for status in Status}
