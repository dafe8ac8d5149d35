"""Clients of an experiment that record what they do: a producer, a consumer and a reader.

Each joins an adapter's producer, consumer or reader to the stamp and to one part of the history, holds its times to
those of the calls (``call_times``), and adds nothing else. A client belongs to one thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Protocol, TypeVar

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
from brokerbench.scenarios.base import Context
from brokerbench.scenarios.clients.call_times import CallTimes, SentTimes
from brokerbench.scenarios.history import Action, Column, Writer
from brokerbench.scenarios.history.broker_keys import EncodedKeys
from brokerbench.scenarios.history.stamp import Stamper, Stamps

_MOST_REASONS = 10
_REASON_LENGTH = 500


def deduplication_id(identity: int) -> str:
    """The id for broker-side deduplication of an identity's number."""
    return f"id-{identity}"


OnCall = Callable[[int, int], None]
"""Told when a call of the broker's client has ended: its begin and its end (monotonic, in ns)."""


def unwatched(begin_ns: int, end_ns: int) -> None: ...


@dataclass(frozen=True, slots=True)
class _Stamped:
    """Messages with their stamps, as columns."""

    seqs: Column
    keys: Column
    payloads: Sequence[bytes]
    encoded_keys: list[bytes] | None
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
        """Mean size of a message, in bytes."""
        self._stamper = Stamper(producer=number, run=run, size=size, seed=seed, records=records)
        self._times, self._sent = CallTimes(broker.declaration().profile), SentTimes()
        self._next_seq = 0
        self._encoded_keys = EncodedKeys()
        self.acknowledged = 0
        """Number of sends that the broker acknowledged."""
        self.on_call: OnCall = unwatched
        self._reasons: set[str] = set()
        self.clock_ahead_ns = 0
        """How far this host's monotonic clock is ahead of the cell's; stamps hold the cell's time."""
        writer.mark("producer", producer=number, channel=channel, size=size, **attributes)

    def send(self, keys: Sequence[int] | Column, identities: Sequence[int] | None = None) -> SendReceipt:
        """Send one stamped message for each key, and record the outcomes that have arrived meanwhile.

        ``identities``: for deduplication by the broker; a message repeats an earlier one of the same number.
        """
        if identities is not None:
            self._writer.mark(
                "identities", producer=self._number, first_seq=self._next_seq, identities=list(identities)
            )
        stamped = self._stamp(np.asarray(keys, np.int64), time.monotonic_ns())
        ids = None if identities is None else list(map(deduplication_id, identities))
        sent_ns = time.monotonic_ns()
        # Recorded before it is sent: a crash in between leaves a send of unknown outcome, never a phantom.
        self._sent.sent(self._next_seq, sent_ns)
        self._write(stamped, slice(None), sent_ns, sent_ns)
        return self._hand_over(Batch(stamped.payloads, stamped.encoded_keys, ids))

    @contextmanager
    def stamped_ahead(self, keys: Column, due_ns: Column) -> Iterator[Callable[[int], None]]:
        """Stamp one message for each key, due at these times; yields a function that sends the next ``count`` of them.

        The cost of a call is paid once for all messages. On leaving, all messages that were handed over are recorded,
        also when the broker failed; where recording itself fails, sends are missing and the cell fails.
        """
        stamped = self._stamp(keys, due_ns)
        encoded = stamped.encoded_keys
        sent_ns: list[int] = []

        def send(count: int) -> None:
            part = slice(len(sent_ns), len(sent_ns) + count)
            now_ns = time.monotonic_ns()
            self._sent.sent(self._next_seq + len(sent_ns), now_ns)
            sent_ns.extend(repeat(now_ns, count))
            self._hand_over(Batch(stamped.payloads[part], None if encoded is None else encoded[part]))

        try:
            yield send
        finally:
            sent = slice(len(sent_ns))
            self._write(stamped, sent, due_ns[sent], np.array(sent_ns, np.int64))

    def _stamp(self, keys: Column, due_ns: Column | int) -> _Stamped:
        """Stamp the next messages to send, in this order: their sequence numbers become their tickets."""
        seqs = np.arange(self._next_seq, self._next_seq + len(keys), dtype=np.int64)
        payloads, checksums = self._stamper.stamp(seqs, keys, due_ns - self.clock_ahead_ns)
        # A load has a key on every message or on none.
        unkeyed = len(keys) and keys[0] < 0
        encoded = None if unkeyed else list(map(self._encoded_keys.__getitem__, keys.tolist()))
        return _Stamped(seqs, keys, payloads, encoded, checksums)

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
        begin_ns = time.monotonic_ns()
        receipt = self._producer.send(batch)
        settlements = self._producer.poll()
        self.on_call(begin_ns, time.monotonic_ns())
        self._settled("poll", settlements)
        return receipt

    def poll(self) -> None:
        """Record the outcomes that have arrived."""
        begin_ns = time.monotonic_ns()
        settlements = self._producer.poll()
        self.on_call(begin_ns, time.monotonic_ns())
        self._settled("poll", settlements)

    def flush(self, timeout_s: float = 30.0) -> Settlements:
        settlements = self._producer.flush(timeout_s)
        self._settled("flush", settlements)
        return settlements

    def close(self) -> None:
        """Sends still in flight are recorded as UNKNOWN."""
        self._settled("close", self._producer.close())

    def _settled(self, call: str, settlements: Settlements) -> None:
        if not len(settlements):
            return
        tickets = settlements.tickets
        earliest = int(tickets[0]) if len(tickets) == 1 else int(tickets.min())
        settlements = self._times.settled(f"producer.{call}", settlements, self._sent.of(earliest))
        self.acknowledged += int(np.count_nonzero(settlements.outcomes == Outcome.ACKNOWLEDGED))
        self._writer.send_outcomes(self._number, settlements)
        if settlements.errors:
            self._note_reasons(settlements)

    def _note_reasons(self, settlements: Settlements) -> None:
        """Mark each reason once. A text with numbers in it is another one each time: only the first few are kept."""
        for ticket, why in settlements.errors.items():
            if len(self._reasons) == _MOST_REASONS:
                return
            if why not in self._reasons:
                self._reasons.add(why)
                outcome = Outcome(int(settlements.outcomes[settlements.tickets == ticket][0]))
                self._writer.mark(
                    "not_acknowledged",
                    producer=self._number,
                    seq=int(ticket),
                    outcome=outcome.name.lower(),
                    reason=why[:_REASON_LENGTH],
                )


