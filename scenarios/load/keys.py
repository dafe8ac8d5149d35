"""Ordering keys of a load."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

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
        size = len(self._pool)
        begin, end = self._at, self._at + count
        if end <= size:
            self._at = end % size
            return self._pool[begin:end]
        self._at = end % size
        return np.resize(np.roll(self._pool, -begin), count)


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
