"""The form of messages in Redis: entries, ids and places, and the names of a channel's keys.

A channel ``c`` of n partitions is the streams ``c:0`` to ``c:n-1`` and the key ``c:spec`` (its ``ChannelSpec``
as JSON). A message is one entry with the fields ``k`` (its key, where it has one), ``a:<name>`` for each
attribute, and ``p``, the payload, always last. Its place is ``ms << 20 | seq`` of the entry's id.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from zlib import crc32

import numpy as np

from brokerbench.brokers.redis_streams.connection import pack
from brokerbench.brokers.types import (
    Batch,
    ChannelSpec,
    DeadLetterPolicy,
    Durability,
    IntColumn,
    Received,
    Retention,
    SmallIntColumn,
)

SEQ_BITS = 20
_SEQ_MASK = (1 << SEQ_BITS) - 1
_LAST_SEQ = 2**64 - 1
_CACHED_KEYS = 65_536

Entry = tuple[bytes, list[bytes]]
"""(id, [field, value, field, value, ...]) as Redis answers."""


def spec_key(channel: str) -> str:
    return f"{channel}:spec"


def stream_names(spec: ChannelSpec) -> list[bytes]:
    return [f"{spec.name}:{partition}".encode() for partition in range(spec.partitions)]


def spec_to_json(spec: ChannelSpec) -> str:
    return json.dumps(asdict(spec))


def spec_from_json(text: str | bytes) -> ChannelSpec:
    raw = json.loads(text)
    raw["retention"] = Retention(**raw["retention"]) if raw["retention"] else None
    raw["dead_letter"] = DeadLetterPolicy(**raw["dead_letter"]) if raw["dead_letter"] else None
    raw["durability"] = Durability(raw["durability"])
    return ChannelSpec(**raw)


def place_of(entry_id: bytes) -> int:
    ms, _, seq = entry_id.partition(b"-")
    return int(ms) << SEQ_BITS | int(seq)


def places_of(ids: Sequence[bytes]) -> IntColumn:
    """Places of many ids in one pass."""
    if not ids:
        return np.empty(0, np.int64)
    parts = np.fromstring(b"-".join(ids).replace(b"-", b" ").decode(), dtype=np.int64, sep=" ")
    places: IntColumn = parts[0::2] << SEQ_BITS | parts[1::2]
    return places


def id_before(place: int) -> bytes:
    """The greatest id below a place: a read after it includes the place."""
    ms, seq = place >> SEQ_BITS, place & _SEQ_MASK
    if seq:
        return b"%d-%d" % (ms, seq - 1)
    return b"%d-%d" % (ms - 1, _LAST_SEQ) if ms > 0 else b"0-0"


class Packer:
    """Writes XADD commands of one channel. Messages without a key take the streams in turn."""

    def __init__(self, streams: Sequence[bytes]) -> None:
        self._streams = streams
        self._next = 0
        self._starts = [_start(stream) for stream in streams]
        self._heads: dict[bytes, tuple[bytes, int]] = {}

    def pack(self, batch: Batch, rows: range) -> tuple[bytes, SmallIntColumn]:
        """The commands for these rows of a batch, and the partition of each."""
        if batch.attributes is not None:
            return self._pack_with_attributes(batch, rows)
        payloads = batch.payloads[rows.start : rows.stop]
        if batch.keys is None:
            partitions = [(self._next + at) % len(self._streams) for at in range(len(rows))]
            self._next = (self._next + len(rows)) % len(self._streams)
            heads = [_FIELDS_UNKEYED % (self._starts[partition]) for partition in partitions]
        else:
            known = [self._head(key) for key in batch.keys[rows.start : rows.stop]]
            heads = [head for head, _ in known]
            partitions = [partition for _, partition in known]
        # Four pieces a message, laid out by slices: no step in Python for each.
        pieces: list[bytes] = [b"\r\n"] * (4 * len(rows))
        pieces[0::4] = heads
        pieces[1::4] = _lengths(payloads)
        pieces[2::4] = payloads
        return b"".join(pieces), np.array(partitions, np.int32)

    def partition_of(self, key: bytes) -> int:
        return crc32(key) % len(self._streams)

    def _head(self, key: bytes) -> tuple[bytes, int]:
        known = self._heads.get(key)
        if known is None:
            if len(self._heads) >= _CACHED_KEYS:
                self._heads.clear()
            partition = self.partition_of(key)
            known = (_FIELDS_KEYED % (self._starts[partition], len(key), key), partition)
            self._heads[key] = known
        return known

    def _pack_with_attributes(self, batch: Batch, rows: range) -> tuple[bytes, SmallIntColumn]:
        partitions = np.empty(len(rows), np.int32)
        commands: list[bytes] = []
        for at, row in enumerate(rows):
            key = batch.keys[row] if batch.keys is not None else None
            if key is None:
                partition, self._next = self._next, (self._next + 1) % len(self._streams)
            else:
                partition = self.partition_of(key)
            partitions[at] = partition
            fields: list[bytes | str] = [] if key is None else [b"k", key]
            for name, value in (batch.attributes or ())[row].items():
                fields += [f"a:{name}", value]
            commands.append(pack(b"XADD", self._streams[partition], b"*", *fields, b"p", batch.payloads[row]))
        return b"".join(commands), partitions


_FIELDS_KEYED = b"*7\r\n%b$1\r\nk\r\n$%d\r\n%b\r\n$1\r\np\r\n"
_FIELDS_UNKEYED = b"*5\r\n%b$1\r\np\r\n"


def _start(stream: bytes) -> bytes:
    return b"$4\r\nXADD\r\n$%d\r\n%b\r\n$1\r\n*\r\n" % (len(stream), stream)


def _lengths(payloads: Sequence[bytes]) -> list[bytes]:
    sizes = list(map(len, payloads))
    if sizes and sizes.count(sizes[0]) == len(sizes):
        return [b"$%d\r\n" % sizes[0]] * len(sizes)
    return [b"$%d\r\n" % size for size in sizes]


@dataclass(frozen=True, slots=True)
class Block:
    """Entries of one partition in order, with their delivery counts (``None``: all the same, ``count``)."""

    partition: int
    entries: Sequence[Entry]
    count: int
    counts: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Handle:
    """For settling: ids in order of delivery, and their runs (partition, start, stop)."""

    ids: list[bytes]
    runs: list[tuple[int, int, int]]


def received(blocks: Sequence[Block]) -> Received:
    """Columns from entries. Times are the ids' milliseconds: Redis' own clock."""
    ids = [entry[0] for block in blocks for entry in block.entries]
    fields = [entry[1] for block in blocks for entry in block.entries]
    runs: list[tuple[int, int, int]] = []
    partitions = np.empty(len(ids), np.int32)
    counts = np.empty(len(ids), np.int32)
    start = 0
    for block in blocks:
        stop = start + len(block.entries)
        partitions[start:stop] = block.partition
        counts[start:stop] = block.count if block.counts is None else block.counts
        runs.append((block.partition, start, stop))
        start = stop
    places = places_of(ids)
    return Received(
        [row[-1] for row in fields],
        [row[1] if row[0] == b"k" else None for row in fields],
        partitions,
        places,
        time.monotonic_ns(),
        (places >> SEQ_BITS) * 1_000_000,
        counts,
        attributes=_attributes(fields),
        handle=Handle(ids, runs),
    )


def _attributes(fields: Sequence[list[bytes]]) -> list[Mapping[str, str]] | None:
    lengths = set(map(len, fields))
    if lengths <= {2} or (lengths <= {2, 4} and all(len(row) == 2 or row[0] == b"k" for row in fields)):
        return None
    return [
        {
            name[2:].decode(): value.decode()
            for name, value in zip(row[0:-2:2], row[1:-2:2], strict=True)
            if name.startswith(b"a:")
        }
        for row in fields
    ]


def entries_by_stream(reply: Any) -> dict[bytes, list[Entry]]:
    """The reply of XREAD or XREADGROUP, which is nil when there is nothing."""
    return dict(reply) if reply else {}