@dataclass(frozen=True, slots=True)
class RecordedBatch:
    """One received batch, its stamps, and its number among the reader's batches."""

    number: int
    received: Received
    stamps: Stamps

    def __len__(self) -> int:
        return len(self.received)

    def bare(self) -> RecordedBatch:
        """The same batch without payloads and keys: all that settling needs."""
        return RecordedBatch(self.number, self.received.bare(), self.stamps)


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
        self._times, self._details = CallTimes(broker.declaration().profile), settings.details
        self._writer, self._number, self._batches = writer, number, 0
        # (batch, asked_ns) of acknowledgements without an answer yet, oldest first.
        self._asked: deque[tuple[int, int]] = deque()
        self.on_call: OnCall = unwatched
        writer.mark("reader", reader=number, kind="consumer", channel=channel, group=settings.group, **attributes)

    def take(self, max_messages: int, wait_s: float) -> RecordedBatch:
        asked_ns = time.monotonic_ns()
        received = self.consumer.receive(max_messages, wait_s)
        self.on_call(asked_ns, time.monotonic_ns())
        return self._written(self._times.received("consumer.receive", received, asked_ns), asked_ns)

    def take_ahead(self, max_messages: int, wait_s: float) -> RecordedBatch:
        """Take a batch and acknowledge it before it is verified, so that the broker works meanwhile.

        For loads, which acknowledge every batch. Raises TypeError unless ``can_pipeline``. The answer is recorded with
        a later batch, at the latest by ``settle``.
        """
        if not isinstance(self.consumer, Pipelining):
            raise TypeError("this profile waits for each acknowledgement")
        asked_ns = time.monotonic_ns()
        received = self.consumer.receive_and_acknowledge(max_messages, wait_s)
        self.on_call(asked_ns, time.monotonic_ns())
        received = self._times.received("consumer.receive_and_acknowledge", received, asked_ns)
        if len(received):
            self._asked.append((self._batches, received.received_ns))
        batch = self._written(received, asked_ns)
        self._answered(self.consumer.answers())
        return batch

    def settle(self, timeout_s: float) -> None:
        """Wait for the answers that ``take_ahead`` has left open."""
        if isinstance(self.consumer, Pipelining):
            begin_ns = time.monotonic_ns()
            answers = self.consumer.answers(timeout_s)
            self.on_call(begin_ns, time.monotonic_ns())
            self._answered(answers)

    def _answered(self, answers: Sequence[Settlements]) -> None:
        for settlements in answers:
            batch, asked_ns = self._asked.popleft()
            self._settled("answers", batch, Action.ACKNOWLEDGE, settlements, asked_ns)

    def _written(self, received: Received, asked_ns: int) -> RecordedBatch:
        batch = self._batches
        self._batches += 1
        stamps = self._writer.deliveries(self._number, batch, received, asked_ns, details=self._details)
        return RecordedBatch(batch, received, stamps)

    def _settled(self, call: str, batch: int, action: Action, settlements: Settlements, asked_ns: int) -> Settlements:
        settlements = self._times.settled(f"consumer.{call}", settlements, asked_ns)
        self._writer.acknowledgements(self._number, batch, action, settlements, asked_ns)
        return settlements

    @property
    def can_pipeline(self) -> bool:
        return isinstance(self.consumer, Pipelining)

    def acknowledge(self, batch: RecordedBatch, indices: Indices = None) -> Settlements:
        asked_ns = time.monotonic_ns()
        settlements = self.consumer.acknowledge(batch.received, indices)
        self.on_call(asked_ns, time.monotonic_ns())
        return self._settled("acknowledge", batch.number, Action.ACKNOWLEDGE, settlements, asked_ns)

    def acknowledge_all(self, batches: Sequence[RecordedBatch]) -> None:
        """Oldest first; in one request where the broker accepts several batches at once."""
        if len(batches) < 2 or not isinstance(self.consumer, Bundling):
            for batch in batches:
                self.acknowledge(batch)
            return
        asked_ns = time.monotonic_ns()
        answers = self.consumer.acknowledge_all([batch.received for batch in batches])
        self.on_call(asked_ns, time.monotonic_ns())
        for batch, settlements in zip(batches, answers, strict=True):
            self._settled("acknowledge_all", batch.number, Action.ACKNOWLEDGE, settlements, asked_ns)

    @property
    def can_release(self) -> bool:
        return isinstance(self.consumer, Releasable)

    def release(self, batch: RecordedBatch, indices: Indices = None) -> Settlements:
        """Raises TypeError unless ``can_release``."""
        if not isinstance(self.consumer, Releasable):
            raise TypeError("this profile cannot release a delivery")
        asked_ns = time.monotonic_ns()
        settlements = self.consumer.release(batch.received, indices)
        return self._settled("release", batch.number, Action.RELEASE, settlements, asked_ns)

    def close(self) -> None:
        """Marked before: from then on the broker may hand out again what this consumer holds."""
        self._writer.mark("closing", reader=self._number)
        self.consumer.close()


