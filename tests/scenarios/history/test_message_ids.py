"""Joins and sorts: the quick way says what the plain way says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerbench.bench.lab import synthetic_history
from brokerbench.bench.selftest.checks import CHECKS
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import Delivered
from brokerbench.scenarios.history import message_ids, saved_history
from tests.scenarios.checkers.histories import CHANNEL, got, typed

_WHOLE = st.integers(np.iinfo(np.int64).min, np.iinfo(np.int64).max)


@given(st.lists(_WHOLE | st.integers(-3, 3)))
def test_the_order_is_the_stable_one(codes: list[int]) -> None:
    column = np.array(codes, np.int64)
    assert message_ids.stable_order(column).tolist() == np.argsort(column, kind="stable").tolist()


@pytest.mark.parametrize("spare", [0, 1])
def test_codes_as_wide_as_one_number_allows(spare: int) -> None:
    """Three codes need two bits for their index: 61 are left."""
    column = np.array([(1 << 61) - 1 + spare, 0, (1 << 61) - 1 + spare])
    assert message_ids.stable_order(column).tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("codes", "order"),
    [([1 << 62, -(1 << 62), 0], [1, 2, 0]), ([15 - (1 << 60), -5 - (1 << 60)], [1, 0])],
)
def test_codes_on_both_sides_of_zero_and_far_below(codes: list[int], order: list[int]) -> None:
    assert message_ids.stable_order(np.array(codes)).tolist() == order


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_the_order_of_what_is_in_runs(runs: int) -> None:
    """Two runs of a thousand are merged, three of fewer are sorted."""
    column = np.arange(2000) // 3 % (2000 // (3 * runs))
    assert message_ids.stable_order(column).tolist() == np.argsort(column, kind="stable").tolist()


@given(st.lists(st.integers(-3, 5)), st.lists(st.integers(0, 5)))
def test_among_is_what_isin_says(column: list[int], numbers: list[int]) -> None:
    one = np.array(column, np.int32)
    assert message_ids.among(one, numbers).tolist() == np.isin(one, numbers).tolist()


@given(st.lists(_WHOLE | st.integers(-3, 3)), st.lists(_WHOLE | st.integers(-3, 3)))
def test_rows_with_are_those_that_isin_finds(column: list[int], values: list[int]) -> None:
    one, few = np.array(column, np.int64), np.array(values, np.int64)
    assert message_ids.rows_with(one, few).tolist() == np.flatnonzero(np.isin(one, few)).tolist()


def test_values_that_16_bits_do_not_tell_apart() -> None:
    column = np.array([1 << 16, 1, -65_535, 2, 65_535, -1])
    assert message_ids.rows_with(column, np.array([1])).tolist() == [1]
    assert message_ids.rows_with(column, np.array([-1])).tolist() == [5]


@given(st.sets(st.integers(0, 9)), st.lists(st.integers(-1, 11)), st.booleans())
def test_found_is_an_index_or_none(codes: set[int], wanted: list[int], same: bool) -> None:
    ascending = sorted(codes)
    wanted = ascending if same else wanted
    expected = [ascending.index(code) if code in codes else -1 for code in wanted]
    assert message_ids.found(np.array(ascending, np.int64), np.array(wanted, np.int64)).tolist() == expected


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 4), unique=True))
def test_deliveries_stand_by_time_reader_batch_and_slot(rows: list[tuple[int, int, int, int]]) -> None:
    deliveries = [got(0, at_ns, reader, batch, slot) for at_ns, reader, batch, slot in rows]
    delivered: Delivered = typed([0], deliveries).delivered
    names = ("received_ns", "reader", "batch", "slot")
    assert list(zip(*(delivered.column(name).tolist() for name in names), strict=True)) == sorted(rows)


def test_a_synthetic_history_is_proven_drained_whatever_the_hosts_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic_ns", lambda: 1)
    faults = synthetic_history.write(tmp_path, synthetic_history.STRETCH, 1000, lambda share: None)
    whole = channel_index.of_channel(saved_history.load(tmp_path), CHANNEL)
    assert whole.drained()
    # Two of each are lost, and a phantom could be one of them.
    assert CHECKS["delivery.no_loss"](whole).violations == faults
