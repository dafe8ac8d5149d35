"""A cell's helper on another host: starts load processes there, tells its clock, hands over their files.

A task of the host's dask worker, in one of its threads. It connects back to the cell and answers requests until that
connection ends; then it kills every process that it started and removes every file. It writes to dask's scratch
directory: dask removes the leftovers of a killed worker when the next one starts.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from distributed import get_worker, secede

from brokerbench.bench import environment
from brokerbench.bench.load import wires
from brokerbench.bench.load.processes import LocalProcess, launch

_CHUNK_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message to the cell."""

    hostname: str
    environment: Mapping[str, Any]
    directory: str


@dataclass(frozen=True, slots=True)
class TellTime:
    """Answer: this host's monotonic time, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class StartProcess:
    """Start a load process that talks to the cell over a connection with this number. Answer: True."""

    number: int


@dataclass(frozen=True, slots=True)
class EndProcess:
    """Kill it unless it ends within ``patience_s``. Answer: the code with which it ended by itself, else None."""

    number: int
    patience_s: float


@dataclass(frozen=True, slots=True)
class TellCpu:
    """Answer: seconds of CPU time that the process has used."""

    number: int


@dataclass(frozen=True, slots=True)
class ListFiles:
    """Answer: names and sizes of the files in this directory."""

    directory: str


@dataclass(frozen=True, slots=True)
class ReadFile:
    """Answer: a chunk of bytes from ``offset`` on."""

    path: str
    offset: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer to a request that failed."""

    why: str


Request = TellTime | StartProcess | EndProcess | TellCpu | ListFiles | ReadFile


def keep(cell: wires.Address, token: bytes, number: int) -> None:
    """The task. Returns when the cell is done or gone."""
    secede()  # it lasts as long as the cell: others must not wait for this thread
    directory = mkdtemp(prefix="brokerbench-", dir=get_worker().local_directory)
    try:
        with Connection(wires.connect(cell, token, number).detach()) as wire:
            wire.send(
                Hello(
                    socket.gethostname(),
                    environment.describe(environment.PROFILES_WITH_CLIENTS).model_dump(),
                    directory,
                )
            )
            _Keeper(cell, token).work(wire)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class _Keeper:
    def __init__(self, cell: wires.Address, token: bytes) -> None:
        self._cell, self._token = cell, token
        self._processes: dict[int, LocalProcess] = {}

    def work(self, wire: Connection) -> None:
        try:
            while True:
                wire.send(self._answer(wire.recv()))
        except (EOFError, OSError):
            pass  # the cell is gone
        finally:
            for process in self._processes.values():
                process.kill()

    def _answer(self, request: Request) -> Any:
        try:
            match request:
                case TellTime():
                    return time.monotonic_ns()
                case StartProcess(number):
                    # Its connection ends with the cell, and the process with its connection.
                    with wires.connect(self._cell, self._token, number) as wire:
                        self._processes[number] = launch(wire)
                    return True
                case EndProcess(number, patience_s):
                    code = self._processes[number].wait(patience_s)
                    self._processes[number].kill()
                    return code
                case TellCpu(number):
                    return self._processes[number].cpu_s()
                case ListFiles(directory):
                    return {path.name: path.stat().st_size for path in Path(directory).glob("*") if path.is_file()}
                case ReadFile(path, offset):
                    with Path(path).open("rb") as file:
                        file.seek(offset)
                        return file.read(_CHUNK_BYTES)
        except OSError as problem:
            return Failed(str(problem))
