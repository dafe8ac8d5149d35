"""Histories on disk, read back: whole tables where they are asked for, or in stretches that need little memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from brokerbench.scenarios.history.history import SCHEMAS, Column, Columns, History, Mark
from brokerbench.scenarios.history.parquet_table import DTYPES

_ROWS_PER_STRETCH = 262_144


class Saved(Mapping[str, Column]):
    """One table of a history on disk. It is read, whole, when the first of its columns is asked for."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.directory, self.kind = directory, kind
        # What is gone later must be missed: without any file a table is empty.
        self.paths = _files(directory, kind)

    @cached_property
    def _whole(self) -> Columns:
        schema, parts = SCHEMAS[self.kind], []
        for path in self.paths:
            with _opened(path) as file, _naming(path):
                part = file.read(use_threads=False)
                parts.append(part.select(schema.names).cast(schema))
        if not parts:
            return {field.name: np.empty(0, DTYPES[field.type]) for field in schema}
        whole = pa.concat_tables(parts)
        return {field.name: _numpy(whole.column(field.name), field.type) for field in schema}

    @property
    def in_memory(self) -> bool:
        """Has it been read?"""
        return "_whole" in vars(self)

    def __getitem__(self, name: str) -> Column:
        return self._whole[name]

    def __iter__(self) -> Iterator[str]:
        return iter(SCHEMAS[self.kind].names)

    def __len__(self) -> int:
        return len(SCHEMAS[self.kind].names)


def load(directory: Path) -> History:
    """The history in a directory. Its tables are read when they are needed, and stay in memory then.

    Raises ValueError, naming the file, for one that is damaged; here, or when its table is read.
    """
    for kind in SCHEMAS:
        rows(directory, kind)
    sends, settled, deliveries, settles = (Saved(directory, kind) for kind in SCHEMAS)
    return History(sends, settled, deliveries, settles, marks(directory))


def directory_of(history: History) -> Path | None:
    """The directory in which all of a history is saved; None where a table of it exists in memory alone.

    Its marks are taken to be those of the directory.
    """
    tables = (history.sends, history.settled, history.deliveries, history.settles)
    found = {table.directory if isinstance(table, Saved) else None for table in tables}
    return found.pop() if len(found) == 1 else None


def stretches(table: Columns, names: Sequence[str]) -> Iterator[Columns]:
    """Some columns of a history's table, a stretch of rows after the other; what is in memory is one."""
    if isinstance(table, Saved) and not table.in_memory:
        return _streamed(table.paths, table.kind, names)
    return iter([{name: table[name] for name in names}])


def marks(directory: Path) -> list[Mark]:
    """Marks alone, in order of time. Raises ValueError, naming the file and line, for one that is damaged."""
    found = []
    for path in sorted(directory.glob("marks.*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"damaged history file {path}, line {number}: {error}") from error
    found.sort(key=lambda mark: mark["at_ns"])
    return found


def rows(directory: Path, kind: str) -> int:
    """Number of rows of one table. Raises ValueError, naming the file, for one that is damaged."""
    return sum(_opened(path).metadata.num_rows for path in _files(directory, kind))


def stream(directory: Path, kind: str, names: Sequence[str] = ()) -> Iterator[Columns]:
    """One table in stretches of at most ``_ROWS_PER_STRETCH`` rows, file by file; all columns unless named."""
    return _streamed(_files(directory, kind), kind, list(names) or SCHEMAS[kind].names)


def _streamed(paths: Sequence[Path], kind: str, names: Sequence[str]) -> Iterator[Columns]:
    for path in paths:
        with _opened(path) as file, _naming(path):
            for part in file.iter_batches(_ROWS_PER_STRETCH, columns=list(names), use_threads=False):
                table = pa.Table.from_batches([part])
                yield {name: _numpy(table.column(name), SCHEMAS[kind].field(name).type) for name in names}


def _files(directory: Path, kind: str) -> list[Path]:
    """Those of one writer in the order in which they were written (``table.Table``); others may stand between."""
    return sorted(directory.glob(f"{kind}.*.parquet"))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What its reader raises for a damaged file, as a ValueError that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"damaged history file {path}: {error}") from error


def _opened(path: Path) -> pq.ParquetFile:
    with _naming(path):
        return pq.ParquetFile(path, page_checksum_verification=True)


# pyarrow's own conversions to NumPy import pandas first: seconds that a load process has not.
def _numpy(column: pa.ChunkedArray[Any], kind: pa.DataType) -> Column:
    """Without a copy where there is only one chunk. No column of a history has nulls."""
    dtype = np.dtype(DTYPES[kind])
    parts = [np.empty(0, dtype)]
    for chunk in column.chunks:
        values = chunk.buffers()[1]
        if values is not None and len(chunk):
            parts.append(np.frombuffer(memoryview(values), dtype, len(chunk), chunk.offset * dtype.itemsize))
    return parts[1] if len(parts) == 2 else np.concatenate(parts)
