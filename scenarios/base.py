"""Scenarios, the context in which they run, and the load processes that they may start.

A ``Scenario`` has a ``check`` of its parameters before anything starts, a ``run`` that acts and records, and a pure
``examine`` that turns a history into findings and metrics. Nothing is judged during a run: ``examine`` works from the
saved history alone, so a better checker can examine a saved run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from brokerbench.brokers.declarations import Limits, ProfileDeclaration
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios.history import History, Writer
from brokerbench.scenarios.verdicts import Finding

Parameters = Mapping[str, Any]
Progress = Callable[[float, str], None]
"""(share done 0..1, what is running now)."""

_SMALL_REQUEST_S = 0.12
"""Seconds for one request that holds few messages, all its steps: measured on an emulator, seven cells beside it."""


class Worker(Protocol):
    """A load process, as its body sees it: connections, commands, and a way to report."""

    def connect(self) -> Broker:
        """A new connection under the profile that the process was started for; the body closes it."""
        ...

    def connect_noop(self) -> Broker:
        """A connection to the profile that does nothing, to measure the body's own ceiling."""
        ...

    def next_command(self) -> Any:
        """Wait for the next command. ``None``: there are no more, and the body returns."""
        ...

    def told(self) -> bool:
        """Whether a command waits to be executed."""
        ...

    def report(self, report: Any) -> None:
        """Report to the controller; anything that pickles."""
        ...

    def cpu_ns(self) -> int:
        """CPU time of the whole load process so far, its client library's threads included."""
        ...


class LoadProcess(Protocol):
    """A running load process. It ends with the process that started it, however that ends."""

    def command(self, command: Any) -> None:
        """Hand over a command (anything that pickles but None). Raises LoadFailed."""
        ...

    def report(self, timeout_s: float) -> Any:
        """The body's next report. Raises LoadFailed when the process is lost; TimeoutError when it is late."""
        ...

    def wait(self, timeout_s: float) -> None:
        """No more commands: wait for the end.

        Raises LoadFailed with the process's own message when it fails; TimeoutError when it is late.
        """
        ...

    def kill(self) -> None:
        """SIGKILL, now."""
        ...


class LoadFailed(RuntimeError):
    """A load process ended with an error or was lost. The message is fit for a report."""


class Load(Protocol):
    """Starts load processes.

    ``body`` is ``"module:function"`` in ``scenarios``, called with a ``Worker`` and the arguments, which must pickle.
    """

    def start(self, body: str, profile: str, endpoint: Endpoint, arguments: Mapping[str, Any]) -> LoadProcess: ...


@dataclass(frozen=True, slots=True)
class BrokerUsage:
    """Resources that a broker's processes have used since they began, and the memory that they hold now.

    ``network_bytes``: all traffic of this host's loopback, also of other processes, as no system counts it by process.
    ``disk_bytes``: bytes that the first process handed to the disk; the kernel may still hold some back.
    """

    cpu_ns: int
    resident_bytes: int
    disk_bytes: int
    network_bytes: int


