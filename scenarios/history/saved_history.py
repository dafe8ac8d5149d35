"""Read histories from disk: whole tables on demand, or stretches of rows that need little memory."""

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

from brokerbench.scenarios.history.history import FORMAT, SCHEMAS, UNTOLD, Column, Columns, History, Mark
from brokerbench.scenarios.history.parquet_table import DTYPES, arrow_array

_ROWS_PER_STRETCH = 262_144
_FORMER_NAMES: Mapping[str, str] = {"send_outcomes": "settled", "acknowledgements": "settles"}
"""Names of tables in format 1."""


class Saved(Mapping[str, Column]):
    """One table of a history on disk. The first access to a column reads the whole table."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.directory, self.kind = directory, kind
        # Listed now, so that a file that disappears later is missed: a table without files is empty.
        self.paths = _files(directory, kind)

    @cached_property
    def _whole(self) -> Columns:
        schema, parts = SCHEMAS[self.kind], []
        for path in self.paths:
            with _opened(path) as file, _naming(path):
                names = [name for name in schema.names if name in file.schema_arrow.names]
                part = file.read(use_threads=False).select(names)
                parts.append(_with_untold(part, self.kind).select(schema.names).cast(schema))
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
    """The history in a directory. Its tables are read on first use, and stay in memory from then on.

    Raises ValueError for a format newer than FORMAT, and, here or when its table is read, for a damaged file, by name.
    """
    for kind in SCHEMAS:
        rows(directory, kind)
    sends, send_outcomes, deliveries, acknowledgements = (Saved(directory, kind) for kind in SCHEMAS)
    return History(sends, send_outcomes, deliveries, acknowledgements, marks(directory))


def directory_of(history: History) -> Path | None:
    """The directory in which a history is saved; None where any of its tables exists in memory alone.

    Assumes that its marks are those of the directory.
    """
    tables = (history.sends, history.send_outcomes, history.deliveries, history.acknowledgements)
    found = {table.directory if isinstance(table, Saved) else None for table in tables}
    return found.pop() if len(found) == 1 else None


def stretches(table: Columns, names: Sequence[str]) -> Iterator[Columns]:
    """Some columns of a history's table in stretches of rows; a table in memory is one stretch."""
    if isinstance(table, Saved) and not table.in_memory:
        return _streamed(table.paths, table.kind, names)
    return iter([{name: table[name] for name in names}])


def marks(directory: Path) -> list[Mark]:
    """Marks alone, in order of time.

    Raises ValueError for a damaged file, by name and line, and for a format newer than FORMAT.
    """
    found = [mark for path in sorted(directory.glob("marks.*.jsonl")) for mark in _marks(path)]
    newest = max((mark["version"] for mark in found if mark["event"] == "format"), default=FORMAT)
    if newest > FORMAT:
        raise ValueError(f"{directory} has history format {newest}; this version reads up to {FORMAT}")
    found.sort(key=lambda mark: mark["at_ns"])
    return found


def _marks(path: Path) -> Iterator[Mark]:
    with _naming(path):
        lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line and number == len(lines):
            return
        try:
            mark = json.loads(line.decode("utf-8"))
            if not _whole(mark):
                raise ValueError("this is no event with its time")
        except ValueError as error:  # also of the decoder
            raise ValueError(f"damaged history file {path}, line {number}: {error}") from error
        yield mark


def _whole(mark: object) -> bool:
    if not isinstance(mark, dict) or not isinstance(mark.get("event"), str) or not isinstance(mark.get("at_ns"), int):
        return False
    return mark["event"] != "format" or isinstance(mark.get("version"), int)


def rows(directory: Path, kind: str) -> int:
    """Number of rows of one table. Raises ValueError, naming the file, for one that is damaged."""
    return sum(_opened(path).metadata.num_rows for path in _files(directory, kind))


def stream(directory: Path, kind: str, names: Sequence[str] = ()) -> Iterator[Columns]:
    """One table in stretches of at most ``_ROWS_PER_STRETCH`` rows, file by file; all columns unless named."""
    return _streamed(_files(directory, kind), kind, list(names) or SCHEMAS[kind].names)


def _streamed(paths: Sequence[Path], kind: str, names: Sequence[str]) -> Iterator[Columns]:
    for path in paths:
        with _opened(path) as file, _naming(path):
            told = [name for name in names if name in file.schema_arrow.names] or SCHEMAS[kind].names[:1]
            for part in file.iter_batches(_ROWS_PER_STRETCH, columns=told, use_threads=False):
                table = _with_untold(pa.Table.from_batches([part]), kind)
                yield {name: _numpy(table.column(name), SCHEMAS[kind].field(name).type) for name in names}


def _with_untold(part: pa.Table, kind: str) -> pa.Table:
    """The same rows, with the columns that their format has not."""
    for name, value in UNTOLD.get(kind, {}).items():
        if name not in part.schema.names:
            part = part.append_column(name, arrow_array(np.full(len(part), value, np.int64), pa.int64()))
    return part


def _files(directory: Path, kind: str) -> list[Path]:
    """Each writer's files in the order of writing (``parquet_table.Table``), perhaps with others between."""
    names = (kind, _FORMER_NAMES.get(kind, kind))
    return sorted({path for name in names for path in directory.glob(f"{name}.*.parquet")})


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn a reader's error about a damaged file into a ValueError that names the file.

    KeyError: the file has not the table's columns.
    """
    try:
        yield
    except (pa.ArrowException, OSError, KeyError) as error:
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
