"""The outcome columns of settling deliveries, for both Kafka profiles."""

from __future__ import annotations

import time

import numpy as np

from brokerbench.brokers.errors import Misuse
from brokerbench.brokers.types import Indices, IntColumn, Outcome, Received, Settlements, SmallIntColumn, constant

_MAX_ERRORS = 100


def by_partition(partitions: SmallIntColumn) -> list[tuple[int, IntColumn]]:
    """(partition, where it stands); most deliveries are of one."""
    if not len(partitions):
        return []
    first = int(partitions[0])
    # ``count_nonzero``: a third of what ``all`` takes for a short column.
    if np.count_nonzero(partitions == first) == len(partitions):
        return [(first, np.arange(len(partitions), dtype=np.int64))]
    return [
        (partition, np.flatnonzero(partitions == partition))
        for partition in np.flatnonzero(np.bincount(partitions)).tolist()
    ]


def rows_of(received: Received, indices: Indices) -> IntColumn:
    """The indices meant, as a column; raises Misuse for one outside ``received``."""
    if indices is None:
        return np.arange(len(received), dtype=np.int64)
    rows = np.asarray(indices, np.int64).reshape(-1)
    if len(rows) and (rows.min() < 0 or rows.max() >= len(received)):
        raise Misuse(f"index outside a delivery of {len(received)} messages")
    if len(np.unique(rows)) != len(rows):
        raise Misuse("the same index twice")
    return rows


class Outcomes:
    """Outcomes of ``rows`` of one ``Received``; UNKNOWN until told."""

    __slots__ = ("_errors", "outcomes", "partitions", "places", "rows")

    def __init__(self, received: Received, indices: Indices) -> None:
        self.rows = rows_of(received, indices)
        self.partitions = received.partitions if indices is None else received.partitions[self.rows]
        self.places = received.places if indices is None else received.places[self.rows]
        self.outcomes = constant(Outcome.UNKNOWN, len(self.rows), np.int8)
        self._errors: dict[int, str] = {}

    def tell(self, which: IntColumn, outcome: Outcome, why: str = "") -> None:
        """``which`` counts within ``rows``."""
        self.outcomes[which] = outcome
        if why:
            for row in self.rows[which[: _MAX_ERRORS - len(self._errors)]]:
                self._errors[int(row)] = why

    def settlements(self, settled_ns: int | None = None) -> Settlements:
        """``settled_ns``: when the broker answered, if not now."""
        count = len(self.rows)
        return Settlements(
            self.rows,
            self.outcomes,
            constant(settled_ns or time.monotonic_ns(), count, np.int64),
            self.partitions,
            self.places,
            self._errors,
        )
