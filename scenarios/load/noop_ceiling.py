"""What a load body does against a broker that does nothing: its own ceiling."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

from brokerbench.brokers.types import ChannelSpec, ProducerSettings
from brokerbench.scenarios.base import Worker
from brokerbench.scenarios.clients.recording import RecordingConsumer, RecordingProducer
from brokerbench.scenarios.history import Writer
from brokerbench.scenarios.load import payloads
from brokerbench.scenarios.load.keys import Keys

_SLICE_BATCHES = 10
"""Batches that wait on the noop channel while a ceiling is measured: bounds its memory."""


class _Ceiling:
    """A scratch channel on the profile that does nothing, and a scratch history; counts what one side costs.

    CPU time, not wall time: nothing waits here, and what else the machine does must not lower a ceiling.
    """

    def __init__(self, worker: Worker, arguments: Mapping[str, Any]) -> None:
        self._directory = Path(arguments["history"]) / f"ceiling-{arguments['name']}"
        self._broker = worker.connect_noop()
        self._broker.create_channel(ChannelSpec("ceiling"))
        self._sent = Writer(self._directory, "sent", arguments["run"])
        self._taken = Writer(self._directory, "taken", arguments["run"])
        self._keys = Keys(arguments["seed"], arguments["keys"])
        self._sender = RecordingProducer(
            self._broker,
            "ceiling",
            self._sent,
            number=0,
            run=arguments["run"],
            seed=arguments["seed"],
            size=arguments["payloads"].size,
            records=payloads.records(arguments["payloads"], seed=arguments["seed"], producer=0),
            settings=ProducerSettings(max_in_flight=1_000_000),
        )
        self._taker = RecordingConsumer(self._broker, "ceiling", self._taken, number=0)

    def send(self, batch: int) -> int:
        for _ in range(_SLICE_BATCHES):
            self._sender.send(self._keys.take(batch))
        return _SLICE_BATCHES * batch

    def take(self, batch: int) -> int:
        count = 0
        while len(taken := self._taker.take(batch, 0.0)):
            self._taker.acknowledge(taken)
            count += len(taken)
        return count

    def price(self, batch: int, seconds: float, *, sending: bool) -> float:
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
        # What is still in memory has to be written too, by either side.
        writer = self._sent if sending else self._taken
        begin_ns = time.thread_time_ns()
        writer.close()
        timed_ns += time.thread_time_ns() - begin_ns + writer.background_cpu_ns
        return count / max(1, timed_ns) * 1e9

    def close(self) -> None:
        self._broker.close()
        self._broker.delete_channel("ceiling")
        self._sent.close()
        self._taken.close()
        rmtree(self._directory)


def measure_ceiling(
    worker: Worker, arguments: Mapping[str, Any], batch: int, seconds: float, *, sending: bool
) -> float:
    """Messages per CPU second of one side, in batches of ``batch``, measured for ``seconds``."""
    priced = _Ceiling(worker, arguments)
    try:
        return priced.price(batch, seconds, sending=sending)
    finally:
        priced.close()
