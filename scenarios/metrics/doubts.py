"""Why the figures of a window need not be the broker's, and which windows are trusted.

A window's mark has its ``doubts``: reasons in words, none where it is sound. Histories of before have none, and are
trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from brokerbench.scenarios.base import Measured


def of_mark(mark: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(mark.get("doubts", ()))


class _Measured(Protocol):
    @property
    def doubts(self) -> Sequence[str]: ...


W = TypeVar("W", bound=_Measured)


def trusted(windows: Sequence[W], planned: int) -> tuple[list[W], str, str]:
    """The windows whose figures count, why these are in doubt all the same, and a note on those left out.

    Sound ones alone where there are as many as planned, else all.
    """
    sound = [window for window in windows if not window.doubts]
    if len(sound) == len(windows):
        return sound, "", ""
    why = "; ".join(dict.fromkeys(doubt for window in windows for doubt in window.doubts))
    count = f"{len(windows) - len(sound)} of {len(windows)} windows"
    if len(sound) >= max(1, planned):
        return sound, "", f"{count} left out ({why})"
    return list(windows), f"{count} in doubt: {why}", ""


def stated(metric: Measured, doubt: str, left_out: str) -> Measured:
    """The metric with what ``trusted`` said of its windows."""
    note = "; ".join(filter(None, [metric.note, left_out]))
    return replace(metric, note=note, doubt=doubt, comparable=metric.comparable and not doubt)
