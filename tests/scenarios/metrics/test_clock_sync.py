"""Clocks of several hosts, against clocks whose truth is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerbench.scenarios import history
from brokerbench.scenarios.base import Measured
from brokerbench.scenarios.history import History, Writer, parquet_table, saved_history
from brokerbench.scenarios.metrics import clock_sync
from brokerbench.scenarios.metrics.clock_sync import HostClock, Reading

AHEAD_NS = 7_000_000_000_000


def host(ahead_ns: int, before_s: float, after_s: float) -> Callable[[], int]:
    """A host's clock at the end of a slow way there, and a slow way back."""

    def ask() -> int:
        time.sleep(before_s)
        now_ns = time.monotonic_ns() + ahead_ns
        time.sleep(after_s)
        return now_ns

    return ask


@pytest.mark.parametrize(("before_s", "after_s"), [(0.0, 0.0), (0.01, 0.0), (0.0, 0.01), (0.01, 0.01)])
def test_the_truth_is_within_the_error_however_lopsided_the_way(before_s: float, after_s: float) -> None:
    reading = clock_sync.read(host(AHEAD_NS, before_s, after_s), rounds=5)
    assert abs(reading.offset_ns - AHEAD_NS) <= reading.error_ns
    assert reading.error_ns >= (before_s + after_s) / 2 * 1e9


def test_the_shortest_round_trip_counts() -> None:
    slow, fast = host(AHEAD_NS, 0.02, 0.0), host(AHEAD_NS, 0.0, 0.0)
    answers = iter([slow, fast, slow])
    reading = clock_sync.read(lambda: next(answers)(), rounds=3)
    assert reading.error_ns < 10_000_000


@given(
    first_ns=st.integers(0, 2**60),
    length_ns=st.integers(1, 10**13),
    offset_ns=st.integers(-(2**60), 2**60),
    ppm=st.floats(-500, 500),
    share=st.floats(-0.1, 1.1),
)
def test_times_come_back_to_the_cells_clock(
    first_ns: int, length_ns: int, offset_ns: int, ppm: float, share: float
) -> None:
    def ahead_ns(at_ns: int) -> int:
        return offset_ns + round((at_ns - first_ns) * ppm / 1e6)

    end_ns = first_ns + length_ns
    clock = HostClock(Reading(first_ns, ahead_ns(first_ns), 1), Reading(end_ns, ahead_ns(end_ns), 1))
    at_ns = first_ns + int(share * length_ns)
    found = clock.to_cell(np.array([at_ns + ahead_ns(at_ns)]))
    # What the two readings were rounded by is all that may be lost.
    assert abs(int(found[0]) - at_ns) <= 4


def a_part(directory: Path, base_ns: int) -> None:
    """What a load process writes whose clock says ``base_ns``."""
    with Writer(directory, "producer-0", run=1) as writer:
        writer.mark("producer", producer=0, channel="c", size=64)
        seqs = np.arange(3)
        writer.sends(0, seqs, seqs, 64, seqs.astype(np.uint64), base_ns + seqs, base_ns + 5)
        writer.rows(
            "deliveries",
            {
                name: np.full(
                    2,
                    base_ns if name == "received_ns" else 4,
                    parquet_table.DTYPES[history.SCHEMAS["deliveries"].field(name).type],
                )
                for name in history.SCHEMAS["deliveries"].names
            },
        )


def test_a_part_comes_home_on_the_cells_clock(tmp_path: Path) -> None:
    a_part(tmp_path / "there", AHEAD_NS)
    clock = HostClock(Reading(0, AHEAD_NS, 10), Reading(10**9, AHEAD_NS, 10))
    (tmp_path / "here").mkdir()
    clock_sync.bring_home(tmp_path / "there", tmp_path / "here", "producer-0", clock, "left (10.0.0.1)")
    there, here = saved_history.load(tmp_path / "there"), saved_history.load(tmp_path / "here")
    assert here.sends["intended_ns"].tolist() == [0, 1, 2]
    assert here.sends["sent_ns"].tolist() == [5, 5, 5]
    assert here.deliveries["received_ns"].tolist() == [0, 0]
    untouched = ("seq", "key", "checksum")
    assert all((here.sends[name] == there.sends[name]).all() for name in untouched)
    assert here.deliveries["broker_epoch_ns"].tolist() == [4, 4]  # the broker's own clock is none of ours
    (mark,) = here.events("producer", host="left (10.0.0.1)")
    assert mark["at_ns"] == next(there.events("producer"))["at_ns"] - AHEAD_NS
    assert mark["at_epoch_ns"] == next(there.events("producer"))["at_epoch_ns"]


def over(tmp_path: Path, producers: list[str], readers: list[str], errors: dict[str, list[int]]) -> History:
    with Writer(tmp_path, "all", run=1) as writer:
        for event, number, names in (("producer", "producer", producers), ("reader", "reader", readers)):
            for at, name in enumerate(names):
                writer.mark(event, **{number: at}, **({"host": name} if name else {}))
        for name, values in errors.items():
            for value in values:
                writer.mark("clock", host=name, offset_ns=0, error_ns=value)
    return saved_history.load(tmp_path)


@pytest.mark.parametrize(
    ("producers", "readers", "expected"),
    [
        ([""], [""], 0),
        (["a"], ["a"], 0),
        (["a"], ["b"], 30),
        (["a"], [""], 20),
        (["a", "b"], ["a"], 30),
        (["a", "b"], ["a", "c"], 120),
    ],
)
def test_errors_of_both_hosts_add_up(tmp_path: Path, producers: list[str], readers: list[str], expected: int) -> None:
    found = over(tmp_path, producers, readers, {"a": [5, 20], "b": [10, 10], "c": [100]})
    assert clock_sync.error_ns(found) == expected


def a_latency(median_ms: float) -> list[Measured]:
    of = {"rate": 1000}
    return [
        Measured("end_to_end_latency", "ms", (median_ms, median_ms * 1.5), {**of, "quantile": "p50"}, note="n"),
        Measured("end_to_end_latency", "ms", (9.0, 9.5), {**of, "quantile": "p99"}, note="n"),
    ]


def test_a_latency_states_its_clock_error() -> None:
    error, *latencies = clock_sync.stated(a_latency(2.0), 150_000)
    assert (error.name, error.samples, error.labels) == ("clock_error", (0.15,), {"rate": 1000})
    assert [metric.samples for metric in latencies] == [metric.samples for metric in a_latency(2.0)]
    assert all("within 0.150 ms" in metric.note for metric in latencies)


def test_a_latency_is_refused_when_the_clocks_are_too_far_apart() -> None:
    (error,) = clock_sync.stated(a_latency(2.0), 201_000)
    assert error.name == "clock_error"
    assert "refused" in error.note


def test_on_one_host_nothing_is_added() -> None:
    assert clock_sync.stated(a_latency(2.0), 0) == a_latency(2.0)
