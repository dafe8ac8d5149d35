"""This harness as a contender of a calibration: the load bodies of ``throughput`` in processes of their own.

Every message sent is stamped and recorded, every message received is verified, recorded and acknowledged, as in any
cell. A rate counts settled messages, from the first counted send or receive to the last answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from brokerbench.bench.errors import CheckFailed
from brokerbench.bench.load.processes import Processes, ProcessHandle
from brokerbench.brokers import registry
from brokerbench.brokers.types import ChannelSpec, ConsumerSettings, Endpoint, Outcome
from brokerbench.scenarios import history
from brokerbench.scenarios.clients.recording import RecordingConsumer, RecordingProducer
from brokerbench.scenarios.history import saved_history, stamp
from brokerbench.scenarios.load import load_commands, workload
from brokerbench.scenarios.load.load_commands import Consumed, Published, ask

RUN = 1
SEED = 1
KEYS = 1000
_LEAD_NS = 20_000_000
_PATIENCE_S = 10.0
_SLACK_S = 60.0
NO_LIMIT_NS = 3_600_000_000_000
_NOOP_SLICE = 10


@dataclass(frozen=True, slots=True)
class ClientLoad:
    """The load of one client: ``size`` in bytes, ``batch`` and ``in_flight`` in messages.

    ``acknowledge_every``: batches that one acknowledgement covers, unless a workload has its own number.
    """

    size: int
    batch: int
    in_flight: int
    acknowledge_every: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """``rate`` in messages a second; ``cpu_us`` of the client a message, all threads (None: not known)."""

    rate: float
    cpu_us: float | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """Messages in this harness's history by outcome. ``again``: repeated deliveries to one reader."""

    sent: int
    acknowledged: int
    received: int
    intact: int
    again: int


