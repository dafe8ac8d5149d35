"""The sends of a history, numbered over all producers, so that other tables join to them by a sum.

Read in stretches: only the columns that are asked for are held in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from brokerbench.scenarios.history import Column, History, saved_history
from brokerbench.scenarios.history.message_ids import GAPS, dense_ids, first_ids

Numbers = npt.NDArray[np.int64]


class SendIndex:
    """A message's number is the first of its producer's and its ``seq``, which has no gaps."""

    def __init__(self, history: History) -> None:
        self._table = history.sends
        parts = saved_history.stretches(self._table, ("producer",))
        self._firsts, self._counts = first_ids(part["producer"] for part in parts)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def numbers(self, producer: Column, seq: Column) -> Numbers:
        """-1 where there is no such send."""
        return dense_ids(self._firsts, self._counts, producer, seq)

    def columns(self, *names: str) -> list[Numbers]:
        """Columns of whole numbers, by the messages' numbers. Raises ValueError where ``seq`` has gaps."""
        found = [np.empty(len(self), np.int64) for _ in names]
        seen = np.zeros(len(self), bool)
        for part in saved_history.stretches(self._table, ("producer", "seq", *names)):
            numbers = self.numbers(part["producer"], part["seq"])
            # As many rows as numbers: if a row has none, or two have the same, some number is not seen.
            seen[numbers[numbers >= 0]] = True
            for column, name in zip(found, names, strict=True):
                column[numbers] = part[name]
        if not seen.all():
            raise ValueError(GAPS)
        return found

    def of(self, producers: Sequence[int]) -> slice | Numbers:
        """The numbers of these producers' messages, ascending; a slice where they stand together."""
        meant = np.zeros(len(self._counts), bool)
        meant[[producer for producer in producers if producer < len(meant)]] = True
        senders = np.flatnonzero(meant & (self._counts > 0))
        if not len(senders):
            return slice(0, 0)
        first, last = self._firsts[senders], self._firsts[senders] + self._counts[senders]
        if (first[1:] == last[:-1]).all():
            return slice(int(first[0]), int(last[-1]))
        return np.concatenate([np.arange(*ends) for ends in zip(first, last, strict=True)])
