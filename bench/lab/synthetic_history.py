"""A history of any length, as a run would have written it, with a few faults: what checkers are timed on.

Four producers send to one channel of eight partitions, by key; eight consumers of one group read one partition each, in
batches of 100, and acknowledge what they got. Some sends are never answered, some are rejected; some repeat an earlier
one under its identity, and are swallowed. Some deliveries are released and come again, some lapse and come again, some
fail twice and go to a channel of dead letters, which another consumer reads. At last a reader reads one partition
again, from the beginning, when some of it is older than the age limit. There is something to judge for every checker.

In every stretch, each partition has its faults: two messages lost (one acknowledged like a repeat), one altered, one
delivered again after its acknowledgement, a phantom, two of one key in the wrong order, a repeat delivered all the
same; a dead letter missing, and one that never failed. What is read again is not complete either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brokerbench.bench.lab.synthetic_reads import Sends, SyntheticReader, read_again, read_letters, read_partition
from brokerbench.bench.selftest.scripts import LETTERS
from brokerbench.bench.selftest.simulation import CHANNEL as CHANNEL
from brokerbench.brokers.types import Clock, Outcome
from brokerbench.scenarios.history import Column, Columns, Writer

PRODUCERS = 4
PARTITIONS = 8
STRETCH = 400_000
"""Number of deliveries, of all kinds, between two equal faults in one partition (about a thousand more)."""
SENDS = 356_000
"""Number of sends of one stretch."""
LEASE_S = 0.05
WINDOW_S = 300.0
_SEND_EVERY_NS = 1_000
_SETTLED_AFTER_NS = 2_500_000
_SIZE = 1024
_WITH_IDENTITY = 1_000
"""Number of sends with an identity: the first ones of each producer in each stretch."""
_REPEATS_EVERY, _REPEATS_AFTER = 50, 8
_UNKNOWN_EVERY, _REJECTED_EVERY = 4_999, 4_993
_LETTER_READER, _AGAIN_READER = 100, 101
AGAIN = PARTITIONS - 1
"""The partition that is read again."""


@dataclass(slots=True)
class _PartitionEnd:
    """The next place of a partition."""

    place: int = 0


def write(directory: Path, deliveries: int, keys: int, progress: Callable[[float], None]) -> int:
    """Write a history of about ``deliveries`` (a multiple of ``STRETCH``); returns how often each fault is in it."""
    stretches, rest = divmod(deliveries, STRETCH)
    if rest or stretches < 1:
        raise ValueError(f"a synthetic history has a multiple of {STRETCH} deliveries, not {deliveries}")
    rng = np.random.default_rng(keys)
    ends = [_PartitionEnd() for _ in range(PARTITIONS)]
    epoch_ns = time.time_ns()  # as the marks have it
    end_ns = stretches * SENDS * _SEND_EVERY_NS
    with ExitStack() as stack:
        producers = [stack.enter_context(Writer(directory, f"sender-{at}", run=1)) for at in range(PRODUCERS)]
        readers = [
            SyntheticReader(stack.enter_context(Writer(directory, f"reader-{at}", run=1)), at)
            for at in (*range(PARTITIONS), _LETTER_READER, _AGAIN_READER)
        ]
        *consumers, letters, again = readers
        _mark(producers, consumers, letters, again)
        for stretch in range(stretches):
            sent = _sent(rng, stretch, keys, producers, epoch_ns)
            for number, (reader, end) in enumerate(zip(consumers, ends, strict=True)):
                mine = sent.only(np.flatnonzero(sent["partition"] == number))
                mine["place"][:] = _places(mine, end)
                sent["place"][mine["row"]] = mine["place"]
                failed = read_partition(reader, mine)
                read_letters(letters, failed, 2 * end_ns)
                if number == AGAIN:
                    read_again(again, mine, 3 * end_ns)
            for number, writer in enumerate(producers):
                _write_sends(writer, sent.only(np.flatnonzero(sent["producer"] == number)))
            progress((stretch + 1) / stretches)
        # On the columns' clock, which starts at 0, and not this host's: after everything.
        for channel in (CHANNEL, LETTERS):
            producers[0].mark("drained", channel=channel, at_ns=4 * end_ns)
        age_s = (3 * end_ns - SENDS * _SEND_EVERY_NS / 2) / 1e9
        producers[0].mark("kept", channel=CHANNEL, age_s=age_s)
        producers[0].mark("limited", channel=CHANNEL, messages=len(producers) * stretches * SENDS)
        producers[0].mark("attempt", channel=CHANNEL, **_attempt(ends[AGAIN], 3 * end_ns))
    return stretches * PARTITIONS


def _mark(
    producers: list[Writer], consumers: list[SyntheticReader], letters: SyntheticReader, again: SyntheticReader
) -> None:
    phase = {"lease_s": LEASE_S, "alone": True, "lapses": False, "letters": True, "window_s": WINDOW_S}
    producers[0].mark("phase", channel=CHANNEL, **phase)
    clock = {"broker_clock": Clock.BROKER_APPEND, "broker_clock_resolution_ns": 1}
    producers[0].mark("channel", channel=CHANNEL, lease_s=None, buffers_ahead=False, **clock)
    for number, writer in enumerate(producers):
        writer.mark("producer", producer=number, channel=CHANNEL, at_ns=0)
    for reader in (*consumers, letters):
        channel = LETTERS if reader is letters else CHANNEL
        reader.writer.mark("reader", reader=reader.number, kind="consumer", channel=channel, group="g", at_ns=0)
    again.writer.mark("reader", reader=again.number, kind="reader", channel=CHANNEL, at_ns=0)


def _attempt(end: _PartitionEnd, began_ns: int) -> Mapping[str, object]:
    return {
        "mode": "from_position",
        "reader": _AGAIN_READER,
        "outcome": "read",
        "began_ns": began_ns,
        "places": {str(AGAIN): 0},
        "first": {str(AGAIN): 0},
        "first_after": {str(AGAIN): 0},
        "last": {str(AGAIN): end.place - 1},
    }


def _sent(rng: np.random.Generator, stretch: int, keys: int, producers: list[Writer], epoch_ns: int) -> Sends:
    """One stretch of all producers, in order of sending: they take turns."""
    row = np.arange(SENDS, dtype=np.int64)
    number = stretch * SENDS + row
    seq, producer = number // PRODUCERS, (number % PRODUCERS).astype(np.int32)
    key = rng.integers(0, keys, SENDS)
    repeated = row // PRODUCERS
    repeats = (repeated < _WITH_IDENTITY) & (repeated % _REPEATS_EVERY == _REPEATS_EVERY - 1)
    original = np.where(repeats, row - _REPEATS_AFTER * PRODUCERS, row)
    key = key[original]
    for at, writer in enumerate(producers):
        own = np.flatnonzero(producer == at)[:_WITH_IDENTITY]
        writer.mark("identities", producer=at, first_seq=int(seq[own[0]]), identities=number[original[own]].tolist())
    outcome = np.full(SENDS, Outcome.ACKNOWLEDGED, np.int8)
    late = repeated >= _WITH_IDENTITY
    outcome[late & (number % _UNKNOWN_EVERY == 0)] = Outcome.UNKNOWN
    outcome[late & (number % _REJECTED_EVERY == 0)] = Outcome.REJECTED
    return Sends(
        {
            "row": row,
            "producer": producer,
            "seq": seq,
            "key": key,
            "size": np.full(SENDS, _SIZE, np.int32),
            "checksum": rng.integers(0, 2**64, SENDS, dtype=np.uint64),
            "sent_ns": number * _SEND_EVERY_NS,
            "broker_epoch_ns": epoch_ns + number * _SEND_EVERY_NS,
            "partition": (key % PARTITIONS).astype(np.int32),
            "place": np.full(SENDS, -1, np.int64),
            "outcome": outcome,
            "original": original,
        }
    )


def _places(mine: Sends, end: _PartitionEnd) -> Column:
    """A repeat gets the place of its original, a rejected message none."""
    there = (mine["row"] == mine["original"]) & (mine["outcome"] != Outcome.REJECTED)
    place = np.full(len(there), -1, np.int64)
    place[there] = end.place + np.arange(int(there.sum()))
    end.place += int(there.sum())
    swallowed = np.flatnonzero(mine["row"] != mine["original"])
    place[swallowed] = place[np.searchsorted(mine["row"], mine["original"][swallowed])]
    return mine.with_taken_place(place)


def _write_sends(writer: Writer, sent: Sends) -> None:
    sends: Columns = {name: sent[name] for name in ("producer", "seq", "key", "size", "checksum", "sent_ns")}
    writer.rows("sends", {**sends, "intended_ns": sent["sent_ns"]})
    answered = sent.only(np.flatnonzero(sent["outcome"] != Outcome.UNKNOWN))
    settled: Columns = {name: answered[name] for name in ("producer", "seq", "outcome", "partition", "place")}
    writer.rows("send_outcomes", {**settled, "settled_ns": answered["sent_ns"] + _SETTLED_AFTER_NS})
