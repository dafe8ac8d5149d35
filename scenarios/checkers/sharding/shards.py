"""Splits a history on disk into shards that fit in memory, so that the same checkers judge it shard by shard.

All rows of a message, and all messages of one producer and key, lie in one shard: its send with its outcome, its
deliveries and their settlements. So judgements of messages, or of the order within a key, add up (``findings.added``);
``reduction``, ``first_deliveries`` and ``deduplication`` combine those that span shards. Each table is read once and
written once to a file beside the history that has no name: it is gone with its process, however that ends.

Judgements of single messages need no order groups: then messages lie in order of their numbers, and all shards have
the same size however few keys there are.

Memory grows with the history, but slowly: one byte a send and one a delivery (their shards), and about 32 bytes a
*batch* (its first row and its reader's times).
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedRandom
from pathlib import Path

import numpy as np
import numpy.typing as npt

from brokerbench.brokers.types import NO_PLACE
from brokerbench.scenarios.checkers.index.columns import Reach, Whole, identities, reach, reach_of
from brokerbench.scenarios.checkers.sharding.spool import NO_SHARD, ShardNumbers, Spool
from brokerbench.scenarios.history import SCHEMAS, Column, Columns, History, Mark, message_ids, saved_history, select
from brokerbench.scenarios.history.message_ids import GAPS, Ids
from brokerbench.scenarios.history.parquet_table import DTYPES
from brokerbench.scenarios.history.stamp import INTACT

MESSAGES_PER_SHARD = 250_000
_MOST_SHARDS = 255
_SPOT = ("partition", "place")
_SAMPLED_EVERY = 500
"""Number of places of which one is sampled."""
_KINDS = tuple(SCHEMAS)
_UNREAD = {"sends": "intended_ns"}
"""Columns that no checker reads: shards omit them."""
FIELDS = {
    kind: {entry.name: np.dtype(DTYPES[entry.type]) for entry in schema if entry.name != _UNREAD.get(kind)}
    for kind, schema in SCHEMAS.items()
}
_ROW_BYTES = {kind: sum(dtype.itemsize for dtype in fields.values()) for kind, fields in FIELDS.items()}


@dataclass(frozen=True, slots=True)
class Shards:
    """A history in shards; each is a ``History`` with gaps in its numbers, without columns that no checker reads."""

    count: int
    whole: Whole
    spool: Spool
    marks: Sequence[Mark]
    file: BufferedRandom
    """Also holds other data that must lie on disk while the history is judged."""
    sample: Columns
    """Columns partition and place of some of the places that senders were told."""
    bases: Ids
    """By producer number the first of its ids, and the end of all: messages of all producers by (producer, seq)."""

    def __iter__(self) -> Iterator[History]:
        return map(self.read, range(self.count))

    def read(self, shard: int) -> History:
        sends, send_outcomes, deliveries, acknowledgements = (self.spool.read(kind, shard) for kind in _KINDS)
        return History(sends, send_outcomes, deliveries, acknowledgements, self.marks)


@contextmanager
def split(
    directory: Path, messages_per_shard: int = MESSAGES_PER_SHARD, *, by_order_group: bool = True
) -> Iterator[Shards]:
    """Split the history in ``directory``; the shards live as long as the context.

    ``by_order_group``: all messages of one producer and key in one shard, else only all rows of a message.

    Raises ValueError for a damaged history, OSError where the disk has no room.
    """
    rows = {kind: saved_history.rows(directory, kind) for kind in _KINDS}
    count = min(max(1, -(-max(rows["sends"], rows["deliveries"]) // messages_per_shard)), _MOST_SHARDS)
    needed = sum(rows[kind] * _ROW_BYTES[kind] for kind in _KINDS)
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise OSError(
            f"judging {directory} needs {needed / 1e9:.1f} GB of disk beside it, {free / 1e9:.1f} GB are free"
        )
    with tempfile.TemporaryFile(dir=directory) as file:
        marks = saved_history.marks(directory)
        spool = Spool(file, count, FIELDS)
        sharder = _Sharder(directory, spool, count, marks, by_order_group=by_order_group)
        whole = sharder.split(rows["deliveries"])
        few = [mark for mark in marks if mark["event"] != "identities"]  # these stand in ``whole``
        yield Shards(count, whole, spool, few, file, sharder.sample, sharder.bases)


@dataclass(slots=True)
class _Damaged:
    """Deliveries whose stamp is damaged, and the messages that other rows of the history name for their places."""

    spots: set[tuple[str, int, int]] = field(default_factory=set)
    places: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    sent: dict[tuple[str, int, int], int] = field(default_factory=dict)
    delivered: dict[tuple[str, int, int], tuple[tuple[int, ...], int]] = field(default_factory=dict)

    def shard(self, spot: tuple[str, int, int], owners: ShardNumbers) -> int:
        """Like ``channel_index``: the first message sent there, else the last one delivered intact, else any."""
        if spot in self.sent:
            return int(owners[self.sent[spot]])
        if spot in self.delivered:
            return int(owners[self.delivered[spot][1]])
        return 0


class _Sharder:
    def __init__(
        self, directory: Path, spool: Spool, count: int, marks: Sequence[Mark], *, by_order_group: bool
    ) -> None:
        self.spool = spool
        self._directory, self._count, self._by_order_group = directory, count, by_order_group
        said = History({}, {}, {}, {}, marks)
        self._sent_to = {int(mark["producer"]): str(mark["channel"]) for mark in said.events("producer")}
        self._read_from = {int(mark["reader"]): str(mark["channel"]) for mark in said.events("reader")}
        self._identities = identities(list(said.events("identities")))
        again = [int(mark["reader"]) for mark in said.events("attempt") if "reader" in mark]
        self._reach: dict[int, dict[int, list[Reach]]] = {reader: defaultdict(list) for reader in again}
        self._damaged = _Damaged()
        self._last_sent_ns: dict[int, int] = {}
        self._events: dict[int, list[Ids]] = defaultdict(list)
        self._sample: list[Columns] = []

    @property
    def sample(self) -> Columns:
        return {name: np.concatenate([np.empty(0, np.int64), *(part[name] for part in self._sample)]) for name in _SPOT}

    def split(self, deliveries: int) -> Whole:
        self._number()
        self._find_damaged()
        self._sends()
        self._settled()
        shards, batches, starts = self._deliveries(deliveries)
        self._settles(shards, batches, starts)
        events = {reader: np.unique(np.concatenate(parts)) for reader, parts in self._events.items()}
        reached = {
            reader: {number: reach(parts) for number, parts in partitions.items()}
            for reader, partitions in self._reach.items()
        }
        return Whole(self._last_sent_ns, events, reached, self._identities)

    def _number(self) -> None:
        """Ids over all producers, so that a table of one byte a message says where it lies."""
        parts = saved_history.stream(self._directory, "sends", ["producer"])
        self.bases, self._counts = message_ids.first_ids(part["producer"] for part in parts)
        self._owners = np.full(int(self._counts.sum()), NO_SHARD, np.uint8)

    def _ids(self, columns: Columns) -> Ids:
        return message_ids.dense_ids(self.bases, self._counts, columns["producer"], columns["seq"])

    def _find_damaged(self) -> None:
        for part in saved_history.stream(self._directory, "deliveries", ["status", "reader", "partition", "place"]):
            bad = np.flatnonzero((part["status"] != INTACT) & (part["place"] != NO_PLACE))
            self._damaged.spots.update(self._spots_of_deliveries(select(part, bad)) if len(bad) else ())
        self._damaged.places = np.array(sorted({spot[2] for spot in self._damaged.spots}), np.int64)

    def _spots_of_deliveries(self, rows: Columns) -> list[tuple[str, int, int]]:
        channels = [self._read_from.get(reader, "") for reader in rows["reader"].tolist()]
        return list(zip(channels, rows["partition"].tolist(), rows["place"].tolist(), strict=True))

    def _sends(self) -> None:
        for part in saved_history.stream(self._directory, "sends", list(FIELDS["sends"])):
            ids = self._ids(part)
            if (ids < 0).any():
                raise ValueError(GAPS)
            shards = (
                self._shards_of_order_groups(part["producer"], part["key"])
                if self._by_order_group
                else self._in_turn(ids)
            )
            self._owners[ids] = shards
            self.spool.append("sends", part, shards)
            for producer in np.flatnonzero(np.bincount(part["producer"])).tolist():
                last = int(part["sent_ns"][part["producer"] == producer].max())
                self._last_sent_ns[producer] = max(last, self._last_sent_ns.get(producer, 0))
        # As many rows as ids, and every id has one: none has two.
        if (self._owners == NO_SHARD).any():
            raise ValueError(GAPS)

    def _shards_of_order_groups(self, producer: Column, key: Column) -> ShardNumbers:
        mixed = (key.astype(np.uint64) + (producer.astype(np.uint64) << np.uint64(48))) * np.uint64(0x9E3779B97F4A7C15)
        shards: ShardNumbers = (((mixed >> np.uint64(40)) * np.uint64(self._count)) >> np.uint64(24)).astype(np.uint8)
        return shards

    def _in_turn(self, ids: Ids) -> ShardNumbers:
        """Shards of equal size."""
        return (ids * self._count // len(self._owners)).astype(np.uint8)

    def _owners_of(self, ids: Ids, otherwise: int) -> ShardNumbers:
        if len(ids) and ids.min() >= 0:
            return self._owners[ids]
        shards = np.full(len(ids), otherwise, np.uint8)
        known = np.flatnonzero(ids >= 0)
        shards[known] = self._owners[ids[known]]
        return shards

    def _settled(self) -> None:
        for part in saved_history.stream(self._directory, "send_outcomes"):
            ids = self._ids(part)
            self.spool.append("send_outcomes", part, self._owners_of(ids, NO_SHARD))
            told = np.flatnonzero(part["place"] != NO_PLACE)[::_SAMPLED_EVERY]
            self._sample.append({name: part[name][told] for name in _SPOT})
            rows = self._at_damaged_places(part, ids)
            for row in rows.tolist():
                channel = self._sent_to.get(int(part["producer"][row]), "")
                spot = (channel, int(part["partition"][row]), int(part["place"][row]))
                self._damaged.sent[spot] = min(int(ids[row]), self._damaged.sent.get(spot, int(ids[row])))

    def _at_damaged_places(self, part: Columns, ids: Ids) -> Ids:
        rows = message_ids.rows_with(part["place"], self._damaged.places)
        return rows[ids[rows] >= 0]

    def _deliveries(self, total: int) -> tuple[ShardNumbers, Ids, Ids]:
        """The shard of each row, and for each batch its reader and number (as one code) and first row."""
        shards = np.empty(total, np.uint8)
        late: list[tuple[int, Columns]] = []
        batches, starts = [], []
        before = np.array([-1, -1, -1], np.int64)
        row = 0
        for part in saved_history.stream(self._directory, "deliveries", list(FIELDS["deliveries"])):
            ids = self._ids(part)
            ids[part["status"] != INTACT] = -1
            ours = self._owners_of(ids, 0)
            begins = part["slot"] == 0
            before = _check_batches(part, begins, before)
            first = np.flatnonzero(begins)
            batches.append(np.stack([part["reader"][first].astype(np.int64), part["batch"][first]]))
            starts.append(first + row)
            self._note_events(part["reader"][first], part["received_ns"][first])
            self._note_reach(part)
            self._note_places(part, ids)
            bad = np.flatnonzero(part["status"] != INTACT)
            if len(bad):
                late.append((row, {**select(part, bad), "row": bad}))
                spooled = ours.copy()
                spooled[bad] = NO_SHARD
                self.spool.append("deliveries", part, spooled)
            else:
                self.spool.append("deliveries", part, ours)
            shards[row : row + len(ours)] = ours
            row += len(ours)
        for base, rows in late:
            found = [self._damaged.shard(spot, self._owners) for spot in self._spots_of_deliveries(rows)]
            shards[base + rows["row"]] = found
            self.spool.append("deliveries", rows, np.array(found, np.uint8))
        if not starts:
            return shards, np.empty((2, 0), np.int64), np.empty(0, np.int64)
        return shards, np.concatenate(batches, axis=1), np.concatenate(starts)

    def _note_events(self, reader: Column, at_ns: Column) -> None:
        for number in np.unique(reader).tolist():
            self._events[number].append(np.unique(at_ns[reader == number]))

    def _note_reach(self, part: Columns) -> None:
        for reader, partitions in self._reach.items():
            rows = np.flatnonzero(part["reader"] == reader)
            for number, found in reach_of(select(part, rows)).items():
                partitions[number].append(found)

    def _note_places(self, part: Columns, ids: Ids) -> None:
        for row in self._at_damaged_places(part, ids).tolist():
            reader = int(part["reader"][row])
            channel = self._read_from.get(reader, "")
            if self._sent_to.get(int(part["producer"][row])) != channel:
                continue
            spot = (channel, int(part["partition"][row]), int(part["place"][row]))
            when = (int(part["received_ns"][row]), reader, int(part["batch"][row]), int(part["slot"][row]))
            self._damaged.delivered[spot] = max((when, int(ids[row])), self._damaged.delivered.get(spot, ((), -1)))

    def _settles(self, shards: ShardNumbers, batches: Ids, starts: Ids) -> None:
        width = int(batches[1].max(initial=0)) + 1
        codes = batches[0] * width + batches[1]
        order = np.argsort(codes, kind="stable")
        codes, starts = codes[order], starts[order]
        for part in saved_history.stream(self._directory, "acknowledgements"):
            changes = np.flatnonzero(
                np.concatenate(
                    [[True], (part["reader"][1:] != part["reader"][:-1]) | (np.diff(part["settled_ns"]) != 0)]
                )
            )
            self._note_events(part["reader"][changes], part["settled_ns"][changes])
            wanted = part["reader"].astype(np.int64) * width + part["batch"]
            wanted[part["batch"] >= width] = -1
            at = _found_in_runs(codes, wanted)
            rows = starts[np.maximum(at, 0)] + part["slot"] if len(starts) else at
            known = np.flatnonzero((at >= 0) & (rows < len(shards)))
            ours = np.full(len(at), NO_SHARD, np.uint8)
            ours[known] = shards[rows[known]]
            self.spool.append("acknowledgements", part, ours)


def _found_in_runs(codes: Ids, wanted: Ids) -> Ids:
    """As ``message_ids.found``: settlements of one batch mostly stand together, and are looked up once."""
    begins = np.flatnonzero(np.append(True, wanted[1:] != wanted[:-1]))
    return np.repeat(message_ids.found(codes, wanted[begins]), np.diff(begins, append=len(wanted)))


def _check_batches(part: Columns, begins: npt.NDArray[np.bool_], before: Ids) -> Ids:
    """Raises ValueError unless rows of one batch stand together, slot 0 first. Returns the last row's numbers."""
    names = ("reader", "batch", "slot")
    if len(begins):
        follows = np.ones(len(begins), bool)
        for name, last, step in zip(names, before.tolist(), (0, 0, 1), strict=True):
            follows[1:] &= part[name][1:] == part[name][:-1] + step
            follows[0] &= bool(part[name][0] == last + step)
        if not (begins | follows).all():
            raise ValueError("the deliveries of a history do not stand in batches, slot 0 first")
        before = np.array([part[name][-1] for name in names], np.int64)
    return before
