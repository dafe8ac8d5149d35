"""Resource usage within a window: of a load process (CPU, memory, garbage collector), the host, and the broker."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from brokerbench.scenarios.base import BrokerUsage, Context, MachineUsage, Worker
from brokerbench.scenarios.history import Writer
from brokerbench.scenarios.metrics import doubts

_STRETCH_S, _SHORTEST_S = 5.0, 0.5
"""Between two looks at the machine, and the shortest last stretch: a burst of half a second is a tenth of one."""


class HostUsage:
    """Usage over a window: of all processes on this host, and of the broker's own."""

    def __init__(
        self,
        start_ns: int,
        engine_use: Callable[[], BrokerUsage | None],
        machine_use: Callable[[], MachineUsage | None],
    ) -> None:
        time.sleep(max(0.0, (start_ns - time.monotonic_ns()) / 1e9))
        self._engine_use, self._machine_use = engine_use, machine_use
        self._begin = time.monotonic(), self._busy_s(), engine_use()
        self._machine = machine_use()

    def used(self) -> dict[str, Any]:
        """Attributes for a mark: ``machine_cores``, ``engine`` where its processes can be inspected, and ``doubts``."""
        began, busy_before_s, before = self._begin
        machine, after = self._machine_use(), self._engine_use()
        wall_s, busy_s = time.monotonic() - began, self._busy_s() - busy_before_s
        used: dict[str, Any] = {"machine_cores": max(0.0, busy_s / wall_s), "doubts": []}
        if machine is not None and self._machine is not None:
            used |= doubts.taken(self._machine, machine).mark()
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
        idle_s = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
        guests_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        return float(sum(times) - idle_s - guests_s)


@contextmanager
def watched(context: Context) -> Iterator[None]:
    """Mark how much of the machine others took, stretch by stretch: for experiments without windows."""
    over = threading.Event()

    def watch() -> None:
        with context.writer("machine") as writer:
            before = context.machine_use()
            while before is not None:
                over.wait(_STRETCH_S)
                after = context.machine_use()
                if after is None or after.at_s - before.at_s < _SHORTEST_S:
                    return
                writer.mark("machine", **doubts.taken(before, after).mark())
                before = after
                if over.is_set():
                    return

    watching = threading.Thread(target=watch, name="machine-watch", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()


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
