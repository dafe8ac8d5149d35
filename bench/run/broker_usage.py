"""Resource usage of a broker on this host, from its processes: CPU, memory, disk and network."""

from __future__ import annotations

import psutil

from brokerbench.scenarios.base import BrokerUsage

_LOOPBACK = ("lo", "lo0")


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
            disk_bytes = _disk_bytes(first)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return BrokerUsage(int(cpu_s * 1e9), resident_bytes, disk_bytes, _network_bytes())


def _cpu_s(process: psutil.Process) -> float:
    """Includes the usage of ended children: Redis saves in short-lived ones."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _disk_bytes(process: psutil.Process) -> int:
    """Of this process alone: writes of ended children are not known. 0 on macOS, which counts no bytes by process."""
    return int(process.io_counters().write_bytes) if hasattr(process, "io_counters") else 0


def _network_bytes() -> int:
    counters = psutil.net_io_counters(pernic=True)
    return sum(counters[name].bytes_sent for name in _LOOPBACK if name in counters)
