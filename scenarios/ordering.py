"""Ordering: the whole channel, per key with one and with three consumers, with several producers, after a release.

Three consumers work once on as many partitions, and once on a single one, which they share if the broker lets them.

Each phase has a channel of its own. Producers whose order is compared have ``stage="main"``; messages that show that
all consumers have joined have ``stage="warm-up"`` and are left out of the comparison.

Consumers of all phases go on asking until longer than a lease after the last message: what was settled must not come
again.

In the last phase two consumers work. Each fails some deliveries once, as a careful worker would: it releases the
failed one and the later ones of its batch that must not overtake it (those of its key; where acknowledging goes up to
a position, those of its partition), and acknowledges the rest.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from brokerbench.brokers.declarations import Limits
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import AckGranularity, ChannelSpec, Settlements
from brokerbench.scenarios.analysis import delivery
from brokerbench.scenarios.analysis import ordering as checker
from brokerbench.scenarios.base import Context, Examination, Parameters, Scenario, small_requests_s
from brokerbench.scenarios.clients import channels
from brokerbench.scenarios.clients.consumer_group import ConsumerGroup
from brokerbench.scenarios.clients.recording import RecordedBatch, RecordingConsumer, RecordingProducer, open_producer
from brokerbench.scenarios.history import Column, History, Writer
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.load.payloads import check_size, check_size_fits
from brokerbench.scenarios.metrics import lag

DEFAULTS: Parameters = {
    "messages": 1200,
    "keys": 20,
    "partitions": 3,
    "size": 256,
    "batch": 50,
    "small_batch": 10,
    "consumers": 3,
    "producers": 4,
    "fail_every": 5,
    "fail_every_by_position": 50,
    "releasing_consumers": 2,
    "lease_s": 15.0,
    "patience_s": 30.0,
}
PROPERTIES = (
    "ordering.channel",
    "ordering.per_key.one_consumer",
    "ordering.per_key.three_consumers",
    "ordering.per_key.several_producers",
    "ordering.per_key.after_redelivery",
    "redelivery.after_release",
    "delivery.no_loss",
    "delivery.no_phantom",
    "delivery.no_duplicate",
    "delivery.intact",
    "delivery.progress",
    *delivery.CONSISTENCY,
)

_PHASES = {
    "one": "one producer, one consumer",
    "three": "one producer, three consumers",
    "shared": "one producer, three consumers on one partition",
    "producers": "several producers, one consumer",
    "release": "failed deliveries, released",
}
_SEND_CHUNK = 100
_SHARED_PATIENCE_S = 3.0
"""Longest wait for consumers that may never get a message, in seconds: one partition may belong to one of them."""
_MOST_RELEASES = 3
"""Most releases of a message: more could reach a delivery limit (5 in a share group), as if it were poison."""
_WARM_UP = 90
"""Offset of a phase's warm-up producer among the phase's 100 producer numbers."""


def run(context: Context) -> None:
    phases = [
        (at, phase)
        for at, phase in enumerate(_PHASES)
        # Without partitions the phase before was this one.
        if phase != "shared" or context.declaration.limits.has_partitions
    ]
    steps = len(phases) + 1
    channels: list[str] = []
    with context.writer("main") as writer:
        with ExitStack() as stack:
            groups: list[ConsumerGroup] = []
            for step, (at, name) in enumerate(phases):
                context.progress(step / steps, _PHASES[name])
                phase = _Phase(context, writer, name, at)
                channels.append(phase.channel)
                groups.append(phase.run(stack))
            # Groups of all phases go on asking: a message that was settled must not come again after its lease.
            context.progress((steps - 1) / steps, "looking for longer than a lease")
            for group in groups:
                group.outlast_leases()
        for channel in channels:
            context.broker.delete_channel(channel)


def examine(history: History) -> Examination:
    examined = checker.examine(history)
    return replace(examined, metrics=[*examined.metrics, *lag.over_time(lag.looks(history))])


def expected_s(parameters: Parameters, limits: Limits | None) -> float:
    return (
        20.0 + float(parameters["lease_s"]) + small_requests_s(int(parameters["messages"]) * (len(_PHASES) - 1), limits)
    )


SCENARIO = Scenario(
    name="ordering",
    summary="order of the whole channel and per key: concurrent consumers, several producers, released deliveries",
    defaults=DEFAULTS,
    properties=PROPERTIES,
    expected_s=expected_s,
    check=check_size,
    fits=check_size_fits,
    run=run,
    examine=examine,
)


class _Phase:
    def __init__(self, context: Context, writer: Writer, phase: str, number: int) -> None:
        self._context, self._writer, self._phase = context, writer, phase
        self._first = number * 100
        self.channel = f"{context.channel_prefix}{phase}"
        parameters = context.parameters
        self._messages, self._keys = int(parameters["messages"]), int(parameters["keys"])
        self._patience_s = float(parameters["patience_s"])

    def run(self, stack: ExitStack) -> ConsumerGroup:
        """Send and consume. The group goes on to consume, until the stack ends."""
        context, parameters = self._context, self._context.parameters
        lease_s = float(parameters["lease_s"])
        partitions = 1 if self._phase == "shared" else int(parameters["partitions"])
        spec = ChannelSpec(self.channel, partitions=partitions, lease_s=lease_s)
        channels.create(context.broker, spec, self._writer)
        consumers, batch = {
            "one": (1, int(parameters["batch"])),
            "three": (int(parameters["consumers"]), int(parameters["small_batch"])),
            "shared": (int(parameters["consumers"]), int(parameters["small_batch"])),
            "producers": (1, int(parameters["batch"])),
            "release": (int(parameters["releasing_consumers"]), int(parameters["batch"])),
        }[self._phase]
        self._writer.mark("phase", phase=self._phase, channel=self.channel, consumers=consumers, lease_s=lease_s)
        failing = _Failing(context) if self._phase == "release" else None
        group = stack.enter_context(
            ConsumerGroup(
                context,
                self.channel,
                "workers",
                first_reader=self._first,
                count=consumers,
                batch=batch,
                phase=self._phase,
                settle=failing.settle if failing else RecordingConsumer.acknowledge,
            )
        )
        if consumers > 1:
            self._warm_up(group, consumers)
        sent = self._send_all()
        group.drain(context.broker, self._writer, sent, self._patience_s)
        return group

    def _warm_up(self, group: ConsumerGroup, consumers: int) -> None:
        producer = self._producer(self._first + _WARM_UP, "warm-up", self._writer)
        patience_s = _SHARED_PATIENCE_S if self._phase == "shared" else self._patience_s / 2
        joined = group.warm_up(producer, range(self._keys), patience_s)
        producer.close()
        if joined < consumers and self._phase != "shared":
            what = f"{joined} of {consumers} consumers had received something"
            self._writer.mark("timeout", channel=self.channel, what=what, waited_s=patience_s)

    def _send_all(self) -> int:
        if self._phase != "producers":
            producer = self._producer(self._first, "main", self._writer)
            return self._send(producer, self._messages)
        count = int(self._context.parameters["producers"])
        with ThreadPoolExecutor(count) as pool:
            share = self._messages // count
            return sum(pool.map(self._send_beside, range(count), [share] * count))

    def _send_beside(self, number: int, messages: int) -> int:
        with self._context.thread(f"producer-{number}") as (broker, writer):
            return self._send(self._producer(self._first + number, "main", writer, broker), messages)

    def _producer(self, number: int, stage: str, writer: Writer, broker: Broker | None = None) -> RecordingProducer:
        return open_producer(self._context, self.channel, writer, number, broker, phase=self._phase, stage=stage)

    def _send(self, producer: RecordingProducer, messages: int) -> int:
        """Keys are drawn at random, the same for the same seed."""
        keys = np.random.default_rng([self._context.seed, self._first]).integers(0, self._keys, messages)
        for at in range(0, messages, _SEND_CHUNK):
            producer.send(keys[at : at + _SEND_CHUNK])
        producer.flush()
        producer.close()
        return messages


class _Failing:
    """Settles batches as a worker that fails every n-th message of the main producer once.

    Where acknowledging goes up to a position a failure releases the rest of its partition's batch: few are enough.
    """

    def __init__(self, context: Context) -> None:
        self._by_position = context.declaration.limits.ack_granularity is AckGranularity.UP_TO_POSITION
        self._every = int(context.parameters["fail_every_by_position" if self._by_position else "fail_every"])
        self._residue = int(np.random.default_rng([context.seed, self._every]).integers(self._every))
        self._failed: set[int] = set()
        self._releases: Counter[tuple[int, int]] = Counter()
        self._lock = threading.Lock()

    def settle(self, consumer: RecordingConsumer, batch: RecordedBatch) -> Settlements:
        released = self._released(batch)
        if not released.any() or not consumer.can_release:
            return consumer.acknowledge(batch)
        acknowledged = consumer.acknowledge(batch, np.flatnonzero(~released)) if not released.all() else None
        consumer.release(batch, np.flatnonzero(released))
        return acknowledged if acknowledged is not None else Settlements.empty()

    def _released(self, batch: RecordedBatch) -> Column:
        """Mask of the failed ones, and of those that must not overtake them."""
        seq, producer = batch.stamps.seq, batch.stamps.producer
        line = batch.received.partitions if self._by_position else _keys(batch)
        failed = (producer % 100 == 0) & (seq % self._every == self._residue) & (batch.stamps.status == INTACT)
        names = list(zip(producer.tolist(), seq.tolist(), strict=True))
        released = np.zeros(len(batch), bool)
        with self._lock:
            for at in np.flatnonzero(failed).tolist():
                # A message that waits behind a failed one comes again with it, and has not failed itself.
                if int(seq[at]) in self._failed or released[at]:
                    continue
                behind = at + np.flatnonzero(line[at:] == line[at])
                if all(self._releases[names[row]] < _MOST_RELEASES for row in behind.tolist()):
                    self._failed.add(int(seq[at]))
                    released[behind] = True
            self._releases.update(names[row] for row in np.flatnonzero(released).tolist())
        return released


def _keys(batch: RecordedBatch) -> Column:
    """Numbers of the keys as the broker delivered them: a damaged stamp must not mislead the worker."""
    names = [b"" if key is None else key for key in batch.received.keys]
    return np.unique(names, return_inverse=True)[1] if any(names) else batch.stamps.key
