"""First deliveries of all messages of a history, on disk in order of sending.

A statement about a whole producer or partition needs its messages one after the other, but few columns of them. Each
shard puts these on disk by stretches of (producer, seq); then the stretches are read one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from brokerbench.scenarios.checkers.index.first_deliveries import FIELDS, FirstDeliveries, joined
from brokerbench.scenarios.checkers.sharding.shards import Shards
from brokerbench.scenarios.checkers.sharding.spool import Spool
from brokerbench.scenarios.history.message_ids import Ids

_TABLE = "firsts"


def keep(firsts: FirstDeliveries, cut: Shards) -> Spool:
    """Put those of a shard, in order of (producer, seq), on disk by stretches, for as long as the shards are there."""
    spool = Spool(cut.file, cut.count, {_TABLE: FIELDS})
    spool.append_sorted(_TABLE, firsts.columns, np.searchsorted(_ids(firsts, cut), _begins(cut)[1:]))
    return spool


def stretches(parts: Sequence[Spool], cut: Shards) -> Iterator[FirstDeliveries]:
    """Of all shards together, stretch by stretch in order of (producer, seq), as in each stretch."""
    begins = _begins(cut).tolist()
    for stretch in range(cut.count):
        found = joined([FirstDeliveries(part.read(_TABLE, stretch)) for part in parts])
        row = np.full(begins[stretch + 1] - begins[stretch], -1, np.int64)
        row[_ids(found, cut) - begins[stretch]] = np.arange(len(found))
        yield found.only(row[row >= 0])


def _ids(firsts: FirstDeliveries, cut: Shards) -> Ids:
    ids: Ids = cut.bases[firsts["producer"]] + firsts["seq"]
    return ids


def _begins(cut: Shards) -> Ids:
    """The first id of each stretch, and the end of all: there are as many stretches as shards."""
    begins: Ids = int(cut.bases[-1]) * np.arange(cut.count + 1) // cut.count
    return begins
