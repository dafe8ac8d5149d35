"""The windows of a latency cell in order: warm-up, curve, climb, search, confirmation, against made-up brokers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from brokerbench.bench.load.processes import Processes
from brokerbench.scenarios import latency
from brokerbench.scenarios.base import Context
from brokerbench.scenarios.load.load_commands import OnProgress, no_progress
from brokerbench.scenarios.load.schedule import Schedule
from tests.scenarios.harness import loaded


class _Controller:
    """Passes so many messages a second; a closed loop finds ``closed`` of them. ``stalls``: windows that go wrong.

    Above ``prompt`` messages a second two of a hundred come late, though all come. The first ``young`` windows pass
    a tenth.
    """

    def __init__(
        self,
        capacity: float,
        closed: float,
        stalls: Sequence[int] = (),
        prompt: float = float("inf"),
        young: int = 0,
    ) -> None:
        self._capacity, self._closed, self._stalls, self._prompt, self._young = capacity, closed, stalls, prompt, young
        self.context: Context | None = None
        self.late = 0
        self.doubts: tuple[str, ...] = ()
        self.middle_ms: tuple[float, ...] = ()
        self.paces: list[tuple[str, float, float]] = []
        self.opened: list[str] = []
        self.published = 0

    def measure_ceilings(self, batches: Sequence[int], seconds: float) -> None: ...

    def open(self, name: str, in_flight: Sequence[tuple[int, int]]) -> None:
        self.opened.append(name)
        self.published = 0

    def window(
        self, mode: str, batch: int, window_s: float, *, warmup: bool = False, on_progress: OnProgress = no_progress
    ) -> int:
        return int(self._closed * window_s)

    def paced(
        self,
        purpose: str,
        batch: int,
        schedule: Schedule,
        *,
        warmup: bool = False,
        consumers_away_s: float = 0.0,
        late_after_s: float | None = None,
        on_progress: OnProgress = no_progress,
    ) -> int:
        self.late = 0
        if warmup:
            return 0
        if late_after_s is not None and schedule.rate > self._prompt:
            self.late = int(0.02 * schedule.rate * schedule.duration_s)
        self.paces.append((purpose, schedule.rate, schedule.duration_s))
        self.published += int(schedule.rate * schedule.duration_s)
        stalls, young = len(self.paces) - 1 in self._stalls, len(self.paces) <= self._young
        capacity = 0.0 if stalls else self._capacity / (10 if young else 1)
        return int(max(0.0, schedule.rate - capacity) * schedule.duration_s)

    def drain(self, patience_s: float = 0.0) -> None: ...

    def warmed_up(self, patience_s: float) -> None: ...

    def left_out(self, what: str, why: str) -> None: ...

    def close(self) -> None: ...

    def rates(self, purpose: str) -> list[float]:
        return [rate for name, rate, _ in self.paces if name == purpose]


def search(directory: Path, controller: _Controller, **parameters: Any) -> _Controller:
    with Processes() as load:
        controller.context = loaded(latency, directory, load, **parameters)
        latency._Experiment(controller).run()  # type: ignore[arg-type]
    return controller


def test_the_search_finds_what_a_closed_loop_does_not(tmp_path: Path) -> None:
    controller = search(tmp_path, _Controller(50_000, closed=3_000))
    (confirmed,) = set(controller.rates("confirm"))
    assert len(controller.rates("confirm")) == 3
    assert confirmed == pytest.approx(50_000, rel=0.07)
    assert controller.rates("curve") == pytest.approx([share * confirmed for share in (0.1, 0.25, 0.5, 0.75, 0.9)])
    assert controller.rates("backlog") == pytest.approx([confirmed / 2])
    assert max(controller.rates("climb")) < 2.1 * 50_000, "what is far beyond is not tried"
    assert {seconds for name, _, seconds in controller.paces if name in ("climb", "search")} == {2.0}


def test_the_search_goes_down_where_a_closed_loop_promised_too_much(tmp_path: Path) -> None:
    controller = search(tmp_path, _Controller(9_000, closed=40_000))
    assert controller.rates("confirm")[-1] == pytest.approx(9_000, rel=0.07)


@pytest.mark.parametrize("stall", range(12))
def test_one_stall_does_not_spoil_the_search(tmp_path: Path, stall: int) -> None:
    controller = search(tmp_path, _Controller(50_000, closed=3_000, stalls=[stall]))
    assert controller.rates("confirm")[-1] == pytest.approx(50_000, rel=0.07)


def test_a_rate_whose_windows_mostly_fail_is_lowered(tmp_path: Path) -> None:
    found = search(tmp_path / "a", _Controller(50_000, closed=3_000))
    first = [name for name, _, _ in found.paces].index("confirm")
    controller = search(tmp_path / "b", _Controller(50_000, closed=3_000, stalls=[first, first + 1]))
    assert controller.rates("confirm") == pytest.approx(
        [found.rates("confirm")[0] * share for share in [1.0] * 3 + [0.95] * 3]
    )


def test_the_search_sees_messages_that_come_late_though_no_backlog_grows(tmp_path: Path) -> None:
    controller = search(tmp_path, _Controller(50_000, closed=3_000, prompt=20_000))
    assert controller.rates("confirm")[-1] == pytest.approx(20_000, rel=0.07)


def test_a_rate_of_which_no_window_lasts_is_lowered_by_more(tmp_path: Path) -> None:
    found = search(tmp_path / "a", _Controller(50_000, closed=3_000))
    first = [name for name, _, _ in found.paces].index("confirm")
    controller = search(tmp_path / "b", _Controller(50_000, closed=3_000, stalls=range(first, first + 6)))
    assert controller.rates("confirm") == pytest.approx(
        [found.rates("confirm")[0] * share for share in [1.0] * 3 + [0.95] * 3 + [0.95 * 0.85] * 3]
    )


@pytest.mark.parametrize("young", [2, 4, 6, 8])
def test_what_failed_while_the_broker_was_young_is_tried_again(tmp_path: Path, young: int) -> None:
    controller = search(tmp_path, _Controller(50_000, closed=10_000, young=young))
    assert controller.rates("confirm")[-1] == pytest.approx(50_000, rel=0.1)


def test_where_everything_lasts_nothing_is_searched(tmp_path: Path) -> None:
    controller = search(tmp_path, _Controller(1e12, closed=1_000), size=48)
    assert len(controller.rates("climb")) == 10
    assert not controller.rates("search")


def test_asked_rates_come_first_and_are_the_curve(tmp_path: Path) -> None:
    controller = search(tmp_path, _Controller(5_000, closed=1), rates=[4_000.0, 1_000.0], saturate_s=0.0)
    assert controller.rates("curve") == [1_000, 4_000]
    assert controller.rates("climb") == [8_000, 8_000]
    assert controller.rates("confirm")[-1] == pytest.approx(5_000, rel=0.07)


def test_a_failed_rate_does_not_hide_a_higher_one_that_lasted(tmp_path: Path) -> None:
    controller = search(
        tmp_path, _Controller(5_000, closed=1, stalls=[0]), rates=[200.0, 2_000.0], saturate_s=0.0, search_steps=0
    )
    assert controller.rates("confirm") == [2_000] * 3
    assert controller.rates("backlog") == [1_000]


@pytest.mark.parametrize(("limit_ms", "window_s"), [(1_000.0, 4.0), (100.0, 0.4), (500.0, 1.0)])
def test_windows_of_the_search_are_long_enough_to_fail(tmp_path: Path, limit_ms: float, window_s: float) -> None:
    controller = search(tmp_path, _Controller(50_000, closed=3_000), latency_limit_ms=limit_ms, window_s=window_s)
    assert max(controller.rates("climb")) < 2.3 * 50_000
    assert controller.rates("search")[-1] == pytest.approx(50_000, rel=0.2)


def test_named_rates_stay_on_one_channel(tmp_path: Path) -> None:
    rates = [50_000.0, 60_000.0]
    controller = search(
        tmp_path, _Controller(90_000, closed=1), rates=rates, saturate_s=0.0, search_steps=0, window_s=60.0
    )
    assert controller.opened == ["paced-0"]


def test_no_channel_holds_more_than_a_broker_may_keep_in_memory(tmp_path: Path) -> None:
    controller = search(tmp_path, _Controller(3_000, closed=3_000), size=1 << 20)
    assert controller.opened[:2] == ["saturated", "paced-0"]
    assert len(controller.opened) > 5


class _Cold(_Controller):
    """A broker that gets faster with each warm-up, ``times`` times."""

    def __init__(self, times: int) -> None:
        super().__init__(1e9, closed=1)
        self.warm_ups: list[float] = []
        self._times = times

    def paced(self, purpose: str, batch: int, schedule: Schedule, **more: Any) -> int:
        if purpose == "warm-up":
            self.warm_ups.append(schedule.rate)
            self.middle_ms = (67, 50, 41, 35, 30) if len(self.warm_ups) <= self._times else (9.6, 9.7, 9.5, 9.6, 9.6)
        return super().paced(purpose, batch, schedule, **more)


@pytest.mark.parametrize(("cold", "warm_ups"), [(0, 1), (3, 4), (99, 6)])
def test_the_warm_up_has_the_highest_rate_and_goes_on_while_latency_falls(
    tmp_path: Path, cold: int, warm_ups: int
) -> None:
    asked = {"rates": [10.0, 500.0], "saturate_s": 0.0, "search_steps": 0, "rate_warmup_s": 1.0}
    controller = search(tmp_path, _Cold(cold), **asked)
    assert isinstance(controller, _Cold)
    assert controller.warm_ups == [500.0] * warm_ups


class _Doubtful(_Controller):
    """The windows of these numbers are in doubt, and fail."""

    def __init__(self, *numbers: int) -> None:
        super().__init__(1e9, closed=1, stalls=numbers)
        self._numbers = numbers

    def paced(self, purpose: str, batch: int, schedule: Schedule, **more: Any) -> int:
        found = super().paced(purpose, batch, schedule, **more)
        self.doubts = ("producer-0 stood still",) if len(self.paces) - 1 in self._numbers else ()
        return found


def test_a_window_in_doubt_is_measured_again(tmp_path: Path) -> None:
    asked = {"rates": [10.0, 500.0], "saturate_s": 0.0, "search_steps": 0, "confirm": 2, "away_s": 0.0}
    controller = search(tmp_path, _Doubtful(1, 2, 4), **asked)
    assert controller.rates("curve") == [10, 500, 500, 500]
    assert controller.rates("confirm") == [500] * 3
