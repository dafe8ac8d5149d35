"""One table on disk: columns that grow by batches, written to Parquet files one row group at a time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Column = npt.NDArray[Any]

DTYPES: Mapping[pa.DataType, npt.DTypeLike] = {
    pa.int8(): np.int8,
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.uint64(): np.uint64,
}

_ROWS_PER_GROUP = 131_072
_GROUPS_PER_FILE = 64
"""An open file's writer holds 0.8 kB for each column of each row group: 4.5 MB in 50 million rows."""
_NICE = 10
_RANDOM_COLUMNS = frozenset({"checksum"})
"""Not compressible: trying costs as much as all other columns of a row together."""
_COUNTING_COLUMNS = frozenset({"seq", "key", "place", "settled_ns"})
"""Encoded as differences. The others mostly repeat the row before: LZ4 alone takes a third of the time for them."""


class Table:
    """Streams one table to Parquet, one row group at a time. A file appears with its first row.

    Long tables are continued in further files, whose names follow that of the first: ``sends.w.parquet``,
    ``sends.w~0001.parquet``.

    ``append`` copies rows into columns that are allocated with the first row and reused: new memory for each row group
    costs as much as all the copying. ``background`` writes a full row group while the next one fills: in the caller's
    thread that would stall the measured client for 10 to 20 ms.
    """

    def __init__(self, path: Path, schema: pa.Schema, background: Executor) -> None:
        self._path, self._schema, self._background = path, schema, background
        self._groups = 0
        self._columns: dict[str, Column] = {}
        self._other_columns: dict[str, Column] = {}
        self._rows = 0
        self._writing: Future[None] | None = None
        self.background_cpu_ns = 0
        self._writer: pq.ParquetWriter | None = None

    def append(self, count: int, columns: Mapping[str, Column | int]) -> None:
        """An int stands for a column of ``count`` times that number. Raises ValueError for columns of other lengths."""
        for name, given in columns.items():
            if not isinstance(given, int) and len(given) != count:
                raise ValueError(f"{len(given)} rows of {name}, {count} of the table")
        done = 0
        while done < count:
            if self._writer is None:
                # Now, not with the first full row group: opening takes some milliseconds, which delay a producer.
                self._writer = self._opened()
            if not self._columns:
                self._columns = {field.name: np.empty(_ROWS_PER_GROUP, DTYPES[field.type]) for field in self._schema}
            begin, rows = self._rows, min(count - done, _ROWS_PER_GROUP - self._rows)
            end = self._rows = begin + rows
            part = columns if rows == count else _cut(columns, slice(done, done + rows))
            place = slice(begin, end)
            for name, column in self._columns.items():
                column[place] = part[name]
            done += rows
            if end == _ROWS_PER_GROUP:
                self._written()
                self._writing = self._background.submit(self._timed, self._ready(end))
                self._columns, self._other_columns = self._other_columns, self._columns
                self._rows = 0

    def _written(self) -> None:
        """Wait for the previous row group; raises the error of writing it."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _ready(self, rows: int) -> Callable[[], None]:
        """The remaining work for this many rows; all of it releases the interpreter's lock."""
        writer = self._writer
        assert writer is not None, "opened with the first row"
        if self._groups and self._groups % _GROUPS_PER_FILE == 0:
            writer.close()
            self._writer = writer = self._opened()
        self._groups += 1
        arrays = [arrow_array(self._columns[field.name][:rows], field.type) for field in self._schema]
        return partial(writer.write_table, pa.Table.from_arrays(arrays, schema=self._schema))

    def _opened(self) -> pq.ParquetWriter:
        """The next file."""
        at, names = self._groups // _GROUPS_PER_FILE, self._schema.names
        return pq.ParquetWriter(
            self._path.with_stem(f"{self._path.stem}~{at:04d}") if at else self._path,
            self._schema,
            compression={name: "none" if name in _RANDOM_COLUMNS else "lz4" for name in names},
            use_dictionary=False,
            column_encoding={name: "DELTA_BINARY_PACKED" for name in names if name in _COUNTING_COLUMNS},
            write_statistics=False,
            write_page_checksum=True,
        )

    def _timed(self, write: Callable[[], None]) -> None:
        begin_ns = time.thread_time_ns()
        write()
        self.background_cpu_ns += time.thread_time_ns() - begin_ns

    def close(self) -> None:
        self._written()
        if self._rows:
            rows, self._rows = self._rows, 0
            self._ready(rows)()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _cut(columns: Mapping[str, Column | int], rows: slice) -> Mapping[str, Column | int]:
    return {name: given if isinstance(given, int) else given[rows] for name, given in columns.items()}


# pyarrow's own conversions from NumPy import pandas first: seconds that a load process has not.
def arrow_array(column: Column, kind: pa.DataType) -> pa.Array[Any]:
    return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(column.data)])


def background() -> Executor:
    """One thread, already started, for all tables of a writer."""
    thread = ThreadPoolExecutor(1, "history", _yield_to_others)
    thread.submit(int).result()
    return thread


def _yield_to_others() -> None:
    """Lower this thread's priority, so that it leaves the cores to the measured threads."""
    if sys.platform == "linux":  # elsewhere priorities belong to processes
        os.nice(_NICE)
