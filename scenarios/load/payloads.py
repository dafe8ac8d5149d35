"""Payloads and ordering keys of a load.

Payloads are a pool of records, made ahead, which a producer stamps and sends in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from brokerbench.scenarios.base import Parameters
from brokerbench.scenarios.history.stamp import SIZE, random_records
from brokerbench.scenarios.load import sizes

_MOST_BYTES = 256 << 20
"""Largest log to replay, in bytes: each producer keeps it in memory."""
_POOL_BYTES = 64 << 20
_LINES = (".jsonl", ".ndjson")
_TEXT = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())


class Kind(StrEnum):
    RANDOM = "random"
    COMPRESSIBLE = "compressible"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class PayloadSpec:
    """``size`` in bytes, or ``sizes`` as ``brokerbench.scenarios.load.sizes`` reads them; a replayed log has its own.

    ``random_share``: random part of a compressible message; the rest is zeros. ``path``: a log to replay: a file of
    lines (.jsonl, .ndjson), of rows (.parquet: ``column``), a directory of files, or any file as one record.
    """

    size: int
    sizes: str = ""
    kind: Kind = Kind.RANDOM
    random_share: float = 0.5
    path: str = ""
    column: str = ""
    pool: int = 1024

    def __post_init__(self) -> None:
        if self.kind is Kind.REPLAY and not self.path:
            raise ValueError("payload: replay needs payload_path: the log to replay")
        if self.kind is not Kind.REPLAY and self.path:
            raise ValueError(f"payload_path needs payload: replay, not {self.kind}")
        if self.kind is Kind.REPLAY and self.sizes:
            raise ValueError("a replayed log has its own sizes: leave sizes out")
        if self.size < SIZE:
            raise ValueError(f"size must be at least {SIZE} bytes, which the measuring stamp needs, not {self.size}")
        if not 0 <= self.random_share <= 1:
            raise ValueError(f"random_share must be between 0 and 1, not {self.random_share}")
        if self.pool < 1:
            raise ValueError("payload_pool must be at least 1")


def check_size(parameters: Parameters) -> None:
    """For scenarios whose messages are random bytes of one ``size``. Raises ValueError for one below a stamp's."""
    PayloadSpec(size=int(parameters["size"]))


def records(spec: PayloadSpec, *, seed: int, producer: int) -> list[bytes]:
    """The pool of one producer; of a log, all of it in its order. Raises ValueError for records that cannot be sent."""
    if spec.kind is Kind.REPLAY:
        return read_log(Path(spec.path), spec.column)
    if not spec.sizes and spec.kind is Kind.RANDOM:
        return random_records(size=spec.size, seed=seed, producer=producer, pool=spec.pool)
    rng = np.random.default_rng([seed, producer])
    wanted = sizes.draw(spec.sizes, spec.pool, rng) if spec.sizes else np.full(spec.pool, spec.size)
    # As many as fit into the memory meant for a pool, and at least one.
    wanted = wanted[: max(1, int(np.searchsorted(np.cumsum(wanted), _POOL_BYTES, "right")))]
    share = 1.0 if spec.kind is Kind.RANDOM else spec.random_share
    return [rng.bytes(int(size * share)).ljust(size, b"\0") for size in wanted.tolist()]


def read_log(path: Path, column: str = "") -> list[bytes]:
    """Raises ValueError that names the file, and the record that is too short for a stamp."""
    try:
        found = _read(path, column)
    except OSError as problem:
        raise ValueError(f"payload_path {path}: cannot be read: {problem.strerror or problem}") from None
    if not found:
        raise ValueError(f"payload_path {path}: holds no record")
    for number, record in enumerate(found, 1):
        if len(record) < SIZE:
            raise ValueError(
                f"payload_path {path}: record {number} has {len(record)} bytes; the measuring stamp needs {SIZE}"
            )
    return found


def _read(path: Path, column: str) -> list[bytes]:
    files = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
    if sum(entry.stat().st_size for entry in files) > _MOST_BYTES:
        raise ValueError(
            f"payload_path {path}: more than {_MOST_BYTES >> 20} MiB, which each producer would have to keep"
        )
    if path.suffix == ".parquet":
        return _column(path, column)
    if path.suffix in _LINES:
        return [line for line in path.read_bytes().splitlines() if line]
    return [entry.read_bytes() for entry in files]


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


NO_KEY = -1
_POOL = 65_536
_LARGEST_POOL = 1 << 22


class Choice(StrEnum):
    RANDOM = "random"
    IN_TURN = "in_turn"


@dataclass(frozen=True, slots=True)
class KeySpec:
    """``keys``: number of different keys. ``keyed`` False: messages have no key at all.

    ``skew``: exponent of a Zipf law: key number r is drawn in proportion to (r + 1) ** -skew; 0 is uniform. Raises
    ValueError for fewer than one key, and for a skew where keys come in turn.
    """

    keys: int
    skew: float = 0.0
    choice: Choice = Choice.RANDOM
    keyed: bool = True

    def __post_init__(self) -> None:
        if self.keys < 1:
            raise ValueError("keys must be at least 1; keyed: false sends without keys")
        if self.skew and self.choice is Choice.IN_TURN:
            raise ValueError("key_skew needs key_choice: random")


class Keys:
    """Key numbers, drawn once and used again: drawing costs more than sending."""

    def __init__(self, seed: int, spec: KeySpec) -> None:
        self._pool = _drawn(seed, spec)
        self._at = 0

    def take(self, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        size, begin, end = len(self._pool), self._at, self._at + count
        self._at = end % size
        return self._pool[begin:end] if end <= size else np.resize(np.roll(self._pool, -begin), count)


def _drawn(seed: int, spec: KeySpec) -> np.ndarray[Any, np.dtype[np.int64]]:
    size = min(max(_POOL, 4 * spec.keys), _LARGEST_POOL)
    if not spec.keyed:
        return np.full(_POOL, NO_KEY, np.int64)
    if spec.choice is Choice.IN_TURN:
        return np.arange(spec.keys, dtype=np.int64)
    rng = np.random.default_rng(seed)
    if not spec.skew:
        return rng.integers(0, spec.keys, size)
    shares = np.cumsum(np.arange(1, spec.keys + 1, dtype=np.float64) ** -spec.skew)
    drawn: np.ndarray[Any, np.dtype[np.int64]] = np.searchsorted(shares, rng.random(size) * shares[-1], "right")
    return drawn
