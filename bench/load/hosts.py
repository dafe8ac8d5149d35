"""Places load processes on hosts: implements ``brokerbench.scenarios.base.Load``.

Every host (address) with a dask worker is a place, and places take turns. dask carries only the first task, the
``keeper``, to its host. From then on the cell speaks with keepers and load processes over connections of its
own: a command must arrive within a millisecond, and a clock cannot be read through a scheduler.
What load processes write stays on their host until ``gather``.
"""

from __future__ import annotations

import re
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from itertools import count, cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from distributed import Client, Future

from brokerbench.bench.errors import BadInput
from brokerbench.bench.load import keeper, wires
from brokerbench.bench.load.host import Host, Placed, RemoteProcess
from brokerbench.bench.load.processes import ProcessHandle
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios.base import LoadFailed

_CONNECT_S = 10.0
_PLACED_S = 30.0
_STARTED_S = 10.0
_LOOPBACK = ("127.", "localhost", "[::1]")


def check(scheduler: str) -> None:
    """Raises BadInput unless a scheduler with at least one worker answers."""
    with _client(scheduler) as client:
        _places(client, scheduler)


def _client(scheduler: str) -> Client:
    try:
        return Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as problem:
        raise BadInput(f"--scheduler {scheduler}: no dask scheduler answers there ({problem})") from None


def _places(client: Client, scheduler: str) -> Mapping[str, str]:
    """Host to one of its dask workers: load processes are separate processes, so one worker is enough."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise BadInput(f"--scheduler {scheduler}: no dask worker is connected to it")
    places: dict[str, str] = {}
    for worker in sorted(workers):
        places.setdefault(urlsplit(worker).hostname or "127.0.0.1", worker)
    return places


class Hosts:
    """Load processes of one cell. ``close`` kills them and removes their files on other hosts."""

    def __init__(self, scheduler: str) -> None:
        self._scheduler, self._token, self._purposes = scheduler, secrets.token_bytes(32), count()
        self._client: Client | None = None
        self._tasks: list[Future[None]] = []
        self._listeners: dict[str, socket.socket] = {}
        self._hosts: dict[str, Host] = {}
        self._turns: Iterator[tuple[str, Host]] = iter(())
        self._started: list[Placed] = []

    def start(self, body: str, profile: str, endpoint: Endpoint, arguments: Mapping[str, Any]) -> Placed:
        """``arguments["history"]`` and ``["name"]``: the home of the part of the history that the body writes.

        Raises LoadFailed when a host is lost, does not run the same code, or cannot reach the broker.
        """
        if not self._hosts:
            self._place()
        address, host = next(self._turns)
        # A broker's address: a URL, or host:port with commas between several.
        on_loopback = any(part.startswith(_LOOPBACK) for part in re.split("[/@,]", endpoint.address))
        if on_loopback and not host.is_here:
            raise LoadFailed(
                f"the host {host.name} cannot reach the broker at {endpoint.address}, an address of this host only; "
                "have a broker that all hosts reach, and name it with --engine external"
            )
        number = next(self._purposes)
        host.ask(keeper.StartProcess(number))
        handle = ProcessHandle(body, self._accept(address, number), RemoteProcess(host, number))
        placed = Placed(handle, host, self._hosts.values())
        self._started.append(placed)
        directory = host.directory(Path(arguments["history"]), str(arguments["name"]))
        placed.command((body, profile, endpoint, {**arguments, "history": directory}))
        return placed

    def gather(self, staging: Path) -> None:
        """Bring the parts of the history here, on the clock of this host. ``staging``: room for the unconverted files.

        Raises LoadFailed when a host is lost.
        """
        try:
            for host in self._hosts.values():
                host.gather(staging)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def close(self) -> None:
        for process in self._started:
            process.kill()
        for host in self._hosts.values():
            host.wire.close()  # the keeper ends and removes its files
        for listener in self._listeners.values():
            listener.close()
        if self._client is not None:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _place(self) -> None:
        """A keeper on every host."""
        self._client = _client(self._scheduler)
        for address, worker in _places(self._client, self._scheduler).items():
            here = wires.facing(address)
            self._listeners[address] = listener = wires.listen(here)
            number = next(self._purposes)
            task = self._client.submit(
                keeper.keep,
                (here, listener.getsockname()[1]),
                self._token,
                number,
                workers=[worker],
                allow_other_workers=False,
                pure=False,
                retries=0,
            )
            self._tasks.append(task)
            self._hosts[address] = Host(self._accept(address, number, task), address)
        self._turns = cycle(self._hosts.items())

    def _accept(self, address: str, number: int, task: Future[None] | None = None) -> Connection:
        def fail() -> None:
            if task is not None and task.done():
                raise LoadFailed(f"the host {address} takes no load processes: {task.exception()}")

        timeout_s = _STARTED_S if task is None else _PLACED_S
        try:
            return wires.accept(self._listeners[address], self._token, number, timeout_s, fail)
        except TimeoutError:
            raise LoadFailed(f"the host {address} did not connect back within {timeout_s:g} s") from None
