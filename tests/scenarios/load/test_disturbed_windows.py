"""Disturbed windows of the load scenarios are measured again; where that does not help, their figures rank nothing."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brokerbench.bench.load.processes import Processes
from brokerbench.scenarios import latency, ordering, throughput
from brokerbench.scenarios.base import Examination, MachineUsage
from brokerbench.scenarios.history import History, saved_history
from brokerbench.scenarios.load import usage
from brokerbench.scenarios.metrics import doubts
from tests.scenarios.harness import context, every, loaded, memory, of

pytestmark = pytest.mark.usefixtures("sound_windows")

QUICK = {"window_s": 0.2, "warmup_s": 0.05, "repeats": 2, "batches": [10], "ceiling_s": 0.05, "drain_s": 10.0}
OPEN = {
    "window_s": 0.3, "warmup_s": 0.05, "ceiling_s": 0.05, "rates": [500.0], "search_steps": 0, "confirm": 0,
    "away_s": 0, "saturate_s": 0, "rate_warmup_s": 0, "batch": 10,
}  # fmt: skip


def machine(disturbed: Callable[[int], bool]) -> Callable[[], MachineUsage]:
    """A machine of one core: strangers take half of it between look 2n and 2n + 1 where window n is disturbed."""
    looks, strangers_s = itertools.count(), 0.0

    def look() -> MachineUsage:
        nonlocal strangers_s
        at = next(looks)
        if at % 2 and disturbed(at // 2):
            strangers_s += 0.5
        return MachineUsage(time.monotonic(), 1, strangers_s, 0.0, 0.0, 0.0, None, None)

    return look


def run(directory: Path, scenario: Any, disturbed: Callable[[int], bool], **parameters: Any) -> History:
    with Processes() as load:
        given = loaded(scenario, directory, load, "memory", **parameters)
        scenario.run(replace(given, machine_use=machine(disturbed)))
    return saved_history.load(directory / "history")


def measured(history: History, mode: str) -> int:
    return len(list(history.events("window", mode=mode, warmup=False)))


def test_a_quiet_run_repeats_nothing(tmp_path: Path) -> None:
    history = run(tmp_path, throughput, lambda at: False, **QUICK)
    assert [measured(history, mode) for mode in throughput.MODES] == [2, 2, 2]
    assert not any(metric.doubt for metric in throughput.examine(history).metrics)


def test_a_disturbed_window_is_measured_again_and_left_out(tmp_path: Path) -> None:
    # Two windows warm up; then come "both", "publish" and "consume".
    history = run(tmp_path, throughput, lambda at: at in (2, 5), **QUICK)
    examination: Examination = throughput.examine(history)
    assert [measured(history, mode) for mode in throughput.MODES] == [3, 2, 3]
    for mode in throughput.MODES:
        for metric in every(examination.metrics, "consume_rate", mode=mode):
            assert (len(metric.samples), metric.doubt, metric.comparable) == (2, "", True)
            assert ("left out: 1 of 3 windows in doubt" in metric.note) == (mode != "publish")
    assert min(of(examination, "consume_rate", mode="consume").samples) > 100, "a repeated window has a backlog"
    assert len(of(examination, "machine_strangers", mode="both").samples) == 3, "all windows are in the result"
    assert all(finding.violations == 0 for finding in examination.findings)
    assert examination.findings[0].observations


def test_where_the_disturbance_lasts_every_figure_is_in_doubt(tmp_path: Path) -> None:
    history = run(tmp_path, throughput, lambda at: True, **QUICK)
    metrics = [metric for metric in throughput.examine(history).metrics if metric.name.endswith("_rate")]
    assert metrics
    assert all("was taken by others" in metric.doubt and not metric.comparable for metric in metrics)
    windows = sum(measured(history, mode) for mode in throughput.MODES)
    assert windows == 6 + 3, "it gives up when three more in a row did not help"


def test_an_open_loop_measures_again_too(tmp_path: Path) -> None:
    history = run(tmp_path, latency, lambda at: at == 2, **OPEN)
    assert len(list(history.events("paced", warmup=False))) == 2
    goodput = of(latency.examine(history), "goodput")
    assert (len(goodput.samples), goodput.doubt) == (1, "")
    assert "left out: 1 of 2 windows in doubt" in goodput.note
    lasting = of(latency.examine(history), "asked_rate")
    assert lasting.doubt == ""


def test_an_open_loop_under_lasting_disturbance_ranks_nothing(tmp_path: Path) -> None:
    history = run(tmp_path, latency, lambda at: True, **OPEN)
    examination = latency.examine(history)
    for name in ("goodput", "asked_rate"):
        assert "was taken by others" in of(examination, name).doubt


@pytest.mark.parametrize("disturbed", [False, True])
def test_an_experiment_without_windows_is_watched_in_stretches(tmp_path: Path, disturbed: bool) -> None:
    given = context(ordering, memory(), tmp_path, messages=100)
    looks = itertools.count()

    def look() -> MachineUsage:
        at = next(looks)
        return MachineUsage(float(at), 1, 0.5 * at * disturbed, 0.0, 0.0, 0.0, None, None)

    with usage.watched(replace(given, machine_use=look)):
        time.sleep(0.05)
    history = saved_history.load(tmp_path)
    assert len(list(history.events("machine"))) == 1
    assert bool(doubts.disturbance(history)) == disturbed


def test_a_machine_that_is_not_looked_at_leaves_no_mark(tmp_path: Path) -> None:
    with usage.watched(context(ordering, memory(), tmp_path, messages=100)):
        pass
    assert list(saved_history.load(tmp_path).events("machine")) == []
