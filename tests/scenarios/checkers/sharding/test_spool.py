"""Rows in shards on disk: what is read is what was appended, in as few bytes as hold it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from io import SEEK_END, BufferedRandom

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerbench.scenarios.checkers.sharding.spool import NO_SHARD, Spool


@pytest.fixture
def file() -> Iterator[BufferedRandom]:
    with tempfile.TemporaryFile() as opened:
        yield opened


KINDS = (np.int8, np.int32, np.int64, np.uint64)


def test_named_columns_of_a_shard(file: BufferedRandom) -> None:
    fields = {"t": {"a": np.dtype(np.int64), "b": np.dtype(np.int8), "c": np.dtype(np.int32)}}
    spool = Spool(file, 2, fields)
    for first in (0, 10):
        rows = {name: np.arange(first, first + 4).astype(dtype) for name, dtype in fields["t"].items()}
        spool.append("t", rows, np.array([1, 0, NO_SHARD, 1], np.uint8))
    assert {name: column.tolist() for name, column in spool.read("t", 1).items()} == {
        name: [0, 3, 10, 13] for name in "abc"
    }
    assert {name: column.tolist() for name, column in spool.read("t", 1, ["c"]).items()} == {"c": [0, 3, 10, 13]}
    assert {name: column.tolist() for name, column in spool.read("t", 0, ["b", "a"]).items()} == {
        "b": [1, 11],
        "a": [1, 11],
    }
    assert spool.read("t", 0)["b"].dtype == np.int8


@st.composite
def _stretches(draw: st.DrawFn) -> list[tuple[dict[str, np.ndarray], np.ndarray]]:  # type: ignore[type-arg]
    """Columns of each type, narrow or wide, anywhere in what the type holds."""
    found = []
    for count in draw(st.lists(st.integers(0, 6), max_size=4)):
        columns = {}
        for kind in KINDS:
            low, high = np.iinfo(kind).min, np.iinfo(kind).max
            begin = draw(st.sampled_from([low, 0, high]) | st.integers(low, high))
            end = min(high, begin + draw(st.sampled_from([0, 1, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**64])))
            values = draw(
                st.lists(st.sampled_from([begin, end]) | st.integers(begin, end), min_size=count, max_size=count)
            )
            columns[np.dtype(kind).name] = np.array(values, kind)
        shards = draw(st.lists(st.sampled_from([0, 1, 2, NO_SHARD]), min_size=count, max_size=count))
        found.append((columns, np.array(shards, np.uint8)))
    return found


@given(stretches=_stretches())
def test_what_is_read_is_what_was_appended(stretches: object) -> None:
    """Of two spools in one file, which take turns."""
    assert isinstance(stretches, list)
    fields = {np.dtype(kind).name: np.dtype(kind) for kind in KINDS}
    with tempfile.TemporaryFile() as file:
        spools = [Spool(file, 3, {"t": fields}) for _ in range(2)]
        for columns, shards in stretches:
            for spool in spools:
                spool.append("t", columns, shards)
                spool.read("t", 1)
        for shard in range(3):
            for table in (spool.read("t", shard) for spool in spools):
                for name, dtype in fields.items():
                    expected = [
                        value for columns, shards in stretches for value in columns[name][shards == shard].tolist()
                    ]
                    assert (table[name].tolist(), table[name].dtype) == (expected, dtype)


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([7, 7, 7], 0),
        ([7, 262, 7], 3),
        ([7, 263, 7], 6),
        ([-1, 65_534, 0], 6),
        ([-1, 65_535, 0], 12),
        ([5, 4 + 2**32, 5], 12),
        ([5, 5 + 2**32, 5], 24),
    ],
)
def test_a_column_takes_as_few_bytes_as_hold_it(file: BufferedRandom, values: list[int], written: int) -> None:
    spool = Spool(file, 1, {"t": {"a": np.dtype(np.int64)}})
    spool.append("t", {"a": np.array(values)}, np.zeros(3, np.uint8))
    assert file.seek(0, SEEK_END) == written
    assert spool.read("t", 0)["a"].tolist() == values


def test_a_narrow_type_is_not_widened(file: BufferedRandom) -> None:
    spool = Spool(file, 1, {"t": {"a": np.dtype(np.int8)}})
    spool.append("t", {"a": np.array([-128, 127], np.int8)}, np.zeros(2, np.uint8))
    assert file.seek(0, SEEK_END) == 2


def test_rows_that_stand_by_shard_already(file: BufferedRandom) -> None:
    spool = Spool(file, 3, {"t": {"a": np.dtype(np.int32)}})
    spool.append_sorted("t", {"a": np.array([5, 6, 7])}, np.array([1, 1, 3]))
    spool.append_sorted("t", {"a": np.array([8])}, np.array([0, 1, 1]))
    spool.append_sorted("t", {"a": np.array([], np.int64)}, np.array([0, 0, 0]))
    assert [spool.read("t", shard)["a"].tolist() for shard in range(3)] == [[5], [8], [6, 7]]
    assert spool.read("t", 0)["a"].dtype == np.int32


@pytest.mark.parametrize("values", [[1, 2], [1, 2**40]])
def test_a_file_that_lost_its_end_is_an_error(file: BufferedRandom, values: list[int]) -> None:
    spool = Spool(file, 1, {"t": {"a": np.dtype(np.int64)}})
    spool.append("t", {"a": np.array(values)}, np.zeros(2, np.uint8))
    assert spool.read("t", 0)["a"].tolist() == values
    file.truncate(file.seek(0, SEEK_END) - 1)
    with pytest.raises(OSError, match=r"^the file of a history's shards ends before its rows do$"):
        spool.read("t", 0)
