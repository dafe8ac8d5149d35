"""Sizes of messages as people write them: a distribution, or sizes with weights.

::

    lognormal(1 KiB, 1.0)               # median, sigma of the logarithm
    lognormal(1 KiB, 1.0, 16 KiB)       # and the largest (default 64 KiB)
    uniform(100 B, 2 KiB)
    128 B: 5, 1 KiB: 3, 64 KiB: 1       # sizes and their weights
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from brokerbench.scenarios import units
from brokerbench.scenarios.history.stamp import SIZE

Sizes = npt.NDArray[np.int64]
_LARGEST = 64 << 10
_CALL = re.compile(r"\s*(lognormal|uniform)\s*\(([^()]*)\)\s*")


def draw(text: str, count: int, rng: np.random.Generator) -> Sizes:
    """``count`` sizes in bytes. Draws below the stamp's size or above the largest size are set to that.

    Raises ValueError that names the valid forms.
    """
    name, arguments = _read(text)
    if name == "uniform":
        least, most = _uniform(arguments, text)
        return rng.integers(least, most + 1, count)
    if name == "lognormal":
        median, sigma, most = _lognormal(arguments, text)
        drawn = np.rint(rng.lognormal(np.log(median), sigma, count))
        return np.clip(drawn, SIZE, most).astype(np.int64)
    sizes, weights = _weighted(text)
    return rng.choice(sizes, count, p=weights / weights.sum())


def largest(text: str) -> int:
    """The largest size that may be drawn, in bytes. Raises ValueError as ``draw``."""
    name, arguments = _read(text)
    if name == "uniform":
        return _uniform(arguments, text)[1]
    return _lognormal(arguments, text)[2] if name == "lognormal" else int(_weighted(text)[0].max())


def _read(text: str) -> tuple[str, list[str]]:
    """The name of a distribution and its arguments; no name for sizes with weights."""
    call = _CALL.fullmatch(text)
    return ("", []) if call is None else (call.group(1), [part.strip() for part in call.group(2).split(",")])


def _uniform(arguments: Sequence[str], text: str) -> tuple[int, int]:
    """The smallest and the largest size."""
    if len(arguments) != 2:
        raise ValueError(f"sizes: uniform takes the smallest and the largest size, not {text!r}")
    least, most = (_size(part) for part in arguments)
    if least > most:
        raise ValueError(f"sizes: the smallest size of {text!r} is above its largest")
    return least, most


def _lognormal(arguments: Sequence[str], text: str) -> tuple[int, float, int]:
    """Median, sigma and the largest size."""
    if len(arguments) not in (2, 3):
        raise ValueError(f"sizes: lognormal takes a median, a sigma and perhaps the largest size, not {text!r}")
    median, sigma = _size(arguments[0]), _positive(arguments[1], text)
    return median, sigma, _size(arguments[2]) if len(arguments) == 3 else max(_LARGEST, median)


def _weighted(text: str) -> tuple[Sizes, npt.NDArray[np.float64]]:
    """Sizes and their weights."""
    pairs: Sequence[Sequence[str]] = [part.split(":") for part in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"sizes must be like 'lognormal(1 KiB, 1.0)', 'uniform(100 B, 2 KiB)' or '128 B: 5, 1 KiB: 3', not {text!r}"
        )
    sizes = np.array([_size(size) for size, _ in pairs], np.int64)
    weights = np.array([_positive(weight, text) for _, weight in pairs])
    return sizes, weights


def _size(text: str) -> int:
    text = text.strip()
    size = float(text) if text.isdecimal() else units.parse("size", text)
    if size < SIZE:
        raise ValueError(f"sizes: {text} is below {SIZE} bytes, which the measuring stamp needs")
    return round(size)


def _positive(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"sizes: {text.strip()!r} in {whole!r} must be a number greater than 0")
    return value
