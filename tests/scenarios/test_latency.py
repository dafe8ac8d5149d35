"""The latency scenario: its arithmetic on histories typed by hand, and a whole run in process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.workers import Processes
from brokers.types import Outcome
from scenarios import history, journeys, latency, latency_metrics
from scenarios.base import Context
from scenarios.history import History
from scenarios.journeys import NEVER, Journeys
from scenarios.latency_metrics import Paced
from scenarios.stamp import INTACT
from tests.scenarios.harness import every, loaded

MS = 1_000_000
S = 1_000_000_000


def ms(*values: float) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([NEVER if value is None else round(value * MS) for value in values], np.int64)


def journey(*rows: tuple[Any, Any, Any, Any]) -> Journeys:
    """Rows of due, sent, settled, received in milliseconds; None: never."""
    return Journeys(*(ms(*column) for column in zip(*rows, strict=True)))


def window(of: Journeys, start_ms: float = 0, end_ms: float = 1000, away_ms: float = 0) -> Paced:
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
        settled={
            "producer": column([0, 1, 0]),
            "seq": column([0, 0, 1]),
            "settled_ns": column([50, 60, 70]),
            "outcome": column([Outcome.ACKNOWLEDGED, Outcome.ACKNOWLEDGED, Outcome.UNKNOWN]),
        },
        deliveries={
            "producer": column([0, 0, 1, 7]),
            "seq": column([0, 0, 0, 0]),
            "received_ns": column([90, 80, 85, 1]),
            "status": column([INTACT, INTACT, INTACT, INTACT]),
        },
        settles={},
        marks=[],
    )
    of = journeys.of_history(seen)
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


QUICK = {"window_s": 0.4, "saturate_s": 0.2, "warmup_s": 0.1, "ceiling_s": 0.05, "away_s": 0.3}


def context(directory: Path, load: Processes, **parameters: Any) -> Context:
    return loaded(latency, directory, load, **{**QUICK, **parameters})


def test_a_whole_run(tmp_path: Path) -> None:
    with Processes() as load:
        latency.run(context(tmp_path, load, rates=[200, 2000], search_steps=0, confirm=1, latency_limit_ms=250.0))
    seen = history.load(tmp_path / "history")
    examination = latency.examine(seen)
    assert [finding.violations for finding in examination.findings] == [0, 0, 0, 0]
    metrics = list(examination.metrics)
    assert {metric.labels["rate"] for metric in every(metrics, "goodput")} == {200, 2000}
    for name in ("end_to_end_latency", "publish_latency"):
        (due,) = every(metrics, name, rate=200, quantile="max", **{"from": "due"})
        (sent,) = every(metrics, name, rate=200, quantile="max", **{"from": "sent"})
        assert due.samples[0] >= sent.samples[0] > 0
    assert not every(metrics, "end_to_end_latency", rate=200, quantile="p99.99"), "80 messages cannot show 1 in 10,000"
    (lag,) = every(metrics, "schedule_lag", rate=2000, quantile="p50")
    assert lag.samples[0] >= 0
    (sustained,) = every(metrics, "sustainable_rate")
    assert "no higher rate failed" in sustained.note
    (waited,) = every(metrics, "backlog_taken")
    assert waited.samples[0] == pytest.approx(0.3 * 1000, rel=0.3)
    assert every(metrics, "catch_up_time")[0].samples[0] < 0.9


def test_without_a_closed_loop_rates_must_be_given(tmp_path: Path) -> None:
    with Processes() as load, pytest.raises(ValueError, match="saturate_s: 0 needs rates"):
        latency.run(context(tmp_path, load, saturate_s=0.0))


def test_other_histories_have_no_latency_metrics(tmp_path: Path) -> None:
    empty = history.load(tmp_path)
    assert latency_metrics.metrics(empty) == []
