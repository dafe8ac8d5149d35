"""Ordering keys of a load."""

from __future__ import annotations

from typing import Any

import numpy as np

_POOL = 65_536


class Keys:
    """Random keys, drawn once and used again: drawing costs more than sending."""

    def __init__(self, seed: int, keys: int) -> None:
        self._pool = np.random.default_rng(seed).integers(0, keys, _POOL)
        self._at = 0

    def take(self, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        if self._at + count > len(self._pool):
            self._at = 0
        if count > len(self._pool):
            return np.resize(self._pool, count)
        keys = self._pool[self._at : self._at + count]
        self._at += count
        return keys
