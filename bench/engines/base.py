"""What an engine is: a running broker, however it was provided. Knows no adapter; they meet in the runner."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the command line needs the names here at once, and NumPy takes its time
    from brokers.types import Endpoint
    from scenarios.verdicts import Grade

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


def free_port() -> int:
    """A port of the loopback that nobody listens on now; another may take it before it is used."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log, joined."""
    try:
        text = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        text = []
    return " | ".join([line for line in text if line][-lines:]) or f"(nothing in {log.name})"
