"""Order groups: messages that must be in order among themselves, as those of one producer and key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brokerbench.scenarios.checkers.index.columns import Mask
from brokerbench.scenarios.history import Column
from brokerbench.scenarios.history.message_ids import Ids, stable_order

_WIDE = 1 << 31
"""Keys further apart are numbered by rank: a group's number times the number of deliveries stays within 64 bits."""


@dataclass(frozen=True, slots=True)
class OrderGroups:
    """Messages sorted by group, within a group as they were sent."""

    message: Ids
    number: Column
    """By each of these messages the number of its group, ascending."""

    def only(self, chosen: Mask) -> OrderGroups:
        """``chosen``: by message."""
        kept = chosen[self.message]
        return OrderGroups(self.message[kept], self.number[kept])

    def renumbered(self, chosen: Mask) -> OrderGroups:
        """The chosen messages, each numbered by its rank among them."""
        groups = self.only(chosen)
        return OrderGroups((np.cumsum(chosen) - 1)[groups.message], groups.number)

    @property
    def follows(self) -> Mask:
        """By all messages but the first: whether the one before is of the same group."""
        alike: Mask = self.number[1:] == self.number[:-1]
        return alike


def of(number: Column) -> OrderGroups:
    """Groups of messages that stand as they were sent; ``number``: the group of each."""
    message = stable_order(number)
    return OrderGroups(message, number[message])


def numbered(producer: Column, part: Column | None) -> Column:
    """The number of each message's group. ``part`` divides a producer's messages; None: they are one group."""
    number: Column = producer.astype(np.int64)
    if part is not None and len(number):
        low, high = int(part.min()), int(part.max())
        if high - low > _WIDE:
            part = np.unique(part, return_inverse=True)[1]
            low, high = 0, int(part.max())
        number = number * (high - low + 1) + (part - low)
    if len(number) and number.max() <= np.iinfo(np.uint16).max:
        number = number.astype(np.uint16)  # NumPy sorts 16 bits by radix
    return number
