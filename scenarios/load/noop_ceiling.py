"""The ceiling of a load body: its rate against a broker that does nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

from brokerbench.brokers.types import ChannelSpec, ConsumerSettings, ProducerSettings
from brokerbench.scenarios.base import Worker
from brokerbench.scenarios.clients.recording import RecordingConsumer
from brokerbench.scenarios.history import Writer
from brokerbench.scenarios.load import workload
from brokerbench.scenarios.load.payloads import Keys

_SLICE_BATCHES = 10
"""Batches on the noop channel at once while a ceiling is measured; bounds its memory."""


class _Ceiling:
    """A scratch channel on the profile that does nothing, and a scratch history; counts the cost of one side.

    CPU time, not wall time: nothing waits here, and other load on the machine must not lower a ceiling.
    """

    def __init__(self, worker: Worker, arguments: Mapping[str, Any]) -> None:
        self._directory = Path(arguments["history"]) / f"ceiling-{arguments['name']}"
        self._broker = worker.connect_noop()
        self._broker.create_channel(ChannelSpec("ceiling"))
        self._sent = Writer(self._directory, "sent", arguments["run"])
        self._received = Writer(self._directory, "taken", arguments["run"])
        self._keys = Keys(arguments["seed"], arguments["keys"])
        settings = ProducerSettings(max_in_flight=1_000_000)
        self._producer = workload.producer(self._broker, "ceiling", self._sent, 0, arguments, settings)
        self._consumer = RecordingConsumer(
            self._broker, "ceiling", self._received, number=0, settings=ConsumerSettings(details=False)
        )

    def send(self, batch: int) -> int:
        for _ in range(_SLICE_BATCHES):
            self._producer.send(self._keys.take(batch))
        return _SLICE_BATCHES * batch

    def take(self, batch: int) -> int:
        count = 0
        while len(received := self._consumer.take(batch, 0.0)):
            self._consumer.acknowledge(received)
            count += len(received)
        return count

    def measure(self, batch: int, seconds: float, *, sending: bool) -> float:
        """Messages a second of one side. The first slice, with its cold paths, is not counted."""
        self.send(batch)
        self.take(batch)
        count = timed_ns = 0
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or not count:
            begin_ns = time.thread_time_ns()
            sent = self.send(batch)
            between_ns = time.thread_time_ns()
            self.take(batch)
            count += sent
            timed_ns += between_ns - begin_ns if sending else time.thread_time_ns() - between_ns
        # Writing the rows that are still in memory is part of the cost of either side.
        writer = self._sent if sending else self._received
        begin_ns = time.thread_time_ns()
        writer.close()
        timed_ns += time.thread_time_ns() - begin_ns + writer.background_cpu_ns
        return count / max(1, timed_ns) * 1e9

    def close(self) -> None:
        self._broker.close()
        self._broker.delete_channel("ceiling")
        self._sent.close()
        self._received.close()
        rmtree(self._directory)


def measure_ceiling(
    worker: Worker, arguments: Mapping[str, Any], batch: int, seconds: float, *, sending: bool
) -> float:
    """Messages per CPU second of one side, in batches of ``batch``, measured for ``seconds``."""
    ceiling = _Ceiling(worker, arguments)
    try:
        return ceiling.measure(batch, seconds, sending=sending)
    finally:
        ceiling.close()
