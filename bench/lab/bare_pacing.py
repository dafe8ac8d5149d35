"""A bare pacing loop on plain ``confluent-kafka``: sends due messages, and records only their lateness."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time

import numpy as np
from confluent_kafka import Producer

from brokerbench.bench.calibration.peers.kafka import BATCH_BYTES, LINGER_MS
from brokerbench.bench.calibration.peers.plain_loop import keys, payloads
from brokerbench.bench.load.processes import GC_THRESHOLDS

_IN_FLIGHT = 50_000
_POLL_S = 0.0005


def lags_ns(address: str, channel: str, rate: float, batch: int, seconds: float) -> list[int]:
    """Lateness of each message's send, at a regular rate."""
    producer = Producer(
        {
            "bootstrap.servers": address,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": LINGER_MS,
            "batch.size": BATCH_BYTES,
            "batch.num.messages": _IN_FLIGHT,
            "queue.buffering.max.messages": _IN_FLIGHT,
            "partitioner": "murmur2_random",
            "socket.nagle.disable": True,
        }
    )
    bodies, names = payloads(1024), keys()
    sent, count = 0, int(rate * seconds)
    late: list[int] = []
    begin_ns = time.monotonic_ns()
    while sent < count:
        now_ns = time.monotonic_ns()
        due = min(int((now_ns - begin_ns) * rate / 1e9) + 1, sent + batch, count)
        if due > sent:
            messages = [
                {"value": bodies[at % len(bodies)], "key": names[at % len(names)], "callback": _ignore}
                for at in range(sent, due)
            ]
            handed_ns = time.monotonic_ns()
            late.extend(handed_ns - begin_ns - int(at * 1e9 / rate) for at in range(sent, due))
            while producer.produce_batch(channel, messages) < len(messages):
                messages = [message for message in messages if message.pop("_error", None) is not None]
                producer.poll(0.01)
            sent = due
            producer.poll(0)
        else:
            producer.poll(0)
            wait_s = (begin_ns + int(sent * 1e9 / rate) - time.monotonic_ns()) / 1e9
            time.sleep(max(0.0, min(wait_s, _POLL_S)))
    producer.flush()
    return late


def _ignore(error: object, message: object) -> None:
    """Plain loops have callbacks too."""


def main() -> None:
    gc.set_threshold(*GC_THRESHOLDS)
    parser = argparse.ArgumentParser(prog="python -m brokerbench.bench.lab.bare_pacing")
    parser.add_argument("--address", required=True)
    parser.add_argument("--channel", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    found = np.array(lags_ns(given.address, given.channel, given.rate, given.batch, given.seconds))
    # The first tenth warms up, as in the harness.
    kept = found[len(found) // 10 :]
    print(json.dumps({f"p{at:g}": float(np.percentile(kept, at)) / 1e6 for at in (50, 99, 99.9)}), flush=True)
    sys.stdout.flush()
    os._exit(0)  # client libraries leave threads behind that would hold the process


if __name__ == "__main__":
    main()
