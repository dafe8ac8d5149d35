"""The latency scenario: its arithmetic on histories typed by hand, and a whole run in process."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brokerbench.bench.load.processes import Processes
from brokerbench.brokers.types import Outcome
from brokerbench.scenarios import latency
from brokerbench.scenarios.analysis import latency as latency_metrics
from brokerbench.scenarios.analysis.latency import Paced
from brokerbench.scenarios.base import Context
from brokerbench.scenarios.history import History, saved_history
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.load.controller import LoadController
from brokerbench.scenarios.load.schedule import Schedule
from brokerbench.scenarios.metrics import message_times
from brokerbench.scenarios.metrics.message_times import NEVER, MessageTimes
from tests.scenarios.harness import every, loaded

MS = 1_000_000
S = 1_000_000_000


def ms(*values: float) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([NEVER if value is None else round(value * MS) for value in values], np.int64)


def journey(*rows: tuple[Any, Any, Any, Any]) -> MessageTimes:
    """Rows of due, sent, settled, received in milliseconds; None: never."""
    return MessageTimes(*(ms(*column) for column in zip(*rows, strict=True)))


def window(of: MessageTimes, start_ms: float = 0, end_ms: float = 1000, away_ms: float = 0) -> Paced:
    return Paced(0, "curve", 10.0, round(start_ms * MS), round(end_ms * MS), round(away_ms * MS), of)


def test_journeys_join_what_happened_to_each_message() -> None:
    column = np.array
    seen = History(
        sends={
            "producer": column([0, 0, 1, 0]),
            "seq": column([0, 1, 0, 2]),
            "intended_ns": column([30, 10, 20, 40]),
            "sent_ns": column([31, 11, 21, 41]),
        },
        send_outcomes={
            "producer": column([0, 1, 0]),
            "seq": column([0, 0, 1]),
            "settled_ns": column([50, 60, 70]),
            "outcome": column([Outcome.ACKNOWLEDGED, Outcome.ACKNOWLEDGED, Outcome.UNKNOWN]),
        },
        deliveries={
            "reader": column([0, 0, 0, 0]),
            "producer": column([0, 0, 1, 7]),
            "seq": column([0, 0, 0, 0]),
            "received_ns": column([90, 80, 85, 1]),
            "status": column([INTACT, INTACT, INTACT, INTACT]),
        },
        acknowledgements={},
        marks=[],
    )
    of = message_times.of_history(seen)
    assert of.due_ns.tolist() == [10, 20, 30, 40]
    assert of.sent_ns.tolist() == [11, 21, 31, 41]
    assert of.settled_ns.tolist() == [NEVER, 60, 50, NEVER]
    assert of.received_ns.tolist() == [NEVER, 85, 80, NEVER]
    assert of.due_within(20, 40).due_ns.tolist() == [20, 30]


def test_the_age_of_a_backlog_is_that_of_its_oldest_message() -> None:
    of = journey((0, 0, 1, 100), (10, 10, 11, 20), (200, 200, 201, 250), (300, 300, 301, None))
    at = ms(5, 50, 99.9, 100, 150, 220, 260, 350)
    assert (of.backlog_age_ns(at) / MS).tolist() == [5, 50, 99.9, 0, 0, 20, 0, 50]
    assert of.backlog(at).tolist() == [1, 1, 1, 0, 0, 1, 0, 1]


def test_latency_begins_when_a_message_was_due() -> None:
    of = journey((0, 50, 60, 70), (10, 50, 60, 80), (20, 50, None, None))
    assert (latency_metrics.latencies_ns(of, "received_ns", corrected=True) / MS).tolist() == [70, 70]
    assert (latency_metrics.latencies_ns(of, "received_ns", corrected=False) / MS).tolist() == [20, 30]
    assert (latency_metrics.latencies_ns(of, "sent_ns", corrected=True) / MS).tolist() == [50, 40, 30]


@pytest.mark.parametrize(
    ("rows", "lasts"),
    [
        ([(at, at, at + 1, at + 5) for at in range(0, 1000, 10)], True),
        ([(at, at, at + 1, at + 51) for at in range(0, 1000, 10)], False),  # all too late
        ([(at, at, at + 1, at + 50) for at in range(0, 1000, 10)], True),  # just within
        ([(at, at, at + 1, at + (80 if at > 980 else 5)) for at in range(0, 1000, 10)], True),  # 1 of 100 may be late
        ([(at, at, at + 1, at + (80 if at > 960 else 5)) for at in range(0, 1000, 10)], False),
        ([(at, at, at + 1, None if at == 500 else at + 5) for at in range(0, 1000, 10)], False),
        ([(at, at, None if at == 500 else at + 1, at + 5) for at in range(0, 1000, 10)], False),
        ([], False),
    ],
)
def test_a_rate_lasts_when_the_limit_is_kept(rows: list[tuple[Any, Any, Any, Any]], lasts: bool) -> None:
    of = journey(*rows) if rows else journey((0, 0, 0, 0)).due_within(1, 2)
    assert window(of).lasts(50 * MS) is lasts


def at_rate(rate: float, lasted: bool, purpose: str = "confirm") -> Paced:
    of = journey(*((at, at, at + 1, at + (5 if lasted else 90)) for at in range(0, 1000, 10)))
    return Paced(0, purpose, rate, 0, S, 0, of)


@pytest.mark.parametrize(
    ("tries", "climbs", "best", "words"),
    [
        ([(10, True)] * 3 + [(12, False)], [], 10, "3 of 3 windows of 1 s .* in 37% .*; 12 did not last"),
        ([(10, True), (10, False), (10, True)], [(20, False)], 10, "2 of 3 .* in 14% .*; 20 did not last"),
        ([(10, True), (10, False), (8, True)], [], 8, "1 of 1 .* in 5% .*; no higher rate failed in all"),
        ([(10, True), (12, True), (10, True)], [], 10, "2 of 2 .* in 22% .*; no higher rate failed in all"),
    ],
)
def test_the_rate_that_lasts_is_stated_with_confidence(
    tries: list[tuple[float, bool]], climbs: list[tuple[float, bool]], best: float, words: str
) -> None:
    windows = [at_rate(*each) for each in tries]
    climbed = [at_rate(*each, purpose="climb") for each in climbs]
    nothing = History(sends={}, send_outcomes={}, deliveries={}, acknowledgements={}, marks=[])
    (found,) = latency_metrics._lasting(nothing, windows, climbed, {}, 50 * MS, searched=True)
    assert found.note.startswith(f"{best} asked for")
    assert re.search(words, found.note), found.note


def test_what_the_search_chose_does_not_add_to_the_confidence() -> None:
    nothing = History(sends={}, send_outcomes={}, deliveries={}, acknowledgements={}, marks=[])
    searched = replace(at_rate(10, True, "search"), end_ns=S // 2)
    (found,) = latency_metrics._lasting(nothing, [searched, *[at_rate(10, True)] * 3], [], {}, 50 * MS, searched=True)
    assert "3 of 3 windows of 1 s" in found.note
    assert len(found.samples) == 3


def test_no_rate_is_stated_where_none_lasted() -> None:
    nothing = History(sends={}, send_outcomes={}, deliveries={}, acknowledgements={}, marks=[])
    windows = [at_rate(10, True), at_rate(10, False), at_rate(20, False)]
    assert not list(latency_metrics._lasting(nothing, windows, [], {}, 50 * MS, searched=True))


nothing = History(sends={}, send_outcomes={}, deliveries={}, acknowledgements={}, marks=[])
QUICK = {"window_s": 0.4, "saturate_s": 0.2, "warmup_s": 0.1, "ceiling_s": 0.05, "away_s": 0.3, "rate_warmup_s": 0.0}


def context(directory: Path, load: Processes, **parameters: Any) -> Context:
    return loaded(latency, directory, load, **{**QUICK, **parameters})


def test_messages_that_come_late_are_counted_wherever_they_are_received(tmp_path: Path) -> None:
    with Processes() as load:
        about = context(tmp_path, load)
        with about.writer("late") as writer, LoadController(about, writer) as controller:
            controller.open("late", [(100, 10_000)])
            steady = Schedule(1000.0, 1.0, "constant", "regular")
            controller.paced("prompt", 100, steady, late_after_s=0.5)
            controller.drain()
            prompt = controller.late
            # Who comes 0.6 s late and looks for 0.4 s finds those of the first 0.4 s late.
            controller.paced("away", 100, steady, consumers_away_s=0.6, late_after_s=0.2)
            controller.drain()
            late = controller.late
            controller.paced("nobody asks", 100, steady, consumers_away_s=0.6)
            controller.drain()
            assert controller.late == 0
            controller.close()
    assert prompt == 0
    assert 400 <= late < 1000


@pytest.mark.usefixtures("sound_windows")
def test_a_whole_run(tmp_path: Path) -> None:
    with Processes() as load:
        latency.run(context(tmp_path, load, rates=[200, 2000], search_steps=0, confirm=1, latency_limit_ms=250.0))
    seen = saved_history.load(tmp_path / "history")
    examination = latency.examine(seen)
    assert [finding.violations for finding in examination.findings] == [0] * (len(latency.PROPERTIES) + 1)
    metrics = list(examination.metrics)
    assert {metric.labels["rate"] for metric in every(metrics, "goodput")} == {200, 2000}
    for name in ("end_to_end_latency", "publish_latency"):
        (due,) = every(metrics, name, rate=200, quantile="max", **{"from": "due"})
        (sent,) = every(metrics, name, rate=200, quantile="max", **{"from": "sent"})
        assert due.samples[0] >= sent.samples[0] > 0
    assert not every(metrics, "end_to_end_latency", rate=200, quantile="p99.99"), "80 messages cannot show 1 in 10,000"
    (lag,) = every(metrics, "schedule_lag", rate=2000, quantile="p50")
    assert lag.samples[0] >= 0
    assert not every(metrics, "sustainable_rate"), "no search was made"
    (asked,) = every(metrics, "asked_rate")
    assert "lasted at the asked rate; no higher rate was tried" in asked.note
    assert not asked.comparable
    (warm_up,) = every(metrics, "warm_up")
    assert warm_up.samples == (0.0,)
    assert warm_up.labels["steady"] == "unknown"
    (waited,) = every(metrics, "backlog_taken")
    # Half of what lasted: 1000 where the machine has time for 2000.
    assert waited.samples[0] == pytest.approx(0.3 * waited.labels["rate"], rel=0.3)
    assert every(metrics, "catch_up_time")[0].samples[0] < 0.9


@pytest.mark.parametrize(
    ("climbs", "searched", "name"),
    [
        ([], True, "sustainable_rate"),
        ([], False, "asked_rate"),
        ([(20, False)], False, "sustainable_rate"),
    ],
)
def test_a_named_rate_is_no_sustainable_one(climbs: list[tuple[float, bool]], searched: bool, name: str) -> None:
    windows = [at_rate(10, True, "curve"), *(at_rate(*each, purpose="curve") for each in climbs)]
    (found,) = latency_metrics._lasting(nothing, windows, [], {}, 50 * MS, searched=searched)
    assert found.name == name
    assert found.comparable == (name == "sustainable_rate")


def test_a_window_in_doubt_is_not_held_against_the_broker() -> None:
    doubtful = replace(at_rate(10, False), doubts=("producer-0 stood still",))
    sound = [at_rate(10, True)] * 2
    (found,) = latency_metrics._lasting(nothing, [doubtful, *sound], [], {}, 50 * MS, searched=True)
    assert found.note.startswith("10 asked for; lasted in 2 of 2 windows")
    assert not found.doubt
    (found,) = latency_metrics._lasting(nothing, [*sound, replace(doubtful, rate=12.0)], [], {}, 50 * MS, searched=True)
    assert found.limited_by == "generator"
    lasting = replace(at_rate(10, True), doubts=("consumer-0 stood still",))
    (found,) = latency_metrics._lasting(nothing, [lasting], [], {}, 50 * MS, searched=True)
    assert "consumer-0 stood still" in found.doubt
    assert not found.comparable


def test_messages_that_were_never_sent_are_late_by_what_was_waited() -> None:
    of = journey(*((at, at, at + 1, at + 5) for at in range(0, 500, 10)))
    cut = window(of.with_unsent(ms(*range(500, 1000, 10)), 2000 * MS))
    assert cut.unsent == 50
    assert not cut.lasts(1e12)
    for end in ("sent_ns", "settled_ns", "received_ns"):
        corrected = latency_metrics.latencies_ns(cut.of, end, corrected=True)
        assert len(corrected) == 100
        assert corrected.max() == 1500 * MS
        assert np.count_nonzero(corrected >= 1000 * MS) == 50
        assert len(latency_metrics.latencies_ns(cut.of, end, corrected=False)) == 50
    assert cut.of.backlog_age_ns(ms(999)).tolist() == [499 * MS]
    assert cut.of.underway(ms(999)).tolist() == [0], "they wait for no consumer"
    assert cut.received_rate() == 50


def test_overload_ends_with_its_window_and_what_was_not_sent_is_told(tmp_path: Path) -> None:
    began = time.monotonic()
    with Processes() as load:
        asked = {"rates": [3_000_000.0], "saturate_s": 0.0, "search_steps": 0, "confirm": 0, "overrun_s": 0.2}
        latency.run(context(tmp_path, load, **asked))
    assert time.monotonic() - began < 60
    seen = saved_history.load(tmp_path / "history")
    marks = list(seen.events("paced"))
    assert len(marks) == 2, "the generator was too slow as well: measured again, and not for ever"
    due_ns = np.asarray(seen.sends["intended_ns"])
    for mark in marks:
        assert any("late by itself" in doubt for doubt in mark["doubts"])
        assert mark["unsent"] > 0
        sent = np.count_nonzero((due_ns >= mark["start_ns"]) & (due_ns < mark["end_ns"]))
        assert sent + mark["unsent"] == pytest.approx(0.4 * 3_000_000, rel=0.05), "every due message is accounted for"
    metrics = latency_metrics.metrics(seen)
    (unsent,) = every(metrics, "unsent")
    assert unsent.samples == tuple(mark["unsent"] for mark in marks)
    assert "late by itself" in unsent.doubt
    (median,) = every(metrics, "end_to_end_latency", quantile="p50", **{"from": "due"})
    assert median.samples[0] > 100, "half of all due messages were later than that: left out they would hide it"
    assert "were due and never sent (at least" in median.note
    assert not median.comparable
    assert not every(metrics, "sustainable_rate")
    assert not every(metrics, "asked_rate")


def test_without_a_closed_loop_rates_must_be_given() -> None:
    with pytest.raises(ValueError, match="saturate_s: 0 needs rates"):
        latency.check({**latency.DEFAULTS, "saturate_s": 0.0})


def test_other_histories_have_no_latency_metrics(tmp_path: Path) -> None:
    empty = saved_history.load(tmp_path)
    assert latency_metrics.metrics(empty) == []
