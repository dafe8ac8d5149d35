"""First deliveries of all messages of a history, on disk in order of sending.

A check of a whole producer or partition needs its messages one after the other, but few columns of them. Each shard
puts these on disk by stretches of (producer, seq); then the stretches are read one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from brokerbench.scenarios.checkers.index.first_deliveries import FIELDS, FirstDeliveries, joined
from brokerbench.scenarios.checkers.sharding.shards import Shards
from brokerbench.scenarios.checkers.sharding.spool import Spool
from brokerbench.scenarios.history.message_ids import Ids

_TABLE = "firsts"


def keep(firsts: FirstDeliveries, shards: Shards) -> Spool:
    """Put those of a shard, in order of (producer, seq), on disk by stretches, for as long as the shards exist."""
    spool = Spool(shards.file, shards.count, {_TABLE: FIELDS})
    spool.append_sorted(_TABLE, firsts.columns, np.searchsorted(_ids(firsts, shards), _begins(shards)[1:]))
    return spool


def stretches(parts: Sequence[Spool], shards: Shards) -> Iterator[FirstDeliveries]:
    """First deliveries of all shards, stretch by stretch; both stretches and rows in order of (producer, seq)."""
    begins = _begins(shards).tolist()
    for stretch in range(shards.count):
        found = joined([FirstDeliveries(part.read(_TABLE, stretch)) for part in parts])
        row = np.full(begins[stretch + 1] - begins[stretch], -1, np.int64)
        row[_ids(found, shards) - begins[stretch]] = np.arange(len(found))
        yield found.only(row[row >= 0])


def _ids(firsts: FirstDeliveries, shards: Shards) -> Ids:
    ids: Ids = shards.bases[firsts["producer"]] + firsts["seq"]
    return ids


def _begins(shards: Shards) -> Ids:
    """The first id of each stretch, and the end of all: there are as many stretches as shards."""
    begins: Ids = int(shards.bases[-1]) * np.arange(shards.count + 1) // shards.count
    return begins
