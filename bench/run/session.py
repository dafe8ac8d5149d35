"""A session with brokers: a guard, engines started on demand, profiles proven ready; at the end nothing is left.

This is the one place where engines and adapters meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from brokerbench.bench import store
from brokerbench.bench.engines.base import EngineChoice, RunningEngine
from brokerbench.bench.engines.start import channel_prefix, start_engines
from brokerbench.bench.errors import BadInput, EngineUnavailable
from brokerbench.bench.guard import Guard
from brokerbench.bench.run import readiness
from brokerbench.brokers import registry
from brokerbench.brokers.errors import AdapterUnavailable, UnknownProfile
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios.results import Engine
from brokerbench.scenarios.verdicts import Grade


@dataclass(frozen=True, slots=True)
class Site:
    """Where a profile runs. ``engine`` is what answers there, as a result carries it."""

    profile: str
    endpoint: Endpoint
    engine: Engine
    running: RunningEngine | None
    """None for a profile that runs inside the client's process."""


class Session:
    """Engines under one guard. ``prefix`` begins the name of every channel of the session."""

    def __init__(self, guard: Guard, choice: EngineChoice, logs: Path, stack: ExitStack) -> None:
        self.guard, self.prefix = guard, channel_prefix(guard.run_id)
        self._choice, self._logs, self._stack = choice, logs, stack
        self._running: dict[str, RunningEngine] = {}
        self._probes = count()

    def start(self, brokers: Sequence[str]) -> None:
        """Start those that do not run yet, side by side. Raises EngineUnavailable; then none of them runs."""
        missing = [broker for broker in brokers if broker not in self._running]
        if missing:
            started = start_engines(missing, self._choice, self._logs, self.guard)
            for engine in started.values():
                self._stack.callback(engine.stop)
            self._running.update(started)

    def engine(self, broker: str) -> RunningEngine:
        """Started on first use. Raises EngineUnavailable."""
        self.start([broker])
        return self._running[broker]

    def ready(self, profile: str) -> Site:
        """The profile's site, once a message has come through. Raises EngineUnavailable."""
        broker = registry.adapter(profile).broker
        running = self.engine(broker) if broker is not None else None
        endpoint = running.endpoint if running else Endpoint(profile, f"{profile}://{self.guard.run_id}")
        try:
            version = readiness.prove(profile, endpoint, f"{self.prefix}ready{next(self._probes)}-{profile}")
        except readiness.NotReady as problem:
            raise EngineUnavailable(f"an engine started and does not work: {problem}") from problem
        engine = Engine(
            name=broker or profile,
            product=running.spec.product if running else profile,
            version=version,
            kind=running.kind.value if running else "in-process",
            grade=running.grade if running else Grade.MODEL,
            settings=dict(running.settings) if running else {},
        )
        return Site(profile, endpoint, engine, running)


@contextmanager
def open_session(choice: EngineChoice, run_id: str = "", logs: Path | None = None) -> Iterator[Session]:
    """At the end engines stop in order, the last one first; then the guard removes what the session made.

    Engines' logs go to ``logs``, which stays, or to a directory that goes with the guard.
    """
    with Guard.start(run_id or store.new_run_id(datetime.now(UTC))) as guard, ExitStack() as stack:
        yield Session(guard, choice, logs or guard.directory("logs"), stack)


def require_adapter(profile: str) -> None:
    """Raises BadInput for an unknown profile, EngineUnavailable where its client library does not import."""
    try:
        registry.load(profile)
    except UnknownProfile as problem:
        raise BadInput(str(problem)) from None
    except AdapterUnavailable as problem:
        raise EngineUnavailable(str(problem)) from None
