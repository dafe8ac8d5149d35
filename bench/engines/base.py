"""What an engine is: a running broker, however it was provided. Engines meet adapters in ``bench.run.session``."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from brokerbench.bench.errors import BadInput, EngineUnavailable

if TYPE_CHECKING:  # the command line needs the names here at once, and NumPy takes its time
    from brokerbench.bench.guard import Guard
    from brokerbench.brokers.types import Endpoint
    from brokerbench.scenarios.verdicts import Grade

LOOPBACK = "127.0.0.1"
_MORE_ATTEMPTS = 2
_LOOK_S = 0.05

Started = TypeVar("Started")


class EngineChoice(StrEnum):
    """How the user wants engines provided."""

    AUTO = "auto"
    NATIVE = "native"
    DOCKER = "docker"
    EXTERNAL = "external"


class EngineKind(StrEnum):
    """How a running engine was provided."""

    NATIVE = "native"
    DOCKER = "docker"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One broker of the catalogue. ``settings`` are the broker's own, with which it is started.

    ``package`` names the package of the native engine; ``image`` is pinned.
    """

    name: str
    product: str
    version: str
    grade: Grade
    package: str
    image: str
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Command:
    """A native program: its environment, the ports it will listen on (the clients' first), the clients' endpoint."""

    argv: Sequence[str]
    ports: Sequence[int]
    endpoint: Endpoint
    environment: Mapping[str, str] = field(default_factory=dict)


Recipe = Callable[[EngineSpec, Path, Path, "Guard"], Command]
"""From the spec, an empty directory of the engine's own, its log and the run's guard to the command to run.

The directory goes with the guard. Preparations (formatting a disk) are spawned by the guard and write to the log.
Called again when a port was taken meanwhile.
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine from a plug-in: its spec, and how it is started natively."""

    spec: EngineSpec
    recipe: Recipe

    @property
    def name(self) -> str:
        return self.spec.name


class RunningEngine(Protocol):
    """A broker that is up."""

    @property
    def spec(self) -> EngineSpec: ...

    @property
    def kind(self) -> EngineKind: ...

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def settings(self) -> Mapping[str, str]: ...

    def alive(self) -> bool: ...

    def log_tail(self) -> str:
        """The last lines of its log, on one line; says so where there is none."""
        ...

    def stop(self) -> None:
        """Stop in order and remove its files. Idempotent."""
        ...


@runtime_checkable
class OnThisHost(Protocol):
    """An engine whose processes can be inspected."""

    def pid(self) -> int:
        """The first of its processes; the others descend from it."""
        ...


@runtime_checkable
class Restartable(Protocol):
    """An engine that can be stopped in order and started again, with the same address and the data on its disk."""

    def restart(self) -> None:
        """Returns when it listens again. Raises EngineUnavailable."""
        ...


@runtime_checkable
class Pausable(Protocol):
    """An engine that can stop answering while its connections stay open."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


def free_port() -> int:
    """A free port of the loopback; another program may take it before it is used."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def port_of(spec: EngineSpec) -> int:
    """A free port, or the one in ``BROKERBENCH_<NAME>_PORT``. Raises BadInput when that is taken."""
    variable = f"BROKERBENCH_{spec.name.upper().replace('-', '_')}_PORT"
    named = os.environ.get(variable)
    if not named:
        return free_port()
    if not named.isdecimal() or not 0 < int(named) < 2**16:
        raise BadInput(f"{variable}={named}: must be a port number, 1 to 65535")
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, int(named)))
    except OSError as problem:
        raise BadInput(
            f"{variable}={named}: {LOOPBACK}:{named} cannot be had ({problem.strerror}); name another port, or none "
            "for a free one"
        ) from problem
    return int(named)


class PortTaken(EngineUnavailable):
    """Another program took the port between the look for a free one and the broker's start."""


def on_a_free_port(start: Callable[[], Started]) -> Started:
    """What ``start`` returns; it is called anew, with another port, when it raises PortTaken (twice at most)."""
    for _ in range(_MORE_ATTEMPTS):
        with contextlib.suppress(PortTaken):
            return start()
    return start()


def wait_until_up(engine: RunningEngine, up: Callable[[], bool], seconds: float) -> None:
    """Raises EngineUnavailable with the end of the log when the engine ends, or is not ``up`` within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not up():
        if not engine.alive():
            raise EngineUnavailable(f"{engine.spec.product} ended while it started: {engine.log_tail()}")
        if time.monotonic() > deadline:
            raise EngineUnavailable(f"{engine.spec.product} is not up after {seconds:g} s: {engine.log_tail()}")
        time.sleep(_LOOK_S)


def tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log, joined."""
    try:
        text = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        text = []
    return " | ".join([line for line in text if line][-lines:]) or f"nothing in {log.name}"
