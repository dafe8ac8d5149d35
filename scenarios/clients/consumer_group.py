"""A consumer group, each consumer in a thread, and the proof that no message is left for it.

A drain is proven in one of three ways, the strongest that the profile has:

* ``Counting``: the backlog of the group is 0 (a count without positions may be approximate: then, too, no message may
  have arrived for ``_QUIET_FOR_APPROXIMATE_COUNTS_S``);
* ``Bounded``, places without gaps: every place between the bounds was acknowledged. Silence proves nothing
  against a broker that shows places which were not;
* else: every consumer has received something, no message arrived for ``_QUIET_S`` although each asked, and no delivery
  is unsettled.

A drain that could not be proven is recorded with the broker's own word: how many messages are left for the group. Where
the broker says that some are, the group waits until it has asked in vain for longer than a lease.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np

from brokerbench.brokers.protocols import Bounded, Broker, Counting
from brokerbench.brokers.types import NO_PLACE, ConsumerSettings, Outcome, Settlements
from brokerbench.scenarios.base import Context
from brokerbench.scenarios.clients import drains
from brokerbench.scenarios.clients.recording import RecordedBatch, RecordingConsumer, RecordingProducer
from brokerbench.scenarios.history import Column, Writer

_QUIET_S = 5.0
_QUIET_FOR_APPROXIMATE_COUNTS_S = 1.0
_LOOK_EVERY_S = 0.1
_WAIT_S = 0.5

Settle = Callable[[RecordingConsumer, RecordedBatch], Settlements]
"""Settles a batch as the experiment wants it; returns its acknowledgements."""


class Progress:
    """The group's receives and settlements so far. Safe for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._acknowledged: set[tuple[int, int]] = set()
        self._places: dict[int, set[int]] = {}
        self._active = time.monotonic()
        self._parts: list[RecordedBatch] = []
        self.readers: set[int] = set()
        """Numbers of the readers that have received something."""

    def received(self, reader: int, batch: RecordedBatch) -> None:
        with self._lock:
            self._open += len(batch)
            self._active = time.monotonic()
            self._parts.append(batch)
            self.readers.add(reader)

    def settled(self, batch: RecordedBatch, acknowledged: Settlements) -> None:
        """``acknowledged`` covers some of ``batch``; the others were released."""
        rows = acknowledged.tickets[acknowledged.outcomes == Outcome.ACKNOWLEDGED]
        stamps, received = batch.stamps, batch.received
        with self._lock:
            self._open -= len(batch)
            self._active = time.monotonic()
            self._acknowledged.update(zip(stamps.producer[rows].tolist(), stamps.seq[rows].tolist(), strict=True))
            for partition, place in zip(
                received.partitions[rows].tolist(), received.places[rows].tolist(), strict=True
            ):
                if place != NO_PLACE:
                    self._places.setdefault(partition, set()).add(place)

    def acknowledged(self) -> int:
        """Number of distinct messages."""
        with self._lock:
            return len(self._acknowledged)

    def quiet_s(self) -> float:
        """Seconds since the last receive or settlement; 0 while a delivery is unsettled."""
        with self._lock:
            return 0.0 if self._open else time.monotonic() - self._active

    def unsettled(self) -> int:
        """Number of deliveries in hand."""
        with self._lock:
            return self._open

    def left(self, begin: Mapping[int, int], end: Mapping[int, int]) -> int:
        """Number of places from ``begin`` up to before ``end`` that were not acknowledged."""
        with self._lock:
            return sum(
                end[partition]
                - first
                - sum(first <= place < end[partition] for place in self._places.get(partition, ()))
                for partition, first in begin.items()
            )

    def columns(self) -> dict[str, Column]:
        """Everything that was received, in order of arrival."""
        with self._lock:
            parts = list(self._parts)
        return {
            "producer": _joined([part.stamps.producer for part in parts]),
            "seq": _joined([part.stamps.seq for part in parts]),
            "partition": _joined([part.received.partitions for part in parts]),
            "place": _joined([part.received.places for part in parts]),
            "broker_epoch_ns": _joined([part.received.broker_epoch_ns for part in parts]),
        }


def _joined(parts: Sequence[Column]) -> Column:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


