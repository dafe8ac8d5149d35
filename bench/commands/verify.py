"""Verifies one adapter with the conformance kit, on an engine provided as for a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

from brokerbench.bench import conformance
from brokerbench.bench.conformance import Context, Result, Status
from brokerbench.bench.engines.base import EngineChoice, Pausable, Restartable
from brokerbench.bench.run.session import Session, open_session, require_adapter
from brokerbench.brokers import registry


def verify(profile: str, choice: EngineChoice, done: Callable[[Result], None]) -> list[Result]:
    """Run all checks on one profile. Raises BadInput for an unknown one, EngineUnavailable."""
    require_adapter(profile)
    with open_session(choice) as session:
        return conformance.run(context(session, profile), conformance.CHECKS, done=done)


def context(session: Session, profile: str) -> Context:
    """The kit's context, once a message has passed through. Raises EngineUnavailable."""
    site = session.ready(profile)
    engine = site.running
    restart = engine.restart if isinstance(engine, Restartable) else None
    pause = partial(_paused, engine) if isinstance(engine, Pausable) else None
    connect = partial(registry.connect, profile, site.endpoint)
    with closing(connect()) as connection:
        declaration = connection.declaration()
    return Context(connect, declaration, session.prefix, restart, pause)


@contextmanager
def _paused(engine: Pausable) -> Iterator[None]:
    engine.pause()
    try:
        yield
    finally:
        engine.resume()


def as_json(profile: str, results: Sequence[Result]) -> dict[str, Any]:
    return {"profile": profile, "counts": _counts(results), "checks": [asdict(result) for result in results]}


def line(result: Result) -> str:
    """One check as text; a second line says why it did not pass."""
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
