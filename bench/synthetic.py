"""A history of any length, as a run would have written it, with a few faults: what checkers are timed on.

Four producers send to one channel of four partitions, by key; four consumers read one partition each, in batches
of 100, and acknowledge every batch. In every stretch, each partition has its faults: two messages lost,
one altered, one delivered again after its acknowledgement, a phantom, and two of one key in the wrong order.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brokers.types import Outcome
from scenarios.history import Action, Column, Columns, Writer
from scenarios.stamp import CORRUPT, FOREIGN, INTACT

CHANNEL = "c"
PRODUCERS = PARTITIONS = 4
STRETCH = 400_000
"""Messages between two faults of one sort in one partition."""
_EACH = STRETCH // PRODUCERS
_BATCH = 100
_SEND_EVERY_NS = 1_000
_DELIVERY_NS = 5_000_000
_ACKNOWLEDGED_AFTER_NS = 1_000
_SIZE = 1024


@dataclass(slots=True)
class _Ends:
    """How far each partition came: places given out, batches read."""

    place: int = 0
    batch: int = 0


def write(directory: Path, messages: int, keys: int, progress: Callable[[float], None]) -> int:
    """Write a history of ``messages`` sends (a multiple of ``STRETCH``); returns how often each fault is in it."""
    stretches, rest = divmod(messages, STRETCH)
    if rest or stretches < 1:
        raise ValueError(f"a synthetic history has a multiple of {STRETCH} messages, not {messages}")
    rng = np.random.default_rng(keys)
    ends = [_Ends() for _ in range(PARTITIONS)]
    with ExitStack() as stack:
        writers = [stack.enter_context(Writer(directory, f"load-{at}", run=1)) for at in range(PRODUCERS)]
        for number, writer in enumerate(writers):
            writer.mark("producer", producer=number, channel=CHANNEL)
            writer.mark("reader", reader=number, kind="consumer", channel=CHANNEL, group="g")
        for stretch in range(stretches):
            sent = _sent(rng, stretch, keys)
            partition = sent["key"] % PARTITIONS
            place = np.empty(STRETCH, np.int64)
            for number, end in enumerate(ends):
                rows = np.flatnonzero(partition == number)
                place[rows] = end.place + np.arange(len(rows))
                end.place += len(rows)
                _read(writers[number], number, end, {name: column[rows] for name, column in sent.items()}, place[rows])
            for number, writer in enumerate(writers):
                ours = sent["producer"] == number
                writer.rows("sends", {name: column[ours] for name, column in sent.items()})
                writer.rows(
                    "settled", _settled(sent["seq"][ours], sent["sent_ns"][ours], number, partition[ours], place[ours])
                )
            progress((stretch + 1) / stretches)
        # On the columns' clock, which starts at 0, and not this host's: after everything.
        writers[0].mark("drained", channel=CHANNEL, at_ns=messages * _SEND_EVERY_NS + 2 * _DELIVERY_NS)
    return stretches * PARTITIONS


def _sent(rng: np.random.Generator, stretch: int, keys: int) -> dict[str, Column]:
    """One stretch of all producers, in order of sending: they take turns."""
    number = stretch * STRETCH + np.arange(STRETCH, dtype=np.int64)
    sent_ns = number * _SEND_EVERY_NS
    return {
        "producer": (number % PRODUCERS).astype(np.int32),
        "seq": number // PRODUCERS,
        "key": rng.integers(0, keys, STRETCH),
        "size": np.full(STRETCH, _SIZE, np.int32),
        "checksum": rng.integers(0, 2**64, STRETCH, dtype=np.uint64),
        "intended_ns": sent_ns,
        "sent_ns": sent_ns,
    }


def _settled(seq: Column, sent_ns: Column, producer: int, partition: Column, place: Column) -> Columns:
    return {
        "producer": np.full(len(seq), producer, np.int32),
        "seq": seq,
        "settled_ns": sent_ns + _DELIVERY_NS // 2,
        "outcome": np.full(len(seq), Outcome.ACKNOWLEDGED, np.int8),
        "partition": partition.astype(np.int32),
        "place": place,
    }


def _read(writer: Writer, reader: int, end: _Ends, sent: Columns, place: Column) -> None:
    """What one consumer got of one stretch, faults and all, and its acknowledgements."""
    order = _faulty(sent)
    count = len(order)
    at = np.arange(count)
    batch = end.batch + at // _BATCH
    # Received when the last of the batch was sent, and some.
    last = sent["sent_ns"][np.minimum((at // _BATCH + 1) * _BATCH, len(place)) - 1]
    received_ns = last + _DELIVERY_NS
    status = np.full(count, INTACT, np.int8)
    producer, seq, key = (sent[name][order] for name in ("producer", "seq", "key"))
    got_place, checksum = place[order], sent["checksum"][order]
    status[_ALTERED], checksum[_ALTERED] = CORRUPT, 0
    status[_PHANTOM], producer[_PHANTOM], seq[_PHANTOM], key[_PHANTOM], got_place[_PHANTOM] = FOREIGN, -1, -1, -1, -1
    slot = (at % _BATCH).astype(np.int32)
    readers = np.full(count, reader, np.int32)
    writer.rows(
        "deliveries",
        {
            "reader": readers,
            "batch": batch,
            "slot": slot,
            "producer": producer,
            "seq": seq,
            "key": key,
            "partition": readers,
            "place": got_place,
            "broker_epoch_ns": received_ns // 1_000_000,
            "received_ns": received_ns,
            "delivery_count": np.ones(count, np.int32),
            "size": np.full(count, _SIZE, np.int32),
            "checksum": checksum,
            "status": status,
        },
    )
    asked_ns = received_ns + _ACKNOWLEDGED_AFTER_NS
    writer.rows(
        "settles",
        {
            "reader": readers,
            "batch": batch,
            "slot": slot,
            "action": np.full(count, Action.ACKNOWLEDGE, np.int8),
            "outcome": np.full(count, Outcome.ACKNOWLEDGED, np.int8),
            "asked_ns": asked_ns,
            "settled_ns": asked_ns + _ACKNOWLEDGED_AFTER_NS,
        },
    )
    end.batch = int(batch[-1]) + 1


_LOST = [1_000, 1_500]
_PHANTOM, _ALTERED = 2_000, 3_000
_AGAIN, _LATER = 4_000, 8_000
_OVERTAKEN_FROM = 10_000


def _faulty(sent: Columns) -> Column:
    """The order of delivery: rows of ``sent``. A phantom takes a row of its own (any)."""
    order = np.arange(len(sent["seq"]))
    line = sent["key"] * PRODUCERS + sent["producer"]
    # The next message of a line goes before one that is ten batches older: the two change places.
    tail = np.argsort(line[_OVERTAKEN_FROM:], kind="stable") + _OVERTAKEN_FROM
    pairs = np.flatnonzero(line[tail[1:]] == line[tail[:-1]])
    earlier, later = tail[pairs[0]], tail[pairs[0] + 1]
    order[[earlier, later]] = later, earlier
    return np.insert(np.delete(order, _LOST), [_PHANTOM, _LATER], [order[0], order[_AGAIN]])
