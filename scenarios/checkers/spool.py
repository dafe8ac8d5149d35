"""Rows on disk, in shards, as they were appended: stretches of whole columns, one after the other."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scenarios.history import Column, Columns

NO_SHARD = 255

Shards = npt.NDArray[np.uint8]


class Spool:
    """Tables of ``count`` shards. ``fields``: by table, the type of each of its columns."""

    def __init__(self, directory: Path, count: int, fields: Mapping[str, Mapping[str, np.dtype[Any]]]) -> None:
        self._directory, self._count, self._fields = directory, count, fields
        self._stretches: dict[tuple[str, int], list[int]] = defaultdict(list)

    def append(self, kind: str, columns: Columns, shards: Shards) -> None:
        """Rows go to their shards; those of ``NO_SHARD`` nowhere."""
        order = np.argsort(shards, kind="stable")  # 8 bits: NumPy counts instead of sorting
        ends = np.cumsum(np.bincount(shards, minlength=self._count)[: self._count])
        self.append_sorted(kind, {name: columns[name][order] for name in self._fields[kind]}, ends)

    def append_sorted(self, kind: str, columns: Columns, ends: Column) -> None:
        """Rows that stand by shard already; ``ends``: by shard, where its rows end."""
        ordered = [columns[name] for name in self._fields[kind]]
        first = 0
        for shard, last in enumerate(ends.tolist()):
            if last > first:
                self._stretches[kind, shard].append(last - first)
                with self._path(kind, shard).open("ab", buffering=0) as file:
                    file.write(b"".join([column[first:last].data for column in ordered]))
            first = last

    def read(self, kind: str, shard: int, names: Sequence[str] = ()) -> Columns:
        """All rows of a shard, in the order in which they were appended; all columns unless named."""
        counts = self._stretches.get((kind, shard), [])
        fields = self._fields[kind]
        table = {name: np.empty(sum(counts), fields[name]) for name in names or fields}
        if not counts:
            return table
        with self._path(kind, shard).open("rb", buffering=0) as file:
            row = 0
            for count in counts:
                for name, dtype in fields.items():
                    if name in table:
                        file.readinto(table[name][row : row + count].data)
                    else:
                        file.seek(count * dtype.itemsize, os.SEEK_CUR)
                row += count
        return table

    def _path(self, kind: str, shard: int) -> Path:
        return self._directory / f"{kind}.{shard}"
