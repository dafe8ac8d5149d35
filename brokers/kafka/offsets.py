"""Deliveries of one partition that are not settled yet, where acknowledging means "up to a position".

Pure bookkeeping, without a client: the offsets that a commit may cover, and those that a rewind makes void.
"""

from __future__ import annotations

import numpy as np

from brokerbench.brokers.types import IntColumn

_NONE = np.empty(0, np.int64)


class OffsetTracker:
    """Deliveries of one partition to one consumer, from assignment to revocation.

    ``epoch`` counts the rewinds; a delivery remembers the epoch in which it was made. Offsets in a
    log may have gaps (compaction, transaction markers), so "everything before" means everything
    *delivered* before.
    """

    __slots__ = ("_pending", "_rewinds", "acknowledged_to", "lost")

    def __init__(self) -> None:
        self.lost = False
        """The group gave this partition to another consumer."""
        self.acknowledged_to = 0
        """The first offset that is not acknowledged here."""
        self._pending: list[IntColumn] = []
        self._rewinds: list[int] = []

    @property
    def epoch(self) -> int:
        return len(self._rewinds)

    def delivered(self, offsets: IntColumn) -> None:
        self._pending.append(offsets)

    def valid(self, offsets: IntColumn, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """True for each delivery of ``epoch`` that no later rewind has made void."""
        later = self._rewinds[epoch:]
        return offsets < min(later) if later else np.ones(len(offsets), bool)

    def covers_no_gap(self, offsets: IntColumn) -> bool:
        """Whether ``offsets`` (ascending) are exactly the first of the unsettled deliveries."""
        if self._pending and len(self._pending[0]) >= len(offsets):
            return bool(np.array_equal(self._pending[0][: len(offsets)], offsets))
        return bool(np.array_equal(self._flat()[: len(offsets)], offsets))

    def acknowledged(self, offsets: IntColumn) -> None:
        """The broker took the commit of these: the first of the unsettled deliveries, ascending and not empty."""
        self.acknowledged_to = int(offsets[-1]) + 1
        while self._pending and self._pending[0][-1] < self.acknowledged_to:
            del self._pending[0]
        if self._pending:
            first = self._pending[0]
            self._pending[0] = first[first >= self.acknowledged_to]

    def rewound(self, offset: int) -> None:
        """Deliveries from ``offset`` on are void; they will come again."""
        flat = self._flat()
        kept = flat[flat < offset]
        self._pending = [kept] if len(kept) else []
        self._rewinds.append(offset)

    def _flat(self) -> IntColumn:
        return np.concatenate(self._pending) if self._pending else _NONE
