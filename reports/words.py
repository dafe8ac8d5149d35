"""Numbers and short words as every report writes them. Nothing here depends on locale, clock or machine."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from brokers.declarations import Support
from scenarios.verdicts import Grade

NOTHING = "\u2013"
"""A dash: there is nothing to say here."""

GRADE_WORDS: Mapping[Grade, str] = {
    Grade.SERVICE: "the real service",
    Grade.SOFTWARE: "the real broker, on one machine",
    Grade.EMULATOR: "an emulator: API shape only",
    Grade.MODEL: "in-memory model",
}

SUPPORT_WORDS: Mapping[Support, str] = {
    Support.GUARANTEED: "guaranteed",
    Support.POSSIBLE: "possible",
    Support.IMPOSSIBLE: "impossible",
    Support.UNDECLARED: "nothing declared",
}


def number(value: float) -> str:
    """Three significant digits; whole numbers from 1000 on get separators: ``0.512``, ``12.4``, ``83,400``."""
    if value == int(value) and abs(value) < 1000:
        return str(int(value))
    if abs(value) >= 1000:
        digits = len(str(int(abs(value))))
        return f"{round(value, 3 - digits):,.0f}"
    if abs(value) < 0.001:
        return f"{value:.1e}"
    digits = 3 - len(str(int(abs(value)))) if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def count(value: int) -> str:
    """A count is never rounded."""
    return f"{value:,}"


def rate(upper_bound: float) -> str:
    """A rate as a percentage with two significant digits: ``0.03 %``."""
    percent = upper_bound * 100
    return f"{float(f'{percent:.2g}'):g} %"


def median(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def spread(samples: Sequence[float], unit: str) -> str:
    """Median and range: ``"1.2 s (0.4 to 2.1)"``; without samples a dash."""
    if not samples:
        return NOTHING
    middle = f"{number(median(samples))} {unit}".rstrip()
    if len(samples) == 1:
        return middle
    return f"{middle} ({number(min(samples))} to {number(max(samples))})"


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
