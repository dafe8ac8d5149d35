"""Resource usage within a window: of a load process (CPU, memory, garbage collector), the host, and the broker."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import psutil

from brokerbench.scenarios.base import BrokerUsage, Worker
from brokerbench.scenarios.history import Writer


class HostUsage:
    """Usage over a window: of all processes on this host, and of the broker's own."""

    def __init__(self, start_ns: int, engine_use: Callable[[], BrokerUsage | None]) -> None:
        time.sleep(max(0.0, (start_ns - time.monotonic_ns()) / 1e9))
        self._engine_use = engine_use
        self._begin = time.monotonic(), self._busy_s(), engine_use()

    def used(self) -> dict[str, Any]:
        """Attributes for a mark: ``machine_cores``, and ``engine`` where its processes can be inspected."""
        began, busy_before_s, before = self._begin
        after = self._engine_use()
        wall_s, busy_s = time.monotonic() - began, self._busy_s() - busy_before_s
        used: dict[str, Any] = {"machine_cores": max(0.0, busy_s / wall_s)}
        if before is not None and after is not None:
            used["engine"] = {
                "seconds": wall_s,
                "cpu_ns": after.cpu_ns - before.cpu_ns,
                "resident_bytes": after.resident_bytes,
                "disk_bytes": after.disk_bytes - before.disk_bytes,
                "network_bytes": after.network_bytes - before.network_bytes,
            }
        return used

    @staticmethod
    def _busy_s() -> float:
        times = psutil.cpu_times()
        # Guests are counted within user and nice already; time stolen by a hypervisor was not available.
        idle_s = times.idle + getattr(times, "iowait", 0.0)
        guests_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        return float(sum(times) - idle_s - guests_s)


class _Pauses:
    """Time spent in garbage collection since the first use. One for each process."""

    def __init__(self) -> None:
        self.total_ns = self._begin_ns = 0
        gc.callbacks.append(self._called)

    def _called(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._begin_ns = time.monotonic_ns()
        else:
            self.total_ns += time.monotonic_ns() - self._begin_ns


_PAUSES = _Pauses()


class ProcessUsage:
    """CPU time and pauses between a window's begin and its end, and memory at the end."""

    def __init__(self, worker: Worker, writer: Writer, role: str, window: int) -> None:
        self._worker, self._writer = worker, writer
        self._labels = {"role": role, "window": window}
        self._process = psutil.Process()
        self._begin = self._now()

    def _now(self) -> tuple[int, int, int, int]:
        return time.monotonic_ns(), self._worker.cpu_ns(), time.thread_time_ns(), _PAUSES.total_ns

    def end(self, **attributes: Any) -> None:
        wall_ns, process_ns, loop_ns, gc_ns = (
            after - before for after, before in zip(self._now(), self._begin, strict=True)
        )
        self._writer.mark(
            "usage",
            **self._labels,
            wall_ns=wall_ns,
            process_cpu_ns=process_ns,
            loop_cpu_ns=loop_ns,
            gc_ns=gc_ns,
            resident_bytes=self._process.memory_info().rss,
            **attributes,
        )
