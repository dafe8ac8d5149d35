"""Resource usage of the broker while it was measured: cores, memory, and bytes a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from brokerbench.scenarios.base import Measured

_LOOPBACK = "all of this host's loopback, clients included"
_LATER = "what the broker's first process gave to the disk, not its children; the kernel may write it later"
_MEMORY = "resident at the end of the window"


def metrics(windows: Sequence[tuple[Mapping[str, Any], int]], labels: Mapping[str, Any]) -> Iterable[Measured]:
    """``windows``: each with its mark and its number of messages. None where no mark has the engine's usage."""
    seen = [(mark["engine"], count) for mark, count in windows if "engine" in mark]
    if not seen:
        return
    cores = tuple(used["cpu_ns"] / 1e9 / used["seconds"] for used, _ in seen)
    yield Measured("broker_cpu", "cores", cores, labels)
    yield Measured(
        "broker_resident", "B", tuple(float(used["resident_bytes"]) for used, _ in seen), labels, note=_MEMORY
    )
    counted = [(used, count) for used, count in seen if count]
    for name, unit, key, scale, note in (
        ("broker_cpu_per_message", "us", "cpu_ns", 1e-3, ""),
        ("broker_disk_per_message", "B", "disk_bytes", 1.0, _LATER),
        ("network_per_message", "B", "network_bytes", 1.0, _LOOPBACK),
    ):
        values = tuple(used[key] * scale / count for used, count in counted)
        yield Measured(name, unit, values, labels, better="lower", note=note)
