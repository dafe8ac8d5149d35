"""Outcome columns: the one place where adapters build ``Settlements`` message by message."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Self

import numpy as np

from brokerbench.brokers.contract import chosen
from brokerbench.brokers.types import (
    MAX_ERRORS,
    NO_PARTITION,
    NO_PLACE,
    Indices,
    IntColumn,
    Outcome,
    Received,
    Settlements,
    SmallIntColumn,
    constant,
)


def by_partition(partitions: SmallIntColumn) -> list[tuple[int, IntColumn]]:
    """(partition, its rows in the column); most deliveries are of one partition."""
    if not len(partitions):
        return []
    first = int(partitions[0])
    # ``count_nonzero`` takes a third of the time of ``all`` for a short column.
    if np.count_nonzero(partitions == first) == len(partitions):
        return [(first, np.arange(len(partitions), dtype=np.int64))]
    return [
        (partition, np.flatnonzero(partitions == partition))
        for partition in np.flatnonzero(np.bincount(partitions)).tolist()
    ]


class Outcomes:
    """Outcomes of the messages ``rows``: tickets of sends, or indices into one ``Received``.

    All have the outcome given at first, until ``tell`` changes some. ``errors``: message -> reason.
    """

    __slots__ = ("errors", "outcomes", "partitions", "places", "rows")

    def __init__(
        self, rows: IntColumn, partitions: SmallIntColumn, places: IntColumn, outcome: Outcome = Outcome.UNKNOWN
    ) -> None:
        self.rows, self.partitions, self.places = rows, partitions, places
        self.outcomes = constant(outcome, len(rows), np.int8)
        self.errors: dict[int, str] = {}

    @classmethod
    def of(cls, received: Received, indices: Indices, outcome: Outcome = Outcome.UNKNOWN) -> Self:
        """Of deliveries. Raises Misuse for an index beyond the end or given twice."""
        rows = chosen(indices, len(received))
        if indices is None:
            return cls(rows, received.partitions, received.places, outcome)
        return cls(rows, received.partitions[rows], received.places[rows], outcome)

    @classmethod
    def of_sends(cls, tickets: IntColumn, outcome: Outcome) -> Self:
        """Of sends whose broker tells no place."""
        count = len(tickets)
        return cls(tickets, constant(NO_PARTITION, count, np.int32), constant(NO_PLACE, count, np.int64), outcome)

    def tell(self, which: IntColumn | Sequence[int] | slice, outcome: Outcome, why: str = "") -> None:
        """``which`` counts within ``rows``. Keeps the reason for the first ``MAX_ERRORS`` messages."""
        self.outcomes[which] = outcome
        if why:
            room = MAX_ERRORS - len(self.errors)
            self.errors.update(dict.fromkeys(self.rows[which][:room].tolist(), why))

    def settlements(self, settled_ns: int | IntColumn | None = None) -> Settlements:
        """``settled_ns``: when the broker answered, if not now; a column where it answered in parts."""
        if not isinstance(settled_ns, np.ndarray):
            settled_ns = constant(settled_ns or time.monotonic_ns(), len(self.rows), np.int64)
        return Settlements(self.rows, self.outcomes, settled_ns, self.partitions, self.places, self.errors)
