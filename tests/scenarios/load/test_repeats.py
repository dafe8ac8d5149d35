"""Windows in doubt are measured again, and not for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from brokerbench.scenarios.load.repeats import Repeats


class Windows:
    """Windows that take a second each; ``doubtful`` says of each whether it is in doubt, the last one for ever."""

    def __init__(self, *doubtful: bool) -> None:
        self._doubtful, self.measured, self.now = doubtful, 0, 0.0

    def measure(self) -> int:
        self.measured += 1
        self.now += 1.0
        return self.measured

    def doubts(self) -> Sequence[str]:
        return ["late"] if self._doubtful[min(self.measured, len(self._doubtful)) - 1] else []

    def clock(self) -> float:
        return self.now

    def times(self, repeats: Repeats, windows: int = 1) -> int:
        """Windows measured for this many planned ones."""
        for _ in range(windows):
            assert repeats.until_sound(self.measure, self.doubts) == self.measured
        return self.measured


def _bounded(windows: int, seconds: float) -> Callable[[Windows], Repeats]:
    return lambda given: Repeats(windows, seconds, given.clock)


def test_a_sound_window_is_measured_once() -> None:
    given = Windows(False)
    assert given.times(_bounded(9, 9.0)(given), windows=4) == 4


def test_a_window_in_doubt_is_measured_again_until_it_is_sound() -> None:
    given = Windows(True, True, False)
    assert given.times(_bounded(9, 9.0)(given)) == 3


def test_the_extra_windows_of_a_cell_are_bounded_in_number() -> None:
    given = Windows(True, True, False, True, True, False, False)
    assert given.times(_bounded(3, 9.0)(given), windows=3) == 6


def test_they_are_bounded_in_time() -> None:
    given = Windows(True)
    assert given.times(_bounded(9, 1.5)(given)) == 3


def test_a_doubt_that_lasts_ends_them() -> None:
    given = Windows(True)
    assert given.times(_bounded(99, 99.0)(given), windows=5) == 5 + 3


def test_none_without_a_budget() -> None:
    given = Windows(True)
    assert given.times(_bounded(0, 9.0)(given), windows=2) == 2
