"""Load processes: plain Python processes that run a body of ``scenarios`` and talk over one socket.

Started, not forked: client libraries hold threads and sockets that a fork would break. A process is started once
per cell and gets its commands one after the other, so that its start (half a second of imports) costs no window. The
socket ends with the cell's process, and a worker whose socket ends is gone at once, whatever it is doing.

A profile that lives inside one process (``memory``, ``noop``) is loaded by threads of this one instead: in
processes of their own its producers and consumers would never meet.
"""

from __future__ import annotations

import gc
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, Self

import psutil

from brokerbench.bench import children
from brokerbench.brokers import registry
from brokerbench.brokers.errors import BrokerError
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios.base import LoadFailed, LoadProcess

_REPORT, _FAILED, _DONE, _LATE = "report", "failed", "done", "late"
_NO_MORE = None
GC_THRESHOLDS = (200_000, 20, 100)
"""Collection thresholds. With Python's own, collections scan all unanswered messages again and again: a sixth of a
producer's CPU. With 50,000 instead of 200,000, a paced producer still pauses for 2 to 6 ms."""
_LAST_WORDS_S = 10.0
"""Longest time, in seconds, from the end of a process's socket to its own end."""

Start = tuple[str, str, Endpoint, Mapping[str, Any]]
"""Body, profile, endpoint, arguments: the first message to a worker. Never a command line: endpoints carry secrets."""


class Processes:
    """Implements ``brokerbench.scenarios.base.Load``. ``close`` kills what still runs."""

    def __init__(self) -> None:
        self._started: list[LoadProcess] = []

    def start(self, body: str, profile: str, endpoint: Endpoint, arguments: Mapping[str, Any]) -> ProcessHandle:
        begin: Start = (body, profile, endpoint, dict(arguments))
        process = _start_thread(begin) if lives_in_process(profile) else _start_process(begin)
        self._started.append(process)
        return process

    def gather(self, staging: Path) -> None:
        """Nothing to do: every part of the history is written in its place."""

    def close(self) -> None:
        for process in self._started:
            process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lives_in_process(profile: str) -> bool:
    return registry.adapter(profile).broker is None


def launch(wire: socket.socket) -> LocalProcess:
    """Start a load process that takes its commands from that socket, which the caller may close."""
    return LocalProcess(
        subprocess.Popen(
            children.command("bench.load.processes", str(wire.fileno())),
            stdin=subprocess.DEVNULL,
            pass_fds=(wire.fileno(),),
            env=children.environment(),
        )
    )


def _start_process(begin: Start) -> ProcessHandle:
    ours, theirs = socket.socketpair()
    with theirs:
        process = launch(theirs)
    handle = ProcessHandle(begin[0], Connection(ours.detach()), process)
    handle.command(begin)
    return handle


def _start_thread(begin: Start) -> ProcessHandle:
    ours, theirs = socket.socketpair()
    wire = Connection(theirs.detach())

    def work() -> None:
        wire.recv()
        _execute(begin, wire, time.thread_time_ns, gone=lambda: None)

    handle = ProcessHandle(begin[0], Connection(ours.detach()), None)
    handle.command(())
    threading.Thread(target=work, name=begin[0], daemon=True).start()
    return handle


class Running(Protocol):
    """A process on any host."""

    def kill(self) -> None:
        """SIGKILL, and wait for the end. Idempotent."""
        ...

    def wait(self, timeout_s: float) -> int | None:
        """The code with which it ended; None when it did not end."""
        ...

    def cpu_s(self) -> float:
        """User and system time so far, all threads."""
        ...


