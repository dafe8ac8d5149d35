"""Who acts in an experiment: a sender, a taker (consumer) and a replayer, each writing down what it does.

They join an adapter's producer, consumer or reader to the stamp and to one part of the history, and add
nothing else. One actor belongs to one thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

from brokerbench.brokers.protocols import Broker, Bundling, Pipelining, Releasable, Replayable
from brokerbench.brokers.rows import sizes_of
from brokerbench.brokers.types import (
    Batch,
    ConsumerSettings,
    Indices,
    Outcome,
    ProducerSettings,
    Received,
    ReplayStart,
    SendReceipt,
    Settlements,
)
from brokerbench.scenarios.history import Action, Column, Writer
from brokerbench.scenarios.history.stamp import Stamper, Stamps


def key_name(key: int) -> bytes:
    """The ordering key of a key number. Negative numbers stand for "no key"."""
    return b"key-%d" % key


def identity_name(identity: int) -> str:
    """The identity for deduplication of a number."""
    return f"id-{identity}"


class _KeyNames(dict[int, bytes]):
    """Names made once: a look-up costs a tenth of a formatting."""

    def __missing__(self, key: int) -> bytes:
        name = self[key] = key_name(key)
        return name


@dataclass(frozen=True, slots=True)
class _Stamped:
    """Messages with their stamps, as columns."""

    seqs: Column
    keys: Column
    payloads: Sequence[bytes]
    names: list[bytes] | None
    checksums: Column


class RecordingProducer:
    """A producer with a number. Sequence numbers count its sends from 0 and equal its tickets.

    Messages are of ``size`` random bytes each, or ``records`` in turn. A negative key number is no key.
    """

    def __init__(
        self,
        broker: Broker,
        channel: str,
        writer: Writer,
        *,
        number: int,
        run: int,
        seed: int,
        size: int,
        records: Sequence[bytes] | None = None,
        settings: ProducerSettings | None = None,
        **attributes: Any,
    ) -> None:
        self._producer = broker.producer(channel, settings or ProducerSettings())
        self._writer, self._number = writer, number
        self._size = size if records is None or {size} == set(map(len, records)) else None
        self.mean_size = size if records is None else sum(map(len, records)) // len(records)
        """Of a message, in bytes."""
        self._stamper = Stamper(producer=number, run=run, size=size, seed=seed, records=records)
        self._next_seq = 0
        self._key_names = _KeyNames()
        self.acknowledged = 0
        """Sends that the broker is known to have taken."""
        self.clock_ahead_ns = 0
        """Of this host's monotonic clock, compared with that of the cell: what stamps say is the cell's time."""
        writer.mark("producer", producer=number, channel=channel, size=size, **attributes)

    def send(self, keys: Sequence[int] | Column, identities: Sequence[int] | None = None) -> SendReceipt:
        """Send one stamped message for each key, and write down what was settled meanwhile.

        ``identities``: for deduplication by the broker; a message repeats an earlier one of the same number.
        """
        if identities is not None:
            self._writer.mark(
                "identities", producer=self._number, first_seq=self._next_seq, identities=list(identities)
            )
        stamped = self._stamp(np.asarray(keys, np.int64), time.monotonic_ns())
        ids = None if identities is None else list(map(identity_name, identities))
        sent_ns = time.monotonic_ns()
        # Written before it is sent: a crash in between leaves a send of unknown fate, never a phantom.
        self._write(stamped, slice(None), sent_ns, sent_ns)
        return self._hand_over(Batch(stamped.payloads, stamped.names, ids))

    @contextmanager
    def ahead(self, keys: Column, due_ns: Column) -> Iterator[Callable[[int], None]]:
        """Stamp one message for each key, due at these times, and give a function that sends so many of them, in order.

        What costs by call and not by message is paid once for all. Whatever was handed over is written down on leaving,
        also when the broker failed: only where that cannot be written is a send missing, and then the cell fails.
        """
        stamped = self._stamp(keys, due_ns)
        sent_ns: list[int] = []

        def send(count: int) -> None:
            part = slice(len(sent_ns), len(sent_ns) + count)
            sent_ns.extend(repeat(time.monotonic_ns(), count))
            self._hand_over(Batch(stamped.payloads[part], None if stamped.names is None else stamped.names[part]))

        try:
            yield send
        finally:
            sent = slice(len(sent_ns))
            self._write(stamped, sent, due_ns[sent], np.array(sent_ns, np.int64))

    def _stamp(self, keys: Column, due_ns: Column | int) -> _Stamped:
        """Messages to be sent next, in this order: their numbers will be their tickets."""
        seqs = np.arange(self._next_seq, self._next_seq + len(keys), dtype=np.int64)
        payloads, checksums = self._stamper.stamp(seqs, keys, due_ns - self.clock_ahead_ns)
        names = None if self._unkeyed(keys) else list(map(self._key_names.__getitem__, keys.tolist()))
        return _Stamped(seqs, keys, payloads, names, checksums)

    def _write(self, stamped: _Stamped, part: slice, intended_ns: Column | int, sent_ns: Column | int) -> None:
        seqs = stamped.seqs[part]
        self._writer.sends(
            self._number,
            seqs,
            stamped.keys[part],
            self._size or sizes_of(stamped.payloads[part]),
            stamped.checksums[part],
            intended_ns,
            sent_ns,
        )
        self._next_seq += len(seqs)

    def _hand_over(self, batch: Batch) -> SendReceipt:
        receipt = self._producer.send(batch)
        self._settled(self._producer.poll())
        return receipt

    @staticmethod
    def _unkeyed(keys: Column) -> bool:
        """A load has a key on every message or on none."""
        return bool(len(keys)) and bool(keys[0] < 0)

    def poll(self) -> None:
        """Write down what was settled meanwhile."""
        self._settled(self._producer.poll())

    def flush(self, timeout_s: float = 30.0) -> Settlements:
        settlements = self._producer.flush(timeout_s)
        self._settled(settlements)
        return settlements

    def close(self) -> None:
        """What is still in flight is written down as UNKNOWN."""
        self._settled(self._producer.close())

    def _settled(self, settlements: Settlements) -> None:
        if not len(settlements):
            return
        self.acknowledged += int(np.count_nonzero(settlements.outcomes == Outcome.ACKNOWLEDGED))
        self._writer.send_outcomes(self._number, settlements)


@dataclass(frozen=True, slots=True)
class RecordedBatch:
    """One received batch, its stamps, and its number among the reader's batches."""

    batch: int
    received: Received
    stamps: Stamps

    def __len__(self) -> int:
        return len(self.received)

    def bare(self) -> RecordedBatch:
        """What settling needs: payloads and keys are let go."""
        return RecordedBatch(self.batch, self.received.bare(), self.stamps)


