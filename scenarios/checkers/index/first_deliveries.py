"""The first delivery of each message, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brokerbench.scenarios.checkers.index.columns import Mask
from brokerbench.scenarios.history import SCHEMAS, Column, Columns
from brokerbench.scenarios.history.message_ids import Ids
from brokerbench.scenarios.history.parquet_table import DTYPES

MESSAGE = ("producer", "seq", "key")
DELIVERY = ("reader", "batch", "slot", "partition", "place", "received_ns")
_TYPES = {entry.name: np.dtype(DTYPES[entry.type]) for kind in ("sends", "deliveries") for entry in SCHEMAS[kind]}
FIELDS: Mapping[str, np.dtype[Any]] = {
    **{name: _TYPES[name] for name in (*MESSAGE, *DELIVERY)},
    "ended_ns": np.dtype(np.int64),
}


@dataclass(frozen=True, slots=True)
class FirstDeliveries:
    """The columns of FIELDS. ``ended_ns``: when the consumer's processing ended; NEVER where it did not."""

    columns: Columns

    def __len__(self) -> int:
        return len(self.columns["seq"])

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def only(self, rows: Ids) -> FirstDeliveries:
        return FirstDeliveries({name: column[rows] for name, column in self.columns.items()})

    def sooner(self, one: Ids, other: Ids) -> Mask:
        """For each pair whether the one comes before the other in the order of delivery."""
        first_ns, second_ns = self["received_ns"][one], self["received_ns"][other]
        sooner: Mask = first_ns < second_ns
        open_ = np.flatnonzero(first_ns == second_ns)
        for name in ("reader", "batch", "slot"):
            first, second = self[name][one[open_]], self[name][other[open_]]
            sooner[open_[first < second]] = True
            open_ = open_[first == second]
        return sooner

    def first_delivered(self, rows: Ids, count: int) -> Ids:
        """Indices into ``rows`` of the first ``count`` in order of delivery. Only the earliest are sorted."""
        received = self["received_ns"][rows]
        early = np.arange(len(rows))
        if len(rows) > count:
            early = np.flatnonzero(received <= np.partition(received, count)[count])
        order = np.lexsort([self[name][rows[early]] for name in ("slot", "batch", "reader", "received_ns")])
        return early[order[:count]]

    def describe(self, at: int) -> dict[str, object]:
        return {name: int(self[name][at]) for name in (*MESSAGE, *DELIVERY)}


def joined(parts: Sequence[FirstDeliveries]) -> FirstDeliveries:
    return FirstDeliveries({name: np.concatenate([part[name] for part in parts]) for name in FIELDS})