@dataclass(frozen=True, slots=True)
class MachineUsage:
    """CPU time of this machine's cores at one moment, in seconds since it began.

    ``programs_s``: of all programs. ``ours_s``: of the run, its broker and the kernel's threads, None where these
    cannot be told from others. ``throttled_s``: held back by a limit of the control group. Pressures (the time in which
    some program waited) are None where the system does not tell.
    """

    at_s: float
    cores: int
    programs_s: float
    ours_s: float | None
    stolen_s: float
    throttled_s: float
    cpu_pressure_s: float | None
    io_pressure_s: float | None


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that one cell may use.

    ``connect`` opens a further connection (one for each thread or load process that needs its own);
    ``profile`` and ``endpoint`` let a load process open its own. ``channel_prefix`` begins the name of every channel
    that the cell creates; the runner deletes all channels with that prefix afterwards, whatever happens.
    ``run`` is the number in the stamps of this cell's messages, which no other cell has.
    """

    profile: str
    parameters: Parameters
    seed: int
    run: int
    broker: Broker
    declaration: ProfileDeclaration
    endpoint: Endpoint
    connect: Callable[[], Broker]
    channel_prefix: str
    history_directory: Path
    load: Load
    progress: Progress
    engine_use: Callable[[], BrokerUsage | None] = lambda: None
    """None where the broker's processes cannot be inspected: in this process, or on another host."""
    machine_use: Callable[[], MachineUsage | None] = lambda: None
    """None where it is not looked at."""

    def writer(self, name: str) -> Writer:
        """A new part of the history; ``name`` is unique within the cell."""
        return Writer(self.history_directory, name, self.run)

    @contextmanager
    def thread(self, name: str) -> Iterator[tuple[Broker, Writer]]:
        """A connection and a new part of the history, for one thread."""
        broker = self.connect()
        try:
            with self.writer(name) as writer:
                yield broker, writer
        finally:
            broker.close()


@dataclass(frozen=True, slots=True)
class Sends:
    """The fates of all sends of a figure or of a cell. Those neither rejected nor unknown were acknowledged.

    ``reasons``: the first reason that was given for an outcome, by its name (``rejected``, ``unknown``).
    """

    sent: int
    rejected: int = 0
    unknown: int = 0
    rejected_bytes: int = 0
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def acknowledged(self) -> int:
        return self.sent - self.rejected - self.unknown


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric: samples in ``unit``, warm-up samples apart, labels that distinguish it from its siblings.

    ``better`` is "higher", "lower" or "" (neither, a description). ``limited_by`` names what limited it, where
    that was not the broker (``"generator"``): such a figure ranks nothing. One that is not ``comparable`` ranks
    nothing either, and is compared with no other build's; ``note`` gives the reason. One in ``doubt`` (the reason, in
    words: its windows were disturbed) is not comparable. ``sends``: the fates of the sends behind a rate.
    """

    name: str
    unit: str
    samples: tuple[float, ...]
    labels: Mapping[str, str | int | float] = field(default_factory=dict)
    warmup: tuple[float, ...] = ()
    better: str = ""
    limited_by: str = ""
    note: str = ""
    comparable: bool = True
    doubt: str = ""
    sends: Sends | None = None


@dataclass(frozen=True, slots=True)
class Examination:
    """What a history shows: facts, not verdicts.

    ``left_out``: what the experiment was asked for and does not show -> why, or what is shown instead.
    """

    findings: Sequence[Finding]
    metrics: Sequence[Measured]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One experiment, as the catalogue hands it out."""

    name: str
    summary: str
    defaults: Parameters
    """Every parameter with its default; an unknown parameter in a plan is an error."""
    off_at_zero: frozenset[str] = frozenset()
    """Parameters of which 0 switches something off; any other number whose default is above 0 must be so too."""
    properties: tuple[str, ...]
    """Every property that ``examine`` answers for, on every profile: none may be missing in silence."""
    also: tuple[str, ...] = ()
    """Further properties, of which ``examine`` answers for those that fit the parameters."""
    alone: bool = False
    """True when it measures speed: nothing else may run beside it."""
    expected_s: Callable[[Parameters, Limits | None], float]
    """Rough length on a profile with these limits (None: unknown). For progress bars and the order of cells."""
    check: Callable[[Parameters], None]
    """Before anything starts. Raises ValueError for values that cannot be honoured, or contradict each other."""
    fits: Callable[[Parameters, Limits | None], None] = lambda parameters, limits: None
    """As ``check``, for a profile with these limits (None: unknown), on the host that reads a log."""
    run: Callable[[Context], None]
    examine: Callable[[History], Examination]


def small_requests_s(messages: float, limits: Limits | None) -> float:
    """Seconds that a profile needs for this many messages beyond the usual, where its requests hold few each."""
    most = limits.max_request_messages if limits else None
    return _SMALL_REQUEST_S * messages / most if most else 0.0
