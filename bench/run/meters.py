"""What the processes of a broker, of a run and of the whole machine have used so far, from the operating system.

Strangers are what is left of the machine's busy time when the run and its broker are taken away. The run is the tree of
its first process: cells side by side are no strangers to each other.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil

from brokerbench.scenarios.base import BrokerUsage, MachineUsage

_LOOPBACK = ("lo", "lo0")
_KERNEL = "kthreadd"
"""The first of Linux's own threads. They work for whoever writes or sends, mostly for the run."""
_FORWARDERS = ("docker-proxy", "rootlesskit", "rootlessport", "ssh", "kubectl")
"""Programs that listen for a broker and pass bytes on: its own processes are others."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class BrokerMeter:
    """Reads the process ``pid`` and its descendants. None once it is gone, and where reading is not permitted."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __call__(self) -> BrokerUsage | None:
        try:
            first = psutil.Process(self._pid)
            everyone = [first, *first.children(recursive=True)]
            cpu_s = sum(_cpu_s(process) for process in everyone)
            resident_bytes = sum(int(process.memory_info().rss) for process in everyone)
            # Of this process alone: writes of ended children are not known. macOS counts no bytes by process.
            disk_bytes = int(first.io_counters().write_bytes) if hasattr(first, "io_counters") else 0
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        counters = psutil.net_io_counters(pernic=True)
        network_bytes = sum(counters[name].bytes_sent for name in _LOOPBACK if name in counters)
        return BrokerUsage(int(cpu_s * 1e9), resident_bytes, disk_bytes, network_bytes)


def _cpu_s(process: psutil.Process) -> float:
    """Includes the usage of ended children: Redis saves in short-lived ones."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


class MachineMeter:
    """Reads the machine. ``ours``: first processes of the run and its broker, all of which must be alive.

    ``ours`` is None where the broker or the load runs on this machine in processes that are not known.
    """

    def __init__(self, ours: Collection[int] | None) -> None:
        self._ours = ours

    def __call__(self) -> MachineUsage:
        at_s, times = time.monotonic(), psutil.cpu_times()
        ours_s = None if self._ours is None else _trees_s(self._ours)
        return MachineUsage(
            at_s=at_s,
            cores=os.cpu_count() or 1,
            # Interrupts belong to no process; guests are counted within user and nice already.
            programs_s=times.user + getattr(times, "nice", 0.0) + times.system,
            ours_s=ours_s,
            stolen_s=getattr(times, "steal", 0.0),
            throttled_s=_throttled_s(),
            cpu_pressure_s=_pressure_s("cpu"),
            io_pressure_s=_pressure_s("io"),
        )


class _Process(NamedTuple):
    pid: int
    parent: int
    cpu_s: float
    """Its own and of its ended children."""
    name: str


def _trees_s(first: Collection[int]) -> float | None:
    """CPU time of these processes, their descendants, and the kernel's threads; None where one of the first is gone."""
    processes = list(_linux_processes() if sys.platform == "linux" else _processes())
    children: dict[int, list[_Process]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
    if not set(first) <= {process.pid for process in processes}:
        return None
    found: dict[int, float] = {}
    left = [process for process in processes if process.pid in first or (process.parent, process.name) == (0, _KERNEL)]
    while left:
        process = left.pop()
        if process.pid not in found:
            found[process.pid] = process.cpu_s
            left += children.get(process.pid, [])
    return sum(found.values())


def _linux_processes() -> Iterator[_Process]:
    """A quarter of the time that psutil needs, for windows of a second on machines with a thousand processes."""
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            with suppress(OSError):  # it has ended
                text = Path(entry.path, "stat").read_bytes()
                name, _, rest = text.partition(b"(")[2].rpartition(b") ")
                fields = rest.split()
                cpu_s = sum(map(int, fields[11:15])) / _TICKS
                yield _Process(int(entry.name), int(fields[1]), cpu_s, name.decode(errors="replace"))


def _processes() -> Iterator[_Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            yield _Process(process.pid, process.ppid(), _cpu_s(process), "")


def _pressure_s(what: str) -> float | None:
    """Time in which some program waited for it; None where the system does not tell."""
    return _number(_PROC / "pressure" / what, "total=", 1e-6)


def _throttled_s() -> float:
    """Time for which a limit of this process's control group held it back, on all cores together."""
    with suppress(OSError):
        for line in (_PROC / "self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/cpu") if controllers in ("", "cpu", "cpu,cpuacct") else ():
                for place in (f"{root}{path}", root):
                    for field, scale in (("throttled_usec ", 1e-6), ("throttled_time ", 1e-9)):
                        if (found := _number(Path(place, "cpu.stat"), field, scale)) is not None:
                            return found
    return 0.0


def _number(path: Path, field: str, scale: float) -> float | None:
    """The first number after ``field`` in a file of the kernel."""
    try:
        _, found, rest = path.read_text(encoding="utf-8").partition(field)
    except OSError:
        return None
    return int(rest.split()[0]) * scale if found else None


def ours(run: int, engine: int | None, address: str, *, in_process: bool) -> Collection[int] | None:
    """First processes of a run and of the broker at that address; None where the broker's are on this machine, unknown.

    ``engine``: a process of the broker, where the run started it; 0 where its number is not known.
    """
    if in_process:
        return {run}
    listening = _listeners(address)
    if engine:
        return {run, engine, *listening}  # Docker's proxy passes its bytes on
    if engine is None and not _ports_here(address):
        return {run}
    known = listening and not any(name.startswith(_FORWARDERS) for name in listening.values())
    return {run, *listening} if known else None


def _listeners(address: str) -> Mapping[int, str]:
    """{process: name} of those that listen on this machine's ports of that address, where we may see them."""
    found = {}
    ports = _ports_here(address)
    with suppress(psutil.Error, OSError):
        for one in psutil.net_connections("tcp") if ports else ():
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port in ports and one.pid:
                found[one.pid] = psutil.Process(one.pid).name()
    return found


def _ports_here(address: str) -> set[int]:
    """Ports of a list of servers that are on this machine."""
    here = {entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries}
    ports = set()
    for server in address.split(","):
        place = urlsplit(server.strip() if "://" in server else f"//{server.strip()}")
        with suppress(ValueError, OSError):
            port = place.port or {"https": 443, "http": 80}.get(place.scheme, 6379)
            if {found[4][0] for found in socket.getaddrinfo(place.hostname, port, type=socket.SOCK_STREAM)} & here:
                ports.add(port)
    return ports
