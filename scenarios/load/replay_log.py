"""Reads a log whose records a load sends again: lines, rows, or files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from brokerbench.scenarios.history.stamp import SIZE

_MOST_BYTES = 256 << 20
"""Largest log to replay, in bytes: each producer keeps it in memory."""
_LINES = (".jsonl", ".ndjson")
_TEXT = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())


@dataclass(frozen=True, slots=True)
class ReplayLog:
    """``names``: the file of each record, where the log is a directory. ``hidden``: files that were left out."""

    path: Path
    records: Sequence[bytes]
    names: Sequence[str] = ()
    hidden: int = 0

    @property
    def size(self) -> int:
        """Of all records, in bytes."""
        return sum(map(len, self.records))

    @property
    def largest(self) -> int:
        """Index of the largest record."""
        return max(range(len(self.records)), key=lambda at: len(self.records[at]))

    def describe(self, at: int) -> str:
        """``record 17 (push/payload.json)``"""
        return f"record {at + 1} ({self.names[at]})" if self.names else f"record {at + 1}"

    def __str__(self) -> str:
        largest = f"the largest is {self.describe(self.largest)} with {len(self.records[self.largest]):,}"
        hidden = f"; left out: {self.hidden:,} hidden files" if self.hidden else ""
        return f"payload_path {self.path}: {len(self.records):,} records, {self.size:,} bytes, {largest}{hidden}"


def read(path: Path, column: str = "") -> ReplayLog:
    """Of a directory every file below it, in order of their paths, but hidden ones.

    Raises ValueError that names the file, and the record that is too short for a stamp.
    """
    try:
        found = _read(path, column)
    except OSError as problem:
        raise ValueError(f"payload_path {path}: cannot be read: {problem.strerror or problem}") from None
    if not found.records:
        raise ValueError(f"payload_path {path}: holds no record")
    for at, record in enumerate(found.records):
        if len(record) < SIZE:
            raise ValueError(
                f"payload_path {path}: {found.describe(at)} has {len(record)} bytes; the measuring stamp needs {SIZE}"
            )
    return found


def hidden(path: Path) -> int:
    """How many files of a directory are hidden, and so left out."""
    return sum(_is_hidden(path, entry) for entry in _files(path))


def _files(path: Path) -> list[Path]:
    """All below a directory, in order of their paths; none of a path that is no directory."""
    return sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else []


def _is_hidden(directory: Path, entry: Path) -> bool:
    return any(part.startswith(".") for part in entry.relative_to(directory).parts)


def _read(path: Path, column: str) -> ReplayLog:
    every = _files(path)
    files = [entry for entry in every if not _is_hidden(path, entry)] if path.is_dir() else [path]
    if sum(entry.stat().st_size for entry in files) > _MOST_BYTES:
        raise ValueError(
            f"payload_path {path}: more than {_MOST_BYTES >> 20} MiB, which each producer would have to keep"
        )
    if path.is_dir():
        names = [str(entry.relative_to(path)) for entry in files]
        return ReplayLog(path, [entry.read_bytes() for entry in files], names, len(every) - len(files))
    if path.suffix == ".parquet":
        return ReplayLog(path, _column(path, column))
    if path.suffix in _LINES:
        return ReplayLog(path, [line for line in path.read_bytes().splitlines() if line])
    return ReplayLog(path, [path.read_bytes()])


def _column(path: Path, column: str) -> list[bytes]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as problem:
        raise ValueError(f"payload_path {path}: {problem}") from None
    fits = [field.name for field in file.schema_arrow if field.type in _TEXT]
    if not column and len(fits) != 1:
        raise ValueError(f"payload_path {path}: payload_column must name one of {', '.join(fits) or 'no column fits'}")
    if column and column not in fits:
        raise ValueError(f"payload_path {path}: no column {column!r} of text or bytes; there are: {', '.join(fits)}")
    values = file.read(columns=[column or fits[0]]).column(0).cast(pa.large_binary())
    return [value for value in values.to_pylist() if value is not None]