class RecordingConsumer:
    """A consumer with a reader number. ``attributes`` (phase, ...) go into its ``reader`` mark."""

    def __init__(
        self,
        broker: Broker,
        channel: str,
        writer: Writer,
        *,
        number: int,
        settings: ConsumerSettings | None = None,
        **attributes: Any,
    ) -> None:
        settings = settings or ConsumerSettings()
        self.consumer = broker.consumer(channel, settings)
        self._writer, self._number, self._batches = writer, number, 0
        # (batch, asked_ns) of acknowledgements whose answer is still to come, oldest first.
        self._asked: deque[tuple[int, int]] = deque()
        writer.mark("reader", reader=number, kind="consumer", channel=channel, group=settings.group, **attributes)

    def take(self, max_messages: int, wait_s: float) -> RecordedBatch:
        return self._written(self.consumer.receive(max_messages, wait_s))

    def take_ahead(self, max_messages: int, wait_s: float) -> RecordedBatch:
        """Take a batch and acknowledge it before it is verified, so that the broker works meanwhile.

        Only for those who acknowledge in any case, with a consumer that is Pipelining (TypeError otherwise: ask
        before). Its answer is written down with a later batch, at the latest by ``settle``.
        """
        if not isinstance(self.consumer, Pipelining):
            raise TypeError("this profile waits for each acknowledgement")
        received = self.consumer.receive_and_acknowledge(max_messages, wait_s)
        if len(received):
            self._asked.append((self._batches, received.received_ns))
        taken = self._written(received)
        self._answered(self.consumer.answers())
        return taken

    def settle(self, timeout_s: float) -> None:
        """Wait for what ``take_ahead`` has left open."""
        if isinstance(self.consumer, Pipelining):
            self._answered(self.consumer.answers(timeout_s))

    def _answered(self, answers: Sequence[Settlements]) -> None:
        for settlements in answers:
            batch, asked_ns = self._asked.popleft()
            self._writer.acknowledgements(self._number, batch, Action.ACKNOWLEDGE, settlements, asked_ns)

    def _written(self, received: Received) -> RecordedBatch:
        batch = self._batches
        self._batches += 1
        return RecordedBatch(batch, received, self._writer.deliveries(self._number, batch, received))

    @property
    def can_pipeline(self) -> bool:
        return isinstance(self.consumer, Pipelining)

    def acknowledge(self, taken: RecordedBatch, indices: Indices = None) -> Settlements:
        asked_ns = time.monotonic_ns()
        settlements = self.consumer.acknowledge(taken.received, indices)
        self._writer.acknowledgements(self._number, taken.batch, Action.ACKNOWLEDGE, settlements, asked_ns)
        return settlements

    def acknowledge_all(self, batches: Sequence[RecordedBatch]) -> None:
        """Oldest first; with one request where the broker takes several batches as one."""
        if len(batches) < 2 or not isinstance(self.consumer, Bundling):
            for taken in batches:
                self.acknowledge(taken)
            return
        asked_ns = time.monotonic_ns()
        answers = self.consumer.acknowledge_all([taken.received for taken in batches])
        for taken, settlements in zip(batches, answers, strict=True):
            self._writer.acknowledgements(self._number, taken.batch, Action.ACKNOWLEDGE, settlements, asked_ns)

    @property
    def can_release(self) -> bool:
        return isinstance(self.consumer, Releasable)

    def release(self, taken: RecordedBatch, indices: Indices = None) -> Settlements:
        """Raises TypeError where the consumer is not Releasable: ask before."""
        if not isinstance(self.consumer, Releasable):
            raise TypeError("this profile cannot release a delivery")
        asked_ns = time.monotonic_ns()
        settlements = self.consumer.release(taken.received, indices)
        self._writer.acknowledgements(self._number, taken.batch, Action.RELEASE, settlements, asked_ns)
        return settlements

    def close(self) -> None:
        self.consumer.close()


class RecordingReader:
    """A reader outside any group, with a reader number."""

    def __init__(
        self, broker: Replayable, channel: str, start: ReplayStart, writer: Writer, *, number: int, **attributes: Any
    ) -> None:
        self._reader = broker.reader(channel, start)
        self._writer, self._number, self._batches = writer, number, 0
        writer.mark("reader", reader=number, kind="reader", channel=channel, **attributes)

    def read(self, max_messages: int, wait_s: float) -> RecordedBatch:
        received = self._reader.read(max_messages, wait_s)
        batch = self._batches
        self._batches += 1
        return RecordedBatch(batch, received, self._writer.deliveries(self._number, batch, received))

    def close(self) -> None:
        self._reader.close()
