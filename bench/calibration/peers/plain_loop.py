"""Shared by all plain loops: their arguments, random payloads, and the line that they print."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from dataclasses import asdict, dataclass

from brokerbench.bench.load.processes import GC_THRESHOLDS

KEYS = 1000
_POOL = 1024


@dataclass(frozen=True, slots=True)
class Figure:
    """``cpu_s``: user and system time of this process, all threads."""

    messages: int
    seconds: float
    cpu_s: float


class Stopwatch:
    """Wall and CPU time since its creation."""

    def __init__(self) -> None:
        self._begin_s, self._begin_cpu_s = time.perf_counter(), time.process_time()

    def figure(self, messages: int) -> Figure:
        return Figure(messages, time.perf_counter() - self._begin_s, time.process_time() - self._begin_cpu_s)


def arguments(program: str, works: tuple[str, ...]) -> argparse.Namespace:
    gc.set_threshold(*GC_THRESHOLDS)  # the same tuning as this harness
    parser = argparse.ArgumentParser(prog=f"python -m brokerbench.bench.calibration.peers.{program}")
    parser.add_argument("work", choices=works)
    parser.add_argument("--address", required=True)
    parser.add_argument("--channel", required=True, help="topic, stream or queue")
    parser.add_argument("--group", default="peer")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, default=100_000)
    parser.add_argument("--commit-every", type=int, default=1, help="batches (consume)")
    parser.add_argument("--ahead", action="store_true", help="wait for no acknowledgement (share group)")
    parser.add_argument("--keep-alive", action="store_true", help="ask to keep connections (SQS)")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds (publish) or messages (consume)")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long to count")
    parser.add_argument("--messages", type=int, default=0, help="how many to count (consume)")
    return parser.parse_args()


def payloads(size: int) -> list[bytes]:
    """A pool of incompressible payloads."""
    return [os.urandom(size) for _ in range(_POOL)]


def keys() -> list[bytes]:
    return [b"key-%d" % number for number in range(KEYS)]


def tell(figure: Figure) -> None:
    print(json.dumps(asdict(figure)), flush=True)
    sys.stdout.flush()
    os._exit(0)  # client libraries leave threads behind that would hold the process
