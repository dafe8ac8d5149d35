"""Resource usage over a window beyond the load processes: the whole host, and the broker's own processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil

from brokerbench.scenarios.base import BrokerUsage


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
