"""Consumers of one group at work side by side, and the proof that nothing is left for them.

A drain is proven in one of three ways, the strongest that the profile has:

* ``Counting``: the backlog of the group is 0 (where there are no positions the count may be approximate: then
  nothing may have come for a while, too);
* ``Bounded`` with places that are numbered without gaps: every place between the bounds was acknowledged;
* else: nothing came for ``_QUIET_S`` although everybody asked, and nothing that was delivered is unsettled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import numpy as np

from brokerbench.brokers.protocols import Bounded, Broker, Counting
from brokerbench.brokers.types import NO_PLACE, ConsumerSettings, Outcome, Settlements
from brokerbench.scenarios.base import Context
from brokerbench.scenarios.clients.recording import RecordedBatch, RecordingConsumer, RecordingProducer
from brokerbench.scenarios.history import Column, Writer

_QUIET_S = 5.0
_QUIET_FOR_APPROXIMATE_COUNTS_S = 1.0
_LOOK_EVERY_S = 0.1
_WAIT_S = 0.5

Settle = Callable[[RecordingConsumer, RecordedBatch], Settlements]
"""Settles a batch as the experiment wants it; returns what was acknowledged."""


def acknowledge_all(taker: RecordingConsumer, taken: RecordedBatch) -> Settlements:
    return taker.acknowledge(taken)


class Progress:
    """What a crew has done so far. Safe for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._acknowledged: set[tuple[int, int]] = set()
        self._places: dict[int, set[int]] = {}
        self._active = time.monotonic()
        self._parts: list[RecordedBatch] = []
        self.takers: set[int] = set()
        """Who has received something."""

    def taken(self, reader: int, taken: RecordedBatch) -> None:
        with self._lock:
            self._open += len(taken)
            self._active = time.monotonic()
            self._parts.append(taken)
            self.takers.add(reader)

    def settled(self, taken: RecordedBatch, acknowledged: Settlements) -> None:
        """``acknowledged`` settles some of ``taken``; the others were given back."""
        rows = acknowledged.tickets[acknowledged.outcomes == Outcome.ACKNOWLEDGED]
        stamps, received = taken.stamps, taken.received
        with self._lock:
            self._open -= len(taken)
            self._active = time.monotonic()
            self._acknowledged.update(zip(stamps.producer[rows].tolist(), stamps.seq[rows].tolist(), strict=True))
            for partition, place in zip(
                received.partitions[rows].tolist(), received.places[rows].tolist(), strict=True
            ):
                if place != NO_PLACE:
                    self._places.setdefault(partition, set()).add(place)

    def acknowledged(self) -> int:
        """Distinct messages."""
        with self._lock:
            return len(self._acknowledged)

    def quiet_s(self) -> float:
        """Since when nothing came; 0 while a delivery is unsettled."""
        with self._lock:
            return 0.0 if self._open else time.monotonic() - self._active

    def covers(self, begin: dict[int, int], end: dict[int, int]) -> bool:
        """Whether every place from ``begin`` up to before ``end`` was acknowledged."""
        with self._lock:
            return all(
                sum(first <= place < end[partition] for place in self._places.get(partition, ()))
                == end[partition] - first
                for partition, first in begin.items()
            )

    def columns(self) -> dict[str, Column]:
        """Everything that was received, in the order in which it came in."""
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

    Reader numbers are ``first_reader`` and following; ``attributes`` go into the ``reader`` marks. What goes wrong in
    a thread is raised by ``drain`` and at the end of ``with``.
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
        settle: Settle = acknowledge_all,
        **attributes: Any,
    ) -> None:
        self._context, self._channel, self._group = context, channel, group
        self._readers = range(first_reader, first_reader + count)
        self._batch, self._settle, self._attributes = batch, settle, attributes
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(count)
        self._threads: list[Future[None]] = []
        self.tally = Progress()

    def __enter__(self) -> Self:
        self._threads = [self._pool.submit(self._work, reader) for reader in self._readers]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown()
        if error is None:
            self._raise_failures()

    def warm_up(self, sender: RecordingProducer, keys: Sequence[int], patience_s: float) -> int:
        """Send until each consumer has received something: then all have joined. Returns how many have."""
        give_up = time.monotonic() + patience_s
        while len(self.tally.takers) < len(self._readers) and time.monotonic() < give_up:
            self._raise_failures()
            sender.send(list(keys) * 5)
            sender.flush()
            self._stop.wait(_LOOK_EVERY_S)
        return len(self.tally.takers)

    def drain(self, broker: Broker, writer: Writer, expected: int, patience_s: float) -> bool:
        """Wait until nothing is left, and write down the proof (``drained``) or that the wait ran out (``timeout``).

        ``expected``: no proof is looked for while fewer messages than this are acknowledged, and some keep coming.
        """
        give_up = time.monotonic() + patience_s
        while time.monotonic() < give_up:
            self._raise_failures()
            if self.tally.acknowledged() >= expected or self.tally.quiet_s() > _QUIET_FOR_APPROXIMATE_COUNTS_S:
                proof = self._proof(broker)
                if proof:
                    writer.mark("drained", channel=self._channel, group=self._group, proof=proof)
                    return True
            time.sleep(_LOOK_EVERY_S)
        writer.mark("timeout", channel=self._channel, what=f"drain of group {self._group}", waited_s=patience_s)
        return False

    def _proof(self, broker: Broker) -> str:
        quiet_s = self.tally.quiet_s()
        limits = self._context.declaration.limits
        if isinstance(broker, Counting):
            if not limits.has_positions and quiet_s < _QUIET_FOR_APPROXIMATE_COUNTS_S:
                return ""
            return limits.drain_proof if broker.backlog(self._channel, self._group) == 0 else ""
        if isinstance(broker, Bounded):
            begin, end = broker.bounds(self._channel)
            if self.tally.covers(dict(begin.places), dict(end.places)):
                return "every place between the channel's bounds was acknowledged"
        return f"nothing came for {_QUIET_S:g} s, and nothing was unsettled" if quiet_s >= _QUIET_S else ""

    def _work(self, reader: int) -> None:
        name = f"{self._group}-{reader}"
        broker = self._context.connect()
        try:
            with self._context.writer(f"consumer-{reader}") as writer:
                settings = ConsumerSettings(group=self._group, name=name)
                taker = RecordingConsumer(
                    broker, self._channel, writer, number=reader, settings=settings, **self._attributes
                )
                while not self._stop.is_set():
                    taken = taker.take(self._batch, _WAIT_S)
                    if len(taken):
                        self.tally.taken(reader, taken)
                        self.tally.settled(taken, self._settle(taker, taken))
                taker.close()
        finally:
            broker.close()

    def _raise_failures(self) -> None:
        for thread in self._threads:
            if thread.done():
                thread.result()
