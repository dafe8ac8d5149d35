"""A window whose figures are in doubt is measured again, bounded in number and in time.

*Doubts* are reasons why the figures of a window need not be the broker's: others took the machine, the generator was
late. They stand in the window's mark (``doubts``, a list of texts; none: the window is sound), and the controller
keeps those of its last window.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

_IN_VAIN = 3
"""Number of extra windows in a row in doubt that show a lasting cause: further ones would only take time."""


class Repeats:
    """The extra windows of one cell. ``windows``: at most as many; ``seconds``: none begins after they took as long."""

    def __init__(self, windows: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._windows, self._seconds, self._clock = windows, seconds, clock
        self._in_vain = 0

    def until_sound(self, measure: Callable[[], T], doubts: Callable[[], Sequence[str]]) -> T:
        """The value of the last measurement. ``doubts``: those of the window just measured."""
        found = measure()
        while doubts() and self._windows > 0 and self._seconds > 0 and self._in_vain < _IN_VAIN:
            self._windows -= 1
            began = self._clock()
            found = measure()
            self._seconds -= self._clock() - began
            self._in_vain = self._in_vain + 1 if doubts() else 0
        return found
