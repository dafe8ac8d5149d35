"""The cell's side of one other host, and of a load process there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

from brokerbench.bench import environment
from brokerbench.bench.load import keeper
from brokerbench.bench.load.processes import ProcessHandle
from brokerbench.scenarios.base import LoadFailed
from brokerbench.scenarios.history import Writer
from brokerbench.scenarios.load.load_commands import on_clock
from brokerbench.scenarios.metrics import clock_sync
from brokerbench.scenarios.metrics.clock_sync import HostClock, Reading

_ANSWER_S = 15.0
_LOOPBACK = ("127.0.0.1", "::1")
_MUST_AGREE = ("python", "packages", "code_revision", "clients")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HistoryPart:
    """A part of the history, written to ``directory`` on its host; it is brought to ``home`` under ``name``."""

    directory: str
    home: Path
    name: str


class Host:
    """One keeper at work. Raises LoadFailed when the host runs other code than this one."""

    def __init__(self, wire: Connection, address: str) -> None:
        self.wire, self.is_here = wire, address in _LOOPBACK
        self.name = address
        self._hello: keeper.Hello = self._hear()
        self.name = f"{self._hello.hostname} ({address})"
        self._must_agree()
        self.begin = self._read_clock()
        self._parts: list[HistoryPart] = []

    def directory(self, home: Path, name: str) -> str:
        """The directory on the host for that part of the history."""
        part = HistoryPart(f"{self._hello.directory}/{name}", home, name)
        self._parts.append(part)
        return part.directory

    def ask(self, request: keeper.Request, patience_s: float = 0.0) -> Any:
        """The keeper's answer. Raises LoadFailed when there is none."""
        try:
            self.wire.send(request)
        except OSError:
            raise self.lost() from None
        return self._hear(patience_s)

    def lost(self) -> LoadFailed:
        return LoadFailed(f"the host {self.name} is lost: its dask worker has ended or cannot be reached")

    def gather(self, staging: Path) -> None:
        """Bring the parts of the history here; ``staging`` is a directory that does not exist yet."""
        clock = HostClock(self.begin, self._read_clock())
        for part in self._parts:
            self._fetch(part, staging / part.name)
            clock_sync.bring_home(staging / part.name, part.home, part.name, clock, self.name)

        for home in {part.home for part in self._parts}:
            with Writer(home, f"host-{self._parts[0].name}", run=0) as writer:
                writer.mark("host", host=self.name, environment=self._hello.environment)
                for when, reading in (("begin", clock.begin), ("end", clock.end)):
                    writer.mark(
                        "clock",
                        host=self.name,
                        when=when,
                        read_at_ns=reading.at_ns,
                        offset_ns=reading.offset_ns,
                        error_ns=reading.error_ns,
                    )

    def _read_clock(self) -> Reading:
        return clock_sync.read(lambda: int(self.ask(keeper.TellTime())))

    def _fetch(self, part: HistoryPart, into: Path) -> None:
        """Copy the files of a part, in chunks, unconverted."""
        into.mkdir(parents=True)
        for name, size in self.ask(keeper.ListFiles(part.directory)).items():
            with (into / name).open("wb") as file:
                while (at := file.tell()) < size:
                    file.write(self.ask(keeper.ReadFile(f"{part.directory}/{name}", at)))

    def _hear(self, patience_s: float = 0.0) -> Any:
        try:
            if self.wire.poll(_ANSWER_S + patience_s):
                answer = self.wire.recv()
                if isinstance(answer, keeper.Failed):
                    raise LoadFailed(f"on the host {self.name}: {answer.why}")
                return answer
        except (EOFError, OSError):
            pass
        self.wire.close()  # late answers would be taken for answers to later requests
        raise self.lost()

    def _must_agree(self) -> None:
        ours = environment.describe(environment.PROFILES_WITH_CLIENTS).model_dump()
        theirs = self._hello.environment
        for name in _MUST_AGREE:
            if ours[name] != theirs[name]:
                raise LoadFailed(f"the host {self.name} has another {name}: {theirs[name]}; here: {ours[name]}")


class RemoteProcess:
    """A process on another host, as far as a ``ProcessHandle`` needs one."""

    def __init__(self, host: Host, number: int) -> None:
        self._host, self._number = host, number
        self._ended = False

    def kill(self) -> None:
        """Silent when the host is lost: its processes end with their connections."""
        if not self._ended:
            self._ended = True
            with suppress(LoadFailed):
                self._host.ask(keeper.EndProcess(self._number, 0.0))

    def wait(self, timeout_s: float) -> int | None:
        code: int | None = self._host.ask(keeper.EndProcess(self._number, timeout_s), timeout_s)
        self._ended = True
        return code

    def cpu_s(self) -> float:
        return float(self._host.ask(keeper.TellCpu(self._number)))


class Placed:
    """A load process on another host. Its errors name the host."""

    def __init__(self, handle: ProcessHandle, host: Host, everywhere: Collection[Host]) -> None:
        """``everywhere``: all hosts of the cell. When one of them is lost, waiting for reports ends."""
        self._handle, self._host, self._everywhere = handle, host, everywhere

    def command(self, command: Any) -> None:
        """Times in a command are on the cell's clock and are converted to the host's."""
        self._named(lambda: self._handle.command(on_clock(command, self._host.begin.offset_ns)))

    def report(self, timeout_s: float) -> Any:
        # A lost host ends the keeper's connection, which is readable at no other time.
        lost = [host for host in self._everywhere if host.wire.closed]
        if not lost:
            ready = wait([self._handle.fileno(), *(host.wire for host in self._everywhere)], timeout_s)
            lost = [host for host in self._everywhere if host.wire in ready]
        if lost:
            raise lost[0].lost()
        return self._named(lambda: self._handle.report(timeout_s))

    def wait(self, timeout_s: float) -> None:
        self._named(lambda: self._handle.wait(timeout_s))

    def kill(self) -> None:
        self._handle.kill()

    def _named(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except (LoadFailed, TimeoutError) as problem:
            if self._host.name in str(problem):
                raise
            raise type(problem)(f"on the host {self._host.name}: {problem}") from None