class ConsumerGroup:
    """``count`` consumers of a group, each in a thread with its own connection, from ``with`` to its end.

    ``progress``: that of the same group before it was opened again. Reader numbers count from ``first_reader``;
    ``attributes`` go into the ``reader`` marks. ``drain`` and the end of ``with`` raise the errors of the threads.
    """

    def __init__(
        self,
        context: Context,
        channel: str,
        group: str,
        *,
        first_reader: int,
        count: int = 1,
        batch: int,
        settle: Settle = RecordingConsumer.acknowledge,
        progress: Progress | None = None,
        **attributes: Any,
    ) -> None:
        self._context, self._channel, self._group = context, channel, group
        self._readers = range(first_reader, first_reader + count)
        self._batch, self._settle, self._attributes = batch, settle, attributes
        self._lease_s = float(context.parameters["lease_s"])
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(count)
        self._threads: list[Future[None]] = []
        self.progress = progress or Progress()

    def __enter__(self) -> Self:
        self._threads = [self._pool.submit(self._work, reader) for reader in self._readers]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        if kind is None:
            self._raise_failures()

    def warm_up(self, producer: RecordingProducer, keys: Sequence[int], patience_s: float) -> int:
        """Send until each consumer has received a message, so has joined. Returns how many have."""
        give_up = time.monotonic() + patience_s
        while len(self.progress.readers) < len(self._readers) and time.monotonic() < give_up:
            self._raise_failures()
            producer.send(list(keys) * 5)
            producer.flush()
            self._stop.wait(_LOOK_EVERY_S)
        return len(self.progress.readers)

    def drain(self, broker: Broker, writer: Writer, expected: int, patience_s: float) -> bool:
        """Wait until no message is left, and record the proof (``drained``) or the end of the wait (``timeout``).

        While fewer than ``expected`` messages are acknowledged and more keep arriving, no proof is tried.
        """
        begun = time.monotonic()
        give_up, last_give_up = begun + patience_s, begun + 2 * patience_s + self._lease_s
        while (now := time.monotonic()) < give_up or (now < last_give_up and self._in_vain_soon(broker)):
            self._raise_failures()
            if self.progress.acknowledged() >= expected or self.progress.quiet_s() > _QUIET_FOR_APPROXIMATE_COUNTS_S:
                proof = self._proof(broker)
                if proof:
                    writer.mark("drained", channel=self._channel, group=self._group, proof=proof)
                    return True
            time.sleep(_LOOK_EVERY_S)
        drains.mark_failed(
            writer,
            self._channel,
            self._group,
            waited_s=time.monotonic() - begun,
            left=self._left(broker),
            unsettled=self.progress.unsettled(),
            quiet_s=self.progress.quiet_s(),
            lease_s=self._lease_s,
        )
        return False

    def outlast_leases(self) -> None:
        """Keep asking until longer than a lease after the last receive: a settled message must not come again."""
        enough_s = self._lease_s + drains.BEYOND_LEASE_S
        give_up = time.monotonic() + 3 * enough_s
        while self.progress.quiet_s() <= enough_s and time.monotonic() < give_up:
            self._raise_failures()
            time.sleep(_LOOK_EVERY_S)

    def _in_vain_soon(self, broker: Broker) -> bool:
        """Whether the broker says that messages are left, none is in hand, and the lease is not over yet."""
        return 0 < self.progress.quiet_s() <= self._lease_s + drains.BEYOND_LEASE_S and bool(self._left(broker))

    def _left(self, broker: Broker) -> int | None:
        """Number of messages that the broker keeps for the group; None where it does not tell."""
        if isinstance(broker, Counting):
            return broker.backlog(self._channel, self._group)
        if isinstance(broker, Bounded):
            begin, end = broker.bounds(self._channel)
            return self.progress.left(begin.places, end.places)
        return None

    def _proof(self, broker: Broker) -> str:
        quiet_s = self.progress.quiet_s()
        limits = self._context.declaration.limits
        if isinstance(broker, Counting):
            if not limits.has_positions and quiet_s < _QUIET_FOR_APPROXIMATE_COUNTS_S:
                return ""
            return limits.drain_proof if self._left(broker) == 0 else ""
        if isinstance(broker, Bounded):
            return "every place between the channel's bounds was acknowledged" if self._left(broker) == 0 else ""
        if quiet_s < _QUIET_S or len(self.progress.readers) < len(self._readers):
            return ""
        return f"nothing came for {_QUIET_S:g} s, and nothing was unsettled"

    def _work(self, reader: int) -> None:
        settings = ConsumerSettings(group=self._group, name=f"{self._group}-{reader}")
        with self._context.thread(f"consumer-{reader}") as (broker, writer):
            consumer = RecordingConsumer(
                broker, self._channel, writer, number=reader, settings=settings, **self._attributes
            )
            while not self._stop.is_set():
                batch = consumer.take(self._batch, _WAIT_S)
                if len(batch):
                    self.progress.received(reader, batch)
                    self.progress.settled(batch, self._settle(consumer, batch))
            consumer.close()

    def _raise_failures(self) -> None:
        for thread in self._threads:
            if thread.done():
                thread.result()
