"""Lines: messages that must be in order among themselves, as those of one producer and key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brokerbench.scenarios.checkers.index.columns import Mask
from brokerbench.scenarios.history import Column
from brokerbench.scenarios.history.message_ids import Ids, stable_order

_WIDE = 1 << 31
"""Keys further apart are numbered by rank, so that a line times the number of deliveries stays within 64 bits."""


@dataclass(frozen=True, slots=True)
class OrderGroups:
    """Messages sorted by line, within one as they were sent."""

    message: Ids
    line: Column
    """Of each of these, a number; it ascends."""

    def only(self, chosen: Mask) -> OrderGroups:
        """``chosen``: by message."""
        kept = chosen[self.message]
        return OrderGroups(self.message[kept], self.line[kept])

    def renumbered(self, chosen: Mask) -> OrderGroups:
        """Those that are chosen, each numbered by its rank among them."""
        lines = self.only(chosen)
        return OrderGroups((np.cumsum(chosen) - 1)[lines.message], lines.line)

    @property
    def follows(self) -> Mask:
        """By all messages but the first: whether the one before is of the same line."""
        alike: Mask = self.line[1:] == self.line[:-1]
        return alike


def of(line: Column) -> OrderGroups:
    """Of messages that stand as they were sent, by the number of the line of each."""
    message = stable_order(line)
    return OrderGroups(message, line[message])


def numbered(producer: Column, part: Column | None) -> Column:
    """The line of each message. ``part`` divides a producer's messages into lines; None: nothing does."""
    line: Column = producer.astype(np.int64)
    if part is not None and len(line):
        low, high = int(part.min()), int(part.max())
        if high - low > _WIDE:
            part = np.unique(part, return_inverse=True)[1]
            low, high = 0, int(part.max())
        line = line * (high - low + 1) + (part - low)
    if len(line) and line.max() <= np.iinfo(np.uint16).max:
        line = line.astype(np.uint16)  # NumPy sorts 16 bits by radix
    return line
