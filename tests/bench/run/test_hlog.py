"""Histograms counted in columns are those of HdrHistogram, and its own reader reads the files."""

from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given
from hypothesis import strategies as st

from brokerbench.bench.run import hlog
from brokerbench.bench.run.hlog import DIGITS, HIGHEST_NS, LOWEST_NS, histogram
from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.history import History
from brokerbench.scenarios.history.stamp import INTACT

S = 1_000_000_000


@given(st.lists(st.one_of(st.integers(0, 10_000), st.integers(0, HIGHEST_NS)), max_size=60))
def test_columns_give_what_values_one_by_one_give(values: list[int]) -> None:
    one_by_one = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    for value in values:
        one_by_one.record_value(value)
    assert histogram(np.array(values, np.int64)).encode() == one_by_one.encode()


def test_values_out_of_range_are_counted_at_its_ends() -> None:
    counted = histogram(np.array([-5, 2 * HIGHEST_NS], np.int64))
    assert counted.get_total_count() == 2
    assert counted.get_min_value() == 0
    assert counted.get_max_value() >= HIGHEST_NS


@pytest.mark.parametrize("percent", [50.0, 99.0, 99.9])
def test_percentiles_are_right_to_three_digits(percent: float) -> None:
    values = np.random.default_rng(1).lognormal(15, 1, 100_000).astype(np.int64)
    exact = np.percentile(values, percent)
    assert histogram(values).get_value_at_percentile(percent) == pytest.approx(exact, rel=0.002)


def test_the_file_is_read_by_hdrhistogram(tmp_path: Path) -> None:
    due = np.arange(0, 2 * S, S // 100)
    count = len(due)
    seqs, zeros = np.arange(count), np.zeros(count, np.int64)
    seen = History(
        sends={"producer": zeros, "seq": seqs, "intended_ns": due, "sent_ns": due + 1_000_000},
        send_outcomes={
            "producer": zeros,
            "seq": seqs,
            "settled_ns": due + 3_000_000,
            "outcome": np.full(count, Outcome.ACKNOWLEDGED),
        },
        deliveries={
            "reader": zeros,
            "producer": zeros,
            "seq": seqs,
            "received_ns": due + 5_000_000,
            "status": np.full(count, INTACT),
        },
        acknowledgements={},
        marks=[
            {
                "event": "paced",
                "warmup": False,
                "window": 4,
                "purpose": "curve",
                "rate": 100.0,
                "start_ns": 0,
                "end_ns": 2 * S,
                "consumers_away_s": 0.0,
            }
        ],
    )
    path = hlog.write(tmp_path, seen)
    assert path is not None
    reader = HistogramLogReader(str(path), HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS))
    found: dict[str, list[tuple[int, int]]] = {}
    while (interval := reader.get_next_interval_histogram()) is not None:
        entry = (interval.get_total_count(), round(interval.get_value_at_percentile(50) / 1e6))
        found.setdefault(interval.get_tag(), []).append(entry)
    assert found["end-to-end.4.due"] == [(100, 5), (100, 5)]
    assert found["end-to-end.4.sent"] == [(100, 4), (100, 4)]
    assert found["publish.4.due"] == [(100, 3), (100, 3)]
    assert found["schedule-lag.4.due"] == [(100, 1), (100, 1)]


def test_other_histories_have_no_file(tmp_path: Path) -> None:
    none = History({}, {}, {}, {}, [])
    assert hlog.write(tmp_path, none) is None
    assert not list(tmp_path.iterdir())
