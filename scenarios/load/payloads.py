"""Payloads and ordering keys of a load.

Payloads are a pool of records, made ahead, which a producer stamps and sends in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from brokerbench.brokers.declarations import Limits
from brokerbench.scenarios.base import Parameters
from brokerbench.scenarios.history.stamp import SIZE, random_records
from brokerbench.scenarios.load import replay_log, sizes

_POOL_BYTES = 64 << 20


class Kind(StrEnum):
    RANDOM = "random"
    COMPRESSIBLE = "compressible"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class PayloadSpec:
    """``size`` in bytes, or ``sizes`` as ``brokerbench.scenarios.load.sizes`` reads them; a replayed log has its own.

    ``random_share``: random part of a compressible message; the rest is zeros. ``path``: a log to replay: a file of
    lines (.jsonl, .ndjson), of rows (.parquet: ``column``), a directory (every file below it), or any file as one
    record.
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


def records(spec: PayloadSpec, *, seed: int, producer: int) -> Sequence[bytes]:
    """The pool of one producer; of a log, all of it in its order. Raises ValueError for records that cannot be sent."""
    if spec.kind is Kind.REPLAY:
        return replay_log.read(Path(spec.path), spec.column).records
    if not spec.sizes and spec.kind is Kind.RANDOM:
        return random_records(size=spec.size, seed=seed, producer=producer, pool=spec.pool)
    rng = np.random.default_rng([seed, producer])
    wanted = sizes.draw(spec.sizes, spec.pool, rng) if spec.sizes else np.full(spec.pool, spec.size)
    # As many as fit into the memory meant for a pool, and at least one.
    wanted = wanted[: max(1, int(np.searchsorted(np.cumsum(wanted), _POOL_BYTES, "right")))]
    share = 1.0 if spec.kind is Kind.RANDOM else spec.random_share
    return [rng.bytes(int(size * share)).ljust(size, b"\0") for size in wanted.tolist()]


def check_fits(spec: PayloadSpec, limits: Limits | None) -> None:
    """Raises ValueError that names a message above the limit, and says what to do; also as ``records`` does."""
    what, size, smaller = _largest(spec)
    if limits is None or limits.max_message_bytes is None or size <= limits.max_message_bytes:
        return
    encoded = "" if limits.payload_encoding == "bytes" else f" (it encodes them: {limits.payload_encoding})"
    raise ValueError(
        f"{what} has {size:,} bytes, and the profile takes {limits.max_message_bytes:,} at most{encoded}; "
        f"{smaller}, or leave the profile out"
    )


def _largest(spec: PayloadSpec) -> tuple[str, int, str]:
    """The largest message that may be sent: its name in a sentence, its size in bytes, the way to a smaller one."""
    if spec.kind is Kind.REPLAY:
        log = replay_log.read(Path(spec.path), spec.column)
        name = f"payload_path {spec.path}: {log.describe(log.largest)}"
        return name, len(log.records[log.largest]), "take such records out of the log"
    if spec.sizes:
        advice = "set a smaller one (the third value of lognormal)"
        return f"sizes {spec.sizes!r}: the largest message", sizes.largest(spec.sizes), advice
    return "size: a message", spec.size, "set a smaller one"


def check_size_fits(parameters: Parameters, limits: Limits | None) -> None:
    """As ``check_fits``, for scenarios whose messages are of one ``size``."""
    check_fits(PayloadSpec(size=int(parameters["size"])), limits)


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