@dataclass(frozen=True, slots=True)
class LocalProcess:
    """A process that this one started."""

    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait(self, timeout_s: float) -> int | None:
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def cpu_s(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system


class ProcessHandle:
    """The starter's side. ``process`` is None for a thread, which ends when it next looks at its socket."""

    def __init__(self, body: str, wire: Connection, process: Running | None) -> None:
        self._body, self._wire, self._process = body, wire, process

    def fileno(self) -> int:
        """For waiting on several handles at once."""
        return self._wire.fileno()

    def command(self, command: Any) -> None:
        try:
            self._wire.send(command)
        except OSError:
            raise LoadFailed(self._lost()) from None

    def report(self, timeout_s: float) -> Any:
        kind, content = self._receive(timeout_s)
        if kind == _REPORT:
            return content
        self.kill()
        raise LoadFailed(content if kind == _FAILED else f"load process {self._body} ended without a report")

    def cpu_s(self) -> float:
        """User and system time of the process so far, all threads. 0.0 for a thread of this process."""
        return self._process.cpu_s() if self._process is not None else 0.0

    def wait(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        self.command(_NO_MORE)
        kind, content = _REPORT, None
        while kind == _REPORT:
            kind, content = self._receive(max(0.0, deadline - time.monotonic()))
        self.kill()
        if kind == _FAILED:
            raise LoadFailed(content)

    def kill(self) -> None:
        self._wire.close()
        if self._process is not None:
            self._process.kill()

    def _receive(self, timeout_s: float) -> tuple[str, Any]:
        try:
            answered = self._wire.poll(timeout_s)
            kind, content = self._wire.recv() if answered else (_LATE, None)
        except (EOFError, OSError):
            raise LoadFailed(self._lost()) from None
        if kind == _LATE:
            raise TimeoutError(f"load process {self._body} did not answer within {timeout_s:g} s")
        return kind, content

    def _lost(self) -> str:
        if self._process is None:
            return f"load thread {self._body} is gone"
        code = self._process.wait(_LAST_WORDS_S)
        if code is None:
            self.kill()
            return f"load process {self._body} closed its socket and did not end"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return f"load process {self._body} {how}"


class _Worker:
    """The body's side: implements ``brokerbench.scenarios.base.Worker``."""

    def __init__(self, begin: Start, wire: Connection, cpu_ns: Callable[[], int], gone: Callable[[], None]) -> None:
        _, self._profile, self._endpoint, _ = begin
        self._wire, self._gone = wire, gone
        self.cpu_ns = cpu_ns
        self._commands: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="commands", daemon=True).start()

    def connect(self) -> Broker:
        return registry.connect(self._profile, self._endpoint)

    def connect_noop(self) -> Broker:
        # An address of its own, so that it shares no channels with other threads.
        return registry.connect("noop", Endpoint("noop", f"noop://ceiling-{id(self)}"))

    def next_command(self) -> Any:
        return self._commands.get()

    def told(self) -> bool:
        return not self._commands.empty()

    def report(self, report: Any) -> None:
        self._wire.send((_REPORT, report))

    def _listen(self) -> None:
        """Notice the end of the starter even while the body is busy."""
        try:
            while True:
                self._commands.put(self._wire.recv())
        except (EOFError, OSError):
            self._commands.put(_NO_MORE)
            self._gone()


def _execute(begin: Start, wire: Connection, cpu_ns: Callable[[], int], gone: Callable[[], None]) -> None:
    """Run the body; the last message is how it ended."""
    path, _, _, arguments = begin
    module_name, _, function = path.partition(":")
    answer: tuple[str, str] = (_DONE, "")
    try:
        getattr(import_module(module_name), function)(_Worker(begin, wire, cpu_ns, gone), arguments)
    except BrokerError as error:
        answer = (_FAILED, str(error))
    except Exception as error:
        traceback.print_exc()
        answer = (_FAILED, f"{type(error).__name__}: {error}")
    try:
        wire.send(answer)
    except OSError:
        return  # the starter is gone


def main() -> None:
    children.require_same_code()
    gc.set_threshold(*GC_THRESHOLDS)
    # Ctrl-C goes to the whole process group; the starter decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wire = Connection(int(sys.argv[1]))
    try:
        begin: Start = wire.recv()
    except EOFError:
        return
    _execute(begin, wire, time.process_time_ns, gone=lambda: os._exit(1))


if __name__ == "__main__":
    main()
    os._exit(0)  # client libraries leave threads behind that would hold the process
