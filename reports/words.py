"""Numbers and short words as every report writes them, independent of locale, clock and machine."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from brokerbench.brokers.declarations import Support
from brokerbench.scenarios.results import Cell, Sends
from brokerbench.scenarios.verdicts import Grade

NOTHING = "\u2013"
"""A dash: no value."""

GRADE_WORDS: Mapping[Grade, str] = {
    Grade.SERVICE: "the real service",
    Grade.SOFTWARE: "the real broker",
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
    """Three significant digits, separators from 1000 on: ``0.512``, ``12.4``, ``0.7``, ``83,400``."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"


def amount(value: float, unit: str) -> str:
    """A number with its unit; a ratio as a percentage."""
    return f"{number(value * 100)} %" if unit == "ratio" else f"{number(value)} {unit}".rstrip()


def count(value: int) -> str:
    """A count is never rounded."""
    return f"{value:,}"


def rate(upper_bound: float) -> str:
    """A rate as a percentage with two significant digits: ``0.03 %``."""
    return f"{float(f'{upper_bound * 100:.2g}'):g} %"


def median(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def middle_and_range(samples: Sequence[float]) -> dict[str, float]:
    return {"median": median(samples), "low": min(samples), "high": max(samples)}


def spread(samples: Sequence[float], unit: str) -> str:
    """Median and range: ``"1.2 s (0.4 to 2.1)"``; without samples a dash."""
    if not samples:
        return NOTHING
    middle = amount(median(samples), unit)
    if len(samples) == 1:
        return middle
    scale = 100 if unit == "ratio" else 1
    return f"{middle} ({number(min(samples) * scale)} to {number(max(samples) * scale)})"


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def not_acknowledged(sends: Sends | None) -> str:
    """``15 of 2,500 sends rejected (first reason: too large), 3 of unknown fate``; empty if all were acknowledged."""
    if sends is None:
        return ""
    counted = (("rejected", sends.rejected, "rejected"), ("unknown", sends.unknown, "of unknown fate"))
    parts: list[str] = []
    for name, found, text in counted:
        if found:
            of = "" if parts else f" of {count(sends.sent)} sends"
            why = f" (first reason: {sends.reasons[name]})" if name in sends.reasons else ""
            parts.append(f"{count(found)}{of} {text}{why}")
    return ", ".join(parts)


def left_out(cell: Cell) -> str:
    """What the cell was asked for and does not show, with the reasons; empty if there is nothing."""
    return "; ".join(f"{what}: {why}" for what, why in cell.left_out.items())
