"""Resource usage of a load process within a window: CPU time, memory, garbage collector pauses; kept as a mark."""

from __future__ import annotations

import gc
import time

import psutil

from brokerbench.scenarios.base import Worker
from brokerbench.scenarios.history import Writer


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

    def end(self, **attributes: int) -> None:
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
