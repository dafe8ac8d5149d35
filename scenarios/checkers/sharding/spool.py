"""Rows on disk, in shards, as they were appended: stretches of whole columns in one file.

Writing costs most here, so a column is written in as few bytes as hold the differences to its lowest value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import SEEK_END, BufferedRandom
from typing import Any

import numpy as np
import numpy.typing as npt

from brokerbench.scenarios.history import Column, Columns

NO_SHARD = 255
_NARROW = [(np.dtype(kind), int(np.iinfo(kind).max)) for kind in (np.uint8, np.uint16, np.uint32)]

ShardNumbers = npt.NDArray[np.uint8]
DType = np.dtype[Any]


@dataclass(frozen=True, slots=True)
class _Packed:
    """A column of a stretch, less ``low``; where ``dtype`` is None it is ``low`` everywhere, and nothing is written."""

    low: int
    dtype: DType | None
    begins: int
    """In the file, in bytes."""

    def read(self, file: BufferedRandom, first: int, out: Column) -> None:
        """Fill ``out`` with the rows from ``first`` on."""
        if self.dtype is None:
            out[:] = self.low
            return
        file.seek(self.begins + first * self.dtype.itemsize)
        if self.dtype == out.dtype:
            _fill(out, file)
            return
        packed = np.empty(len(out), self.dtype)
        _fill(packed, file)
        out[:] = packed
        out += self.low


@dataclass(frozen=True, slots=True)
class _Stretch:
    ends: npt.NDArray[np.int64]
    """By shard: where its rows end."""
    columns: Mapping[str, _Packed]


class Spool:
    """Tables of ``count`` shards. ``fields``: by table, the type of each of its columns.

    ``file`` may be that of other spools, too; it stays its opener's.
    """

    def __init__(self, file: BufferedRandom, count: int, fields: Mapping[str, Mapping[str, DType]]) -> None:
        self._file, self._count, self._fields = file, count, fields
        self._stretches: dict[str, list[_Stretch]] = {kind: [] for kind in fields}

    def append(self, kind: str, columns: Columns, shards: ShardNumbers) -> None:
        """Add rows to their shards, but not those of ``NO_SHARD``."""
        ends = np.cumsum(np.bincount(shards, minlength=self._count)[: self._count])
        order = np.argsort(shards, kind="stable")[: ends[-1]]  # 8 bits: NumPy counts instead of sorting
        self._append(kind, columns, order, ends)

    def append_sorted(self, kind: str, columns: Columns, ends: npt.NDArray[np.int64]) -> None:
        """Add rows that stand by shard already; ``ends``: by shard, where its rows end."""
        self._append(kind, columns, slice(None), ends)

    def _append(
        self, kind: str, columns: Columns, order: npt.NDArray[np.int64] | slice, ends: npt.NDArray[np.int64]
    ) -> None:
        if not ends[-1]:
            return
        packed = {}
        begins = self._file.seek(0, SEEK_END)
        for name, dtype in self._fields[kind].items():
            column = columns[name].astype(dtype, copy=False)
            low, narrow = _narrowest(column)
            packed[name] = _Packed(low, narrow, begins)
            if narrow is not None:
                less = column if narrow == dtype else (column - low).astype(narrow)
                begins += self._file.write(np.ascontiguousarray(less[order]).data)
        self._stretches[kind].append(_Stretch(ends, packed))

    def read(self, kind: str, shard: int, names: Sequence[str] = ()) -> Columns:
        """All rows of a shard, in the order in which they were appended; all columns unless named."""
        fields, stretches = self._fields[kind], self._stretches[kind]
        begins = [int(stretch.ends[shard - 1]) if shard else 0 for stretch in stretches]
        rows = np.cumsum([0, *(stretch.ends[shard] for stretch in stretches)] - np.array([0, *begins]))
        table = {name: np.empty(rows[-1], fields[name]) for name in names or fields}
        if not rows[-1]:
            return table
        # Not mapped: the pages around each part would stay in memory.
        for stretch, begin, first, last in zip(stretches, begins, rows[:-1], rows[1:], strict=True):
            for name, column in table.items() if last > first else ():
                stretch.columns[name].read(self._file, begin, column[first:last])
        return table


def _fill(out: Column, file: BufferedRandom) -> None:
    if file.readinto(out.data) != out.nbytes:
        raise OSError("the file of a history's shards ends before its rows do")


def _narrowest(column: Column) -> tuple[int, DType | None]:
    """The lowest value, and the narrowest type that holds the differences to it; None where all are equal."""
    low, high = int(column.min()), int(column.max())
    if low == high:
        return low, None
    for narrow, most in _NARROW:
        if narrow.itemsize < column.dtype.itemsize and high - low <= most:
            return low, narrow
    return 0, column.dtype