class OwnClient:
    """One producer and one consumer process. The consumer gives up after ``patience_s`` without a message."""

    def __init__(
        self,
        load: Processes,
        profile: str,
        endpoint: Endpoint,
        directory: Path,
        wanted: ClientLoad,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._wanted, self._patience_s = wanted, patience_s
        self._windows, self._numbers = count(), count()
        parameters = {**workload.PARAMETERS, "size": wanted.size, "keys": KEYS}
        self._producer, self._consumer = (
            load.start(body, profile, endpoint, workload.arguments(parameters, directory, name, run=RUN, seed=SEED))
            for body, name in ((load_commands.PRODUCER, "produce"), (load_commands.CONSUMER, "consume"))
        )

    def describe(self, work: str, acknowledge_every: int | None = None) -> str:
        wanted = self._wanted
        every = acknowledge_every or wanted.acknowledge_every
        return (
            f"brokerbench.scenarios.load.bodies:{work} in a process of its own: size={wanted.size} "
            f"batch={wanted.batch} in_flight={wanted.in_flight} keys={KEYS} acknowledge_every={every}, "
            "stamped, verified, recorded"
        )

    def publish(self, channel: str, warmup_s: float, seconds: float) -> Sample:
        with self.producing(channel):
            begun = self._publish(warmup_s)
            sample = _stopwatch(self._producer)
            return sample(self._publish(seconds) - begun)

    def fill(self, channel: str, messages: int) -> None:
        """Publish at least ``messages``."""
        with self.producing(channel):
            while self._publish(0.5) < messages:
                pass

    def consume(
        self, channel: str, group: str, warmup: int, messages: int, acknowledge_every: int | None = None
    ) -> Sample:
        """Consume ``messages`` after the first ``warmup``. Raises CheckFailed when some do not arrive."""
        with self.consuming(channel, group, acknowledge_every):
            self.take(warmup, NO_LIMIT_NS)
            sample = _stopwatch(self._consumer)
            received = self.take(messages, NO_LIMIT_NS)
            found = sample(received)
        if received < messages:
            raise CheckFailed(f"{channel}: {received} of {messages} messages came")
        return found

    def consume_for(self, channel: str, warmup_s: float, seconds: float) -> Sample:
        with self.consuming(channel, "own"):
            self.take(None, int(warmup_s * 1e9))
            sample = _stopwatch(self._consumer)
            return sample(self.take(None, int(seconds * 1e9)))

    def both(self, channel: str, warmup_s: float, seconds: float) -> Sample:
        """Messages received a second while the producer sends as fast as it can; CPU of both."""
        with self.producing(channel), self.consuming(channel, "own"):
            start_ns = time.monotonic_ns() + _LEAD_NS
            middle_ns = start_ns + int(warmup_s * 1e9)
            end_ns = middle_ns + int(seconds * 1e9)
            self.begin_publishing(start_ns, end_ns)
            self._consume(start_ns, middle_ns, None)
            sample = _stopwatch(self._producer, self._consumer)
            found = sample(self._consume(middle_ns, end_ns, None))
            self.published()
        return found

    def close(self) -> None:
        for process in (self._producer, self._consumer):
            process.wait(_SLACK_S)

    @contextmanager
    def producing(self, channel: str) -> Iterator[None]:
        wanted = self._wanted
        opening = load_commands.OpenProducer(channel, next(self._numbers), wanted.batch, wanted.in_flight)
        ask(self._producer, opening, _SLACK_S)
        yield
        ask(self._producer, load_commands.Close(), _SLACK_S)

    @contextmanager
    def consuming(self, channel: str, group: str, acknowledge_every: int | None = None) -> Iterator[None]:
        every = acknowledge_every or self._wanted.acknowledge_every
        ask(self._consumer, load_commands.OpenConsumer(channel, next(self._numbers), group, every), _SLACK_S)
        yield
        ask(self._consumer, load_commands.Close(), _SLACK_S)

    def begin_publishing(self, start_ns: int, end_ns: int) -> None:
        """For a window, as fast as possible; ``published`` waits for its end."""
        self._producer.command(load_commands.Publish(next(self._windows), self._wanted.batch, start_ns, end_ns))

    def published(self, seconds: float = 0.0) -> int:
        """Messages acknowledged on this channel so far, at the end of a window that has ``seconds`` left."""
        published: Published = self._producer.report(seconds + _SLACK_S)
        return published.acknowledged

    def _publish(self, seconds: float) -> int:
        start_ns = time.monotonic_ns()
        self.begin_publishing(start_ns, start_ns + int(seconds * 1e9))
        return self.published(seconds)

    def take(self, messages: int | None, for_ns: int) -> int:
        """Receive that many messages (None: any number) for at most ``for_ns``; returns how many came."""
        now_ns = time.monotonic_ns()
        return self._consume(now_ns, now_ns + for_ns, messages, 600.0)

    def _consume(self, start_ns: int, end_ns: int, messages: int | None, seconds: float = 0.0) -> int:
        window, batch = next(self._windows), self._wanted.batch
        command = load_commands.Consume(window, batch, start_ns, end_ns, messages, self._patience_s)
        consumed: Consumed = ask(self._consumer, command, seconds + _SLACK_S)
        return consumed.received


def _stopwatch(*processes: ProcessHandle) -> Callable[[int], Sample]:
    """Starts now. The returned function gives the sample for that many messages, up to its call."""

    def now() -> tuple[float, float]:
        return time.perf_counter(), sum(process.cpu_s() for process in processes)

    begin_s, begin_cpu_s = now()

    def sample(messages: int) -> Sample:
        end_s, end_cpu_s = now()
        return Sample(messages / (end_s - begin_s), (end_cpu_s - begin_cpu_s) / max(1, messages) * 1e6)

    return sample


def noop(directory: Path, wanted: ClientLoad, warmup_s: float, seconds: float) -> tuple[Sample, Verified]:
    """One process: stamp, record, send, receive, verify, record, acknowledge; the history closed.

    The rate is by CPU time: nothing waits here, and other processes of the machine must not lower it.
    """
    broker = registry.connect("noop", Endpoint("noop", "noop://calibrate"))
    broker.create_channel(ChannelSpec("calibrate"))
    try:
        _noop(directory / "warm-up", wanted, warmup_s)
        sample = _noop(directory / "counted", wanted, seconds)
        return sample, verified(directory / "counted")
    finally:
        broker.delete_channel("calibrate")
        broker.close()
        rmtree(directory)


def _noop(directory: Path, wanted: ClientLoad, seconds: float) -> Sample:
    broker = registry.connect("noop", Endpoint("noop", "noop://calibrate"))
    keys = np.random.default_rng(SEED).integers(0, KEYS, wanted.batch)
    messages = 0
    with history.Writer(directory, "noop", RUN) as writer:
        producer = RecordingProducer(broker, "calibrate", writer, number=0, run=RUN, seed=SEED, size=wanted.size)
        consumer = RecordingConsumer(broker, "calibrate", writer, number=0, settings=ConsumerSettings(details=False))
        begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
        while not messages or time.perf_counter() - begin_s < seconds:
            for _ in range(_NOOP_SLICE):
                producer.send(keys)
            while len(batch := consumer.take(wanted.batch, 0.0)):
                consumer.acknowledge(batch)
                messages += len(batch)
        producer.close()
        consumer.close()
    cpu_s = time.process_time() - begin_cpu_s
    return Sample(messages / cpu_s, cpu_s / messages * 1e6)


def verified(directory: Path) -> Verified:
    """Counts of a closed history, read in parts."""
    sent = sum(len(part["seq"]) for part in saved_history.stream(directory, "sends", ["seq"]))
    acknowledged = sum(
        int(np.count_nonzero(part["outcome"] == Outcome.ACKNOWLEDGED))
        for part in saved_history.stream(directory, "send_outcomes", ["outcome"])
    )
    received = intact = 0
    seen: dict[int, list[Any]] = {}
    for part in saved_history.stream(directory, "deliveries", ["reader", "producer", "seq", "status"]):
        received += len(part["seq"])
        intact += int(np.count_nonzero(part["status"] == stamp.INTACT))
        for reader in np.unique(part["reader"]).tolist():
            theirs = part["reader"] == reader
            seen.setdefault(reader, []).append(part["producer"][theirs].astype(np.int64) << 40 | part["seq"][theirs])
    again = 0
    for parts in seen.values():
        identities = np.concatenate(parts)
        again += len(identities) - len(np.unique(identities))
    return Verified(sent, acknowledged, received, intact, again)
