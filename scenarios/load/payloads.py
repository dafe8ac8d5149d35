"""Payloads of a load: a pool of records, made ahead, which a producer stamps and sends in turn."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

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
    fits = [field.name for field in file.schema_arrow if _is_text(field.type)]
    if not column and len(fits) != 1:
        raise ValueError(f"payload_path {path}: payload_column must name one of {', '.join(fits) or 'no column fits'}")
    if column and column not in fits:
        raise ValueError(f"payload_path {path}: no column {column!r} of text or bytes; there are: {', '.join(fits)}")
    values = file.read(columns=[column or fits[0]]).column(0).cast(pa.large_binary())
    return [value for value in values.to_pylist() if value is not None]


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )
