"""Commands to load processes, which ``bodies`` executes one by one, and the wait for their reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from brokerbench.scenarios.base import LoadProcess
from brokerbench.scenarios.load.schedule import Schedule
from brokerbench.scenarios.metrics.own_time import OwnTime

PRODUCER = "brokerbench.scenarios.load.bodies:produce"
CONSUMER = "brokerbench.scenarios.load.bodies:consume"
"""Paths of the bodies, for ``Load.start``."""


@dataclass(frozen=True, slots=True)
class OpenProducer:
    """Open a producer for one batch size. ``number``: its number in the history. Reports True.

    ``in_flight``: most unanswered messages. A closed loop has few: otherwise a slow broker's queue grows within its
    client, and the rate measured is that of filling it.
    """

    channel: str
    number: int
    batch: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class OpenConsumer:
    """Open the consumer. ``acknowledge_every``: batches that one acknowledgement covers. Reports True."""

    channel: str
    number: int
    group: str = "brokerbench"
    acknowledge_every: int = 1


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish from ``start_ns`` until ``end_ns`` (monotonic), then flush. Reports Published."""

    window: int
    batch: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Publish when messages are due, in batches of at most ``batch``, then flush. Reports Published.

    Late messages are sent at once: the schedule does not wait for the broker. Those that are not sent ``overrun_s``
    after the schedule's end, or when told to halt, are never sent: they are counted. A message that is more than
    ``late_after_ns`` late by the generator's own doing counts against it.
    ``clock_ahead_ns``: how far the process' monotonic clock is ahead of the cell's.
    """

    window: int
    batch: int
    start_ns: int
    schedule: Schedule
    producer: int
    producers: int
    seed: int
    overrun_s: float
    late_after_ns: int
    clock_ahead_ns: int = 0


@dataclass(frozen=True, slots=True)
class Halt:
    """Send no more messages of the current Pace. Reports True."""


@dataclass(frozen=True, slots=True)
class Published:
    """Sends acknowledged so far, on this channel; messages of this window that were due and not sent."""

    acknowledged: int
    unsent: int
    own: OwnTime


@dataclass(frozen=True, slots=True)
class Consume:
    """Receive and acknowledge until ``end_ns``, or ``count`` messages, or nothing for ``idle_s``.

    Reports Consumed. A message received more than ``late_after_ns`` after it was due counts as late (None: none does).
    ``clock_ahead_ns`` as in Pace.
    """

    window: int
    batch: int
    start_ns: int
    end_ns: int
    count: int | None
    idle_s: float
    late_after_ns: int | None = None
    clock_ahead_ns: int = 0


@dataclass(frozen=True, slots=True)
class Consumed:
    """Messages received, late ones among them, and whether the consumer ended early because nothing was left.

    ``middle_ms``: in each of a few equal stretches of the time, the median latency of the middle messages of batches.
    """

    received: int
    late: int
    early: bool
    own: OwnTime
    middle_ms: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Backlog:
    """Report the number of messages that the broker still holds for the group; None where it does not tell."""


@dataclass(frozen=True, slots=True)
class MeasureCeiling:
    """Measure the body's own ceiling, against a broker that does nothing. Reports messages per CPU second."""

    batch: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Close:
    """Close the opened producers or consumer. Reports True."""


Command = OpenProducer | OpenConsumer | Publish | Pace | Halt | Consume | Backlog | MeasureCeiling | Close


def on_clock(command: Any, ahead_ns: int) -> Any:
    """The command for a host whose monotonic clock is ``ahead_ns`` ahead of the clock of the command's times."""
    match command:
        case Publish():
            return replace(command, start_ns=command.start_ns + ahead_ns, end_ns=command.end_ns + ahead_ns)
        case Consume():
            start_ns, end_ns = command.start_ns + ahead_ns, command.end_ns + ahead_ns
            return replace(command, start_ns=start_ns, end_ns=end_ns, clock_ahead_ns=ahead_ns)
        case Pace():
            return replace(command, start_ns=command.start_ns + ahead_ns, clock_ahead_ns=ahead_ns)
        case _:
            return command


_PROGRESS_EVERY_S = 1.0

OnProgress = Callable[[float], None]
"""Called about once a second with the share of a window that has passed, from 0 to 1."""


def no_progress(share: float) -> None: ...


def ask(process: LoadProcess, command: Command, timeout_s: float) -> Any:
    """The process' report on a command. Raises LoadFailed, TimeoutError."""
    process.command(command)
    return process.report(timeout_s)


def ask_all(processes: Sequence[LoadProcess], command: Command, timeout_s: float) -> list[Any]:
    """The reports of all processes on one command, which they execute side by side. Raises LoadFailed, TimeoutError."""
    for process in processes:
        process.command(command)
    return reports(processes, timeout_s)


def reports(
    processes: Sequence[LoadProcess], timeout_s: float, waiting: Callable[[], None] = lambda: None
) -> list[Any]:
    """The next report of each process. Calls ``waiting`` once a second meanwhile. Raises LoadFailed, TimeoutError."""
    return [_report(process, timeout_s, waiting) for process in processes]


def _report(process: LoadProcess, timeout_s: float, waiting: Callable[[], None]) -> Any:
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = deadline - time.monotonic()
        try:
            return process.report(max(0.0, min(_PROGRESS_EVERY_S, left_s)))
        except TimeoutError as late:
            if left_s <= _PROGRESS_EVERY_S:
                raise TimeoutError(f"no report within {timeout_s:g} s: {late}") from None
            waiting()


def share_passed(on_progress: OnProgress, start_ns: int, end_ns: int) -> Callable[[], None]:
    """A function that reports the share of the window from ``start_ns`` to ``end_ns`` that has passed by now."""
    return lambda: on_progress(min(1.0, max(0.0, (time.monotonic_ns() - start_ns) / max(1, end_ns - start_ns))))
