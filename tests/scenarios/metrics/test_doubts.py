"""Shares of the machine that others took: when they disturb a window, and what a disturbed window may decide."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from brokerbench.scenarios.base import MachineUsage, Measured
from brokerbench.scenarios.history import History
from brokerbench.scenarios.metrics import doubts

BEFORE = MachineUsage(
    at_s=100.0,
    cores=2,
    programs_s=50.0,
    ours_s=20.0,
    stolen_s=1.0,
    throttled_s=0.0,
    cpu_pressure_s=7.0,
    io_pressure_s=None,
)


def after(
    seconds: float = 2.0, *, ours: float = 0.0, strangers: float = 0.0, steal: float = 0.0, throttled: float = 0.0
) -> MachineUsage:
    return replace(
        BEFORE,
        at_s=BEFORE.at_s + seconds,
        programs_s=BEFORE.programs_s + ours + strangers,
        ours_s=20.0 + ours,
        stolen_s=1.0 + steal,
        throttled_s=throttled,
        cpu_pressure_s=7.5,
    )


def test_what_the_run_and_its_broker_use_is_not_taken() -> None:
    found = doubts.taken(BEFORE, after(ours=4.0))
    assert (found.strangers, found.steal, found.disturbed) == (0.0, 0.0, False)
    assert found.mark()["doubts"] == []


def test_strangers_steal_and_throttling_are_shares_of_all_cores() -> None:
    found = doubts.taken(BEFORE, after(strangers=1.0, steal=0.4, throttled=0.2))
    assert found.strangers == pytest.approx(0.25)
    assert found.steal == pytest.approx(0.1)
    assert found.throttled == pytest.approx(0.05)
    assert found.cpu_pressure == pytest.approx(0.25)
    assert found.io_pressure is None
    assert found.mark()["doubts"] == ["disturbed: 40 % of the machine was taken by others"]


@pytest.mark.parametrize("cause", ["strangers", "steal", "throttled"])
def test_a_tenth_of_the_machine_disturbs(cause: str) -> None:
    assert not doubts.taken(BEFORE, after(**{cause: 0.39})).disturbed
    assert doubts.taken(BEFORE, after(**{cause: 0.41})).disturbed


def test_a_few_ticks_of_a_very_short_window_disturb_nothing() -> None:
    assert not doubts.taken(BEFORE, after(0.1, strangers=0.04)).disturbed
    assert doubts.taken(BEFORE, after(0.1, strangers=0.06)).disturbed


def test_strangers_that_cannot_be_told_from_the_broker_are_not_known_and_steal_is() -> None:
    unknown = replace(BEFORE, ours_s=None)
    found = doubts.taken(unknown, replace(after(strangers=4.0, steal=1.0), ours_s=None))
    assert found.strangers is None
    assert found.mark()["doubts"] == ["disturbed: 25 % of the machine was taken by others"]


def test_counters_that_tick_on_their_own_give_no_negative_share() -> None:
    late = replace(after(ours=1.0), programs_s=BEFORE.programs_s + 0.98)
    assert doubts.taken(BEFORE, late).strangers == 0.0


@dataclass(frozen=True)
class Window:
    at: int
    doubts: tuple[str, ...] = ()


SOUND = [Window(at) for at in range(3)]
DISTURBED = Window(8, ("disturbed: 43 % of the machine was taken by others",))
LATE = Window(9, ("late: the producer",))


def test_sound_windows_are_trusted() -> None:
    assert doubts.trusted(SOUND, 3) == (SOUND, "", "")


def test_doubtful_windows_are_left_out_where_sound_ones_are_as_many_as_planned() -> None:
    windows, doubt, left_out = doubts.trusted([DISTURBED, *SOUND], 3)
    assert (windows, doubt) == (SOUND, "")
    assert left_out == f"left out: 1 of 4 windows in doubt, the first {DISTURBED.doubts[0]}"


def test_too_few_sound_windows_leave_the_figure_in_doubt() -> None:
    windows, doubt, left_out = doubts.trusted([DISTURBED, *SOUND[:2], LATE], 3)
    assert (len(windows), left_out) == (4, "")
    assert doubt == f"2 of 4 windows in doubt, the first {DISTURBED.doubts[0]}; {LATE.doubts[0]}"
    assert doubts.trusted([DISTURBED], 0)[1], "no sound window at all"


def test_a_figure_in_doubt_is_not_comparable() -> None:
    metric = Measured("publish_rate", "msg/s", (1.0,), note="of all")
    assert doubts.stated(metric, "", "") == metric
    assert doubts.stated(metric, "", "left out: 1") == replace(metric, note="of all; left out: 1")
    assert doubts.stated(metric, "2 of 4", "") == replace(metric, doubt="2 of 4", comparable=False)


def history(*marks: tuple[str, doubts.Taken, bool]) -> History:
    rows = [
        {"event": event, "window": at, "warmup": warm, **taken.mark()} for at, (event, taken, warm) in enumerate(marks)
    ]
    return History({}, {}, {}, {}, rows)


QUIET, BUSY = doubts.taken(BEFORE, after()), doubts.taken(BEFORE, after(strangers=2.0))


def test_the_worst_window_of_a_cell_is_named_and_its_warm_up_does_not_count() -> None:
    found = doubts.disturbance(history(("window", QUIET, False), ("window", BUSY, False), ("window", BUSY, True)))
    assert found == "disturbed: up to 50 % of the machine was taken by others, in 1 of 2 windows"
    assert doubts.disturbance(history(("window", QUIET, False), ("window", BUSY, True))) == ""


def test_a_history_without_marks_of_the_machine_is_trusted() -> None:
    assert doubts.disturbance(History({}, {}, {}, {}, [{"event": "window", "window": 0}])) == ""
    assert doubts.of_mark({"event": "window"}) == ()


def test_each_stretch_has_its_shares_in_the_result() -> None:
    found = {entry.name: entry for entry in doubts.metrics([BUSY.mark(), QUIET.mark()], {"mode": "both"})}
    assert found["machine_strangers"].samples == (50.0, 0.0)
    assert found["machine_strangers"].labels == {"mode": "both"}
    assert found["machine_cpu_pressure"].samples == (25.0, 25.0)
    assert "machine_io_pressure" not in found, "the system does not tell"