class ReplayableBroker(Broker, Replayable, Protocol):
    """A broker whose channels can be read again."""


class RecordingReader:
    """A reader outside any group, with a reader number."""

    def __init__(
        self,
        broker: ReplayableBroker,
        channel: str,
        start: ReplayStart,
        writer: Writer,
        *,
        number: int,
        **attributes: Any,
    ) -> None:
        self._reader = broker.reader(channel, start)
        self._times = CallTimes(broker.declaration().profile)
        self._writer, self._number, self._batches = writer, number, 0
        writer.mark("reader", reader=number, kind="reader", channel=channel, **attributes)

    def read(self, max_messages: int, wait_s: float) -> RecordedBatch:
        asked_ns = time.monotonic_ns()
        received = self._times.received("reader.read", self._reader.read(max_messages, wait_s), asked_ns)
        batch = self._batches
        self._batches += 1
        return RecordedBatch(batch, received, self._writer.deliveries(self._number, batch, received, asked_ns))

    def close(self) -> None:
        self._reader.close()


def open_producer(
    context: Context, channel: str, writer: Writer, number: int, broker: Broker | None = None, **attributes: Any
) -> RecordingProducer:
    """A producer of random payloads as the cell's parameters have them, on the cell's connection unless given one."""
    return RecordingProducer(
        broker or context.broker,
        channel,
        writer,
        number=number,
        run=context.run,
        seed=context.seed,
        size=int(context.parameters["size"]),
        **attributes,
    )


_Batch = TypeVar("_Batch", bound=Sized)


def take_until(
    take: Callable[[int, float], _Batch],
    count: int | None,
    patience_s: float,
    *,
    most: int = 100,
    wait_s: float = 1.0,
    renewed: bool = False,
) -> Iterator[_Batch]:
    """Batches until ``count`` messages have come (None: any number), or ``patience_s`` has passed.

    ``take(max_messages, wait_s)`` is called for at most ``most`` messages and ``wait_s`` at a time. ``renewed``: each
    batch renews the patience, so that only silence ends the wait; otherwise the deadline is fixed.
    """
    deadline, came = time.monotonic() + patience_s, 0
    while (count is None or came < count) and (left_s := deadline - time.monotonic()) > 0:
        batch = take(most if count is None else min(most, count - came), min(left_s, wait_s))
        if len(batch):
            came += len(batch)
            if renewed:
                deadline = time.monotonic() + patience_s
            yield batch
