"""A session with brokers: a guard, engines started on demand, profiles proven ready; at the end nothing is left.

Engines start side by side, each by the way that was asked for. A real message proves a profile ready: created, sent,
received, equal, acknowledged, removed. This is the one place where engines and adapters meet.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from brokerbench.bench import children, store
from brokerbench.bench.engines import catalogue, external, native
from brokerbench.bench.engines.base import EngineChoice, EngineKind, EngineSpec, RunningEngine
from brokerbench.bench.errors import BadInput, EngineUnavailable
from brokerbench.bench.guard import Guard
from brokerbench.brokers import registry
from brokerbench.brokers.errors import AdapterUnavailable, BrokerError, UnknownProfile, Unreachable
from brokerbench.brokers.protocols import Broker, Configured
from brokerbench.brokers.types import Batch, ChannelSpec, ConsumerSettings, Endpoint, Outcome, ProducerSettings
from brokerbench.scenarios.results import Engine
from brokerbench.scenarios.verdicts import Grade

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
    if first.name not in catalogue.ENGINES and choice in (EngineChoice.DOCKER, EngineChoice.EXTERNAL):
        raise BadInput(f"{first.name} comes from elsewhere and runs natively only, not with --engine {choice}")
    wanted = os.environ.get(OPINION, "")
    if second is None or choice is EngineChoice.EXTERNAL or wanted in ("", "localstack"):
        return first
    if wanted != second.name:
        raise BadInput(f"{OPINION}={wanted}: must be localstack or {second.name}")
    if choice is EngineChoice.DOCKER:
        raise BadInput(f"{OPINION}={wanted} runs natively only: use --engine native")
    return second


def _external(spec: EngineSpec, logs: Path, guard: Guard) -> RunningEngine:
    engine = external.connect(spec)
    guard.note_remote(children.command("bench.run.remove_channels", spec.name, channel_prefix(guard.run_id)))
    return engine


def _docker(spec: EngineSpec, logs: Path, guard: Guard) -> RunningEngine:
    from brokerbench.bench.engines import docker  # testcontainers is slow to import and not always wanted

    return docker.start(spec, logs, guard)


def _auto(spec: EngineSpec, logs: Path, guard: Guard) -> RunningEngine:
    """Docker where a daemon answers and has the image, else native."""
    from brokerbench.bench.engines import docker

    in_docker = spec.name in catalogue.ENGINES and docker.available(spec)
    return docker.start(spec, logs, guard) if in_docker else native.start(spec, logs, guard)


_PAYLOAD = b"brokerbench: are you ready?"


class NotReady(RuntimeError):
    """The engine runs, but a message does not pass through. The error names the step that failed."""


def prove(profile: str, endpoint: Endpoint, channel: str, timeout_s: float = 60.0) -> str:
    """Pass one message through the broker; returns the version that the broker answers. Raises NotReady."""
    deadline = time.monotonic() + timeout_s
    broker = _connect(profile, endpoint, deadline)
    try:
        broker.create_channel(ChannelSpec(channel))
        try:
            _pass_one(broker, channel, deadline)
        finally:
            broker.delete_channel(channel)
        return broker.server_version()
    except BrokerError as error:
        raise NotReady(f"{profile} on {endpoint.broker}: {error}") from error
    finally:
        broker.close()


def _told(profile: str, endpoint: Endpoint) -> Mapping[str, str]:
    """The settings that the broker tells, as far as the profile's declaration depends on them."""
    with closing(registry.connect(profile, endpoint)) as broker:
        return broker.settings() if isinstance(broker, Configured) else {}


def _connect(profile: str, endpoint: Endpoint, deadline: float) -> Broker:
    """Try until the deadline: a port may be open before the broker answers."""
    while True:
        try:
            return registry.connect(profile, endpoint)
        except Unreachable as error:
            if time.monotonic() > deadline:
                raise NotReady(f"{profile}: {error}") from error
            time.sleep(0.2)
        except BrokerError as error:
            raise NotReady(f"{profile}: {error}") from error


def _pass_one(broker: Broker, channel: str, deadline: float) -> None:
    producer = broker.producer(channel, ProducerSettings(timeout_s=10.0))
    producer.send(Batch([_PAYLOAD], [b"ready"]))
    settled = producer.flush(10.0)
    producer.close()
    if list(settled.outcomes) != [Outcome.ACKNOWLEDGED]:
        raise NotReady(f"a message was sent and not acknowledged: {dict(settled.errors)}")
    consumer = broker.consumer(channel, ConsumerSettings(group="ready"))
    try:
        while time.monotonic() < deadline:
            received = consumer.receive(1, 1.0)
            if len(received):
                if received.payloads[0] != _PAYLOAD:
                    raise NotReady("the message came back altered")
                consumer.acknowledge(received)
                return
        raise NotReady("a message was acknowledged and did not arrive")
    finally:
        consumer.close()


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
            version = prove(profile, endpoint, f"{self.prefix}ready{next(self._probes)}-{profile}")
            # A run starts its own engines with settings that it knows.
            told = _told(profile, endpoint) if running and running.kind is EngineKind.EXTERNAL else {}
        except (NotReady, BrokerError) as problem:
            raise EngineUnavailable(f"an engine started and does not work: {problem}") from problem
        engine = Engine(
            name=broker or profile,
            product=running.spec.product if running else profile,
            version=version,
            kind=running.kind.value if running else "in-process",
            grade=running.spec.grade if running else Grade.MODEL,
            settings={**running.settings, **told} if running else {},
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
