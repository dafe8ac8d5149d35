"""Places of all messages of a history, on disk by partition and place.

Two messages of one place, or two times along a partition, may stand in any two shards. Each shard puts the columns that
tell (``layout.LOCATED``) on disk by stretches of places; then the stretches are read one after the other. The bounds of
the stretches are those of a sample of the places that senders were told: they decide about memory, not about findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brokerbench.scenarios.checkers import layout
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.checkers.sharding.shards import Shards
from brokerbench.scenarios.checkers.sharding.spool import NO_SHARD, Spool
from brokerbench.scenarios.history import Column, Columns
from brokerbench.scenarios.history.message_ids import Ids
from brokerbench.scenarios.verdicts import Finding

_TABLE = "places"
_FIELDS: Mapping[str, np.dtype[Any]] = {
    "partition": np.dtype(np.int32),
    "place": np.dtype(np.int64),
    "broker_epoch_ns": np.dtype(np.int64),
    "producer": np.dtype(np.int32),
    "seq": np.dtype(np.int64),
}


@dataclass(frozen=True, slots=True)
class Placed:
    """Of one shard: its messages on disk, the numbers of its keys and partitions, the resolution of the clock."""

    spool: Spool
    pairs: Columns
    resolution_ns: int | None


def placed(part: ChannelIndex, shards: Shards) -> Placed:
    bounds = _bounds(shards)
    spool = Spool(shards.file, _count(bounds), {_TABLE: _FIELDS})
    rows, pairs = layout.located_and_pairs(part)
    spool.append(_TABLE, rows, _stretches_of(rows["partition"], rows["place"], bounds))
    return Placed(spool, pairs, layout.resolution_ns(part))


def findings(parts: Sequence[Placed], shards: Shards) -> list[Finding]:
    """Those of ``layout.NAMES``, of one channel."""
    own, ascending = layout.along(_read(parts, _count(_bounds(shards))), parts[0].resolution_ns)
    return [own, layout.one_partition([part.pairs for part in parts]), ascending]


def _read(parts: Sequence[Placed], count: int) -> Iterator[Columns]:
    for stretch in range(count):
        rows = [part.spool.read(_TABLE, stretch) for part in parts]
        yield layout.in_order({name: np.concatenate([part[name] for part in rows]) for name in _FIELDS})


def _bounds(shards: Shards) -> Mapping[int, Ids]:
    """By partition the places at which a new stretch begins. Each stretch has places of one partition.

    With very many partitions each is one stretch, and some share one.
    """
    partition, place = shards.sample["partition"], shards.sample["place"]
    numbers, counts = np.unique(partition, return_counts=True)
    spare = NO_SHARD - 1 - len(numbers)
    wanted = min(shards.count, spare) * counts // max(1, len(place)) if spare > 0 else np.zeros_like(counts)
    bounds = {}
    for number, cuts in zip(numbers.tolist(), wanted.tolist(), strict=True):
        here = np.sort(place[partition == number])
        bounds[number] = np.unique(here[len(here) * np.arange(1, cuts) // cuts]) if cuts > 1 else here[:0]
    return bounds


def _count(bounds: Mapping[int, Ids]) -> int:
    return max(1, min(NO_SHARD - 1, sum(len(cuts) + 1 for cuts in bounds.values())))


def _stretches_of(partition: Column, place: Column, bounds: Mapping[int, Ids]) -> Column:
    stretch = np.zeros(len(place), np.int64)
    first = 0
    for number, cuts in bounds.items():
        here = np.flatnonzero(partition == number)
        stretch[here] = first + np.searchsorted(cuts, place[here], side="right")
        first += len(cuts) + 1
    return (stretch % _count(bounds)).astype(np.uint8)
