"""What an engine is: a running broker, however provided. Knows no adapter; they meet in ``bench.run.session``."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from brokerbench.bench.errors import BadInput

if TYPE_CHECKING:  # the command line needs the names here at once, and NumPy takes its time
    from brokerbench.bench.guard import Guard
    from brokerbench.brokers.types import Endpoint
    from brokerbench.scenarios.verdicts import Grade

LOOPBACK = "127.0.0.1"


class EngineChoice(StrEnum):
    """What a person asks for."""

    AUTO = "auto"
    NATIVE = "native"
    DOCKER = "docker"
    EXTERNAL = "external"


class EngineKind(StrEnum):
    """What a running engine is."""

    NATIVE = "native"
    DOCKER = "docker"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One broker as the catalogue has it. ``settings`` are the broker's own, as it is started with.

    ``package`` names what the native engine is made of; ``image`` is pinned.
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
    """What to run natively: its environment, the ports that it will listen on (clients' first), its clients' way in."""

    argv: Sequence[str]
    ports: Sequence[int]
    endpoint: Endpoint
    environment: Mapping[str, str] = field(default_factory=dict)


Recipe = Callable[[EngineSpec, Path, Path, "Guard"], Command]
"""From the spec, an empty directory of the engine's own, its log and the run's guard to the command that is run.

The directory goes with the guard. What has to run before (formatting a disk) is spawned by the guard and writes to the
log. Called again when a port was taken meanwhile.
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine from elsewhere: what it is, and how it is started natively."""

    spec: EngineSpec
    recipe: Recipe

    @property
    def name(self) -> str:
        return self.spec.name


class RunningEngine(Protocol):
    """A broker that is up, and what may be done to it."""

    @property
    def spec(self) -> EngineSpec: ...

    @property
    def kind(self) -> EngineKind: ...

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def grade(self) -> Grade: ...

    @property
    def settings(self) -> Mapping[str, str]: ...

    def alive(self) -> bool: ...

    def log_tail(self) -> str:
        """The last lines of its log, on one line; says so where there is none."""
        ...

    def stop(self) -> None:
        """In order, with all that it left behind. Idempotent."""
        ...


@runtime_checkable
class OnThisHost(Protocol):
    """An engine whose processes can be looked at."""

    def pid(self) -> int:
        """The first of its processes; the others descend from it."""
        ...


@runtime_checkable
class Restartable(Protocol):
    """An engine that can be stopped in order and started again: the same address, and what it keeps on disk."""

    def restart(self) -> None:
        """Returns when it listens again. Raises EngineUnavailable."""
        ...


@runtime_checkable
class Pausable(Protocol):
    """An engine that can be stopped from answering while its connections stay open."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


def free_port() -> int:
    """A port of the loopback that nobody listens on now; another may take it before it is used."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def port_of(spec: EngineSpec) -> int:
    """A free one, or the one that a person named in ``BROKERBENCH_<NAME>_PORT``. Raises BadInput when that is taken."""
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


def tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log, joined."""
    try:
        text = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        text = []
    return " | ".join([line for line in text if line][-lines:]) or f"(nothing in {log.name})"
