"""First deliveries of messages; of a history that is judged shard by shard all of them, on disk, in order of sending.

What is said along a whole producer, or along a partition, needs its messages one after the other, but few columns of
them. Each shard puts those on disk by stretches of (producer, seq); then one stretch is read after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scenarios.checkers.numbering import Ids
from scenarios.checkers.rows import Mask
from scenarios.checkers.shards import Cut
from scenarios.checkers.spool import Spool
from scenarios.history import SCHEMAS, Column, Columns
from scenarios.table import DTYPES

MESSAGE = ("producer", "seq", "key")
DELIVERY = ("reader", "batch", "slot", "partition", "place", "received_ns")
_TYPES = {entry.name: np.dtype(DTYPES[entry.type]) for entry in SCHEMAS["deliveries"]}
FIELDS: Mapping[str, np.dtype[Any]] = {
    **{name: _TYPES[name] for name in (*MESSAGE, *DELIVERY)},
    "ended_ns": np.dtype(np.int64),
}
_TABLE = "firsts"


@dataclass(frozen=True, slots=True)
class Firsts:
    """The columns of FIELDS. ``ended_ns``: when the consumer's processing ended, NEVER where it did not."""

    columns: Columns

    def __len__(self) -> int:
        return len(self.columns["seq"])

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def only(self, rows: Ids) -> Firsts:
        return Firsts({name: column[rows] for name, column in self.columns.items()})

    def sooner(self, one: Ids, other: Ids) -> Mask:
        """Of pairs: whether the one was delivered before the other, in the order of delivery."""
        first_ns, second_ns = self["received_ns"][one], self["received_ns"][other]
        sooner: Mask = first_ns < second_ns
        open_ = np.flatnonzero(first_ns == second_ns)
        for name in ("reader", "batch", "slot"):
            first, second = self[name][one[open_]], self[name][other[open_]]
            sooner[open_[first < second]] = True
            open_ = open_[first == second]
        return sooner

    def first_delivered(self, rows: Ids, count: int) -> Ids:
        """Which of ``rows`` are the first ``count`` in order of delivery, as indices of it. Few are sorted."""
        received = self["received_ns"][rows]
        early = np.arange(len(rows))
        if len(rows) > count:
            early = np.flatnonzero(received <= np.partition(received, count)[count])
        order = np.lexsort([self[name][rows[early]] for name in ("slot", "batch", "reader", "received_ns")])
        return early[order[:count]]

    def describe(self, at: int) -> dict[str, object]:
        return {name: int(self[name][at]) for name in (*MESSAGE, *DELIVERY)}


def joined(parts: Sequence[Firsts]) -> Firsts:
    return Firsts({name: np.concatenate([part[name] for part in parts]) for name in FIELDS})


def keep(firsts: Firsts, cut: Cut) -> Spool:
    """Put those of a shard, in order of (producer, seq), on disk by stretches, for as long as the shards are there."""
    spool = Spool(cut.file, cut.count, {_TABLE: FIELDS})
    spool.append_sorted(_TABLE, firsts.columns, np.searchsorted(_ids(firsts, cut), _begins(cut)[1:]))
    return spool


def stretches(parts: Sequence[Spool], cut: Cut) -> Iterator[Firsts]:
    """Of all shards together, stretch by stretch in order of (producer, seq), as in each stretch."""
    begins = _begins(cut).tolist()
    for stretch in range(cut.count):
        found = joined([Firsts(part.read(_TABLE, stretch)) for part in parts])
        row = np.full(begins[stretch + 1] - begins[stretch], -1, np.int64)
        row[_ids(found, cut) - begins[stretch]] = np.arange(len(found))
        yield found.only(row[row >= 0])


def _ids(firsts: Firsts, cut: Cut) -> Ids:
    ids: Ids = cut.bases[firsts["producer"]] + firsts["seq"]
    return ids


def _begins(cut: Cut) -> Ids:
    """The first id of each stretch, and the end of all: there are as many stretches as shards."""
    begins: Ids = int(cut.bases[-1]) * np.arange(cut.count + 1) // cut.count
    return begins
