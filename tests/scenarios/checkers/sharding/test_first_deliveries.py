"""First deliveries in order of sending, shard by shard, against sorted tuples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerbench.scenarios.checkers import order
from brokerbench.scenarios.checkers.index.first_deliveries import FIELDS, FirstDeliveries, joined
from brokerbench.scenarios.checkers.sharding import first_deliveries
from brokerbench.scenarios.checkers.sharding.shards import split
from brokerbench.scenarios.history import Writer
from tests.scenarios.checkers.histories import CHANNEL, table, typed

WHEN = ("received_ns", "reader", "batch", "slot")
_small = st.tuples(*[st.integers(0, 2)] * 4)


def _of(rows: list[tuple[int, ...]], names: tuple[str, ...] = WHEN) -> FirstDeliveries:
    """What the rows do not say counts from 100 on."""
    columns = {name: np.arange(len(rows)) + 100 for name in FIELDS}
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        columns[name] = np.array(values)
    return FirstDeliveries({name: columns[name].astype(dtype) for name, dtype in FIELDS.items()})


@given(st.lists(_small, min_size=1, max_size=9, unique=True), st.integers(0, 4))
def test_which_came_sooner(rows: list[tuple[int, ...]], count: int) -> None:
    these = _of(rows)
    one = np.repeat(np.arange(len(rows)), len(rows))
    other = np.tile(np.arange(len(rows)), len(rows))
    expected = [rows[first] < rows[second] for first, second in zip(one.tolist(), other.tolist(), strict=True)]
    assert these.sooner(one, other).tolist() == expected
    some = np.arange(len(rows))[::-1][: len(rows) - 1]
    first = some[these.first_delivered(some, count)].tolist()
    assert first == sorted(some.tolist(), key=lambda at: rows[at])[:count]


def test_a_message_and_its_delivery_in_words() -> None:
    assert _of([(7, 1, 2, 3)]).describe(0) == {
        "producer": 100,
        "seq": 100,
        "key": 100,
        "received_ns": 7,
        "reader": 1,
        "batch": 2,
        "slot": 3,
        "partition": 100,
        "place": 100,
    }


@pytest.mark.parametrize("per_shard", [1, 3, 100])
def test_stretches_of_all_shards(tmp_path: Path, per_shard: int) -> None:
    counts = {0: 4, 2: 7}
    with Writer(tmp_path, "w", run=1) as writer:
        sent = [{"producer": number, "seq": seq} for number, count in counts.items() for seq in range(count)]
        writer.rows("sends", table("sends", sent))
    messages = [(0, 0), (0, 3), (2, 0), (2, 1), (2, 2), (2, 4), (2, 6)]
    with split(tmp_path, per_shard) as shards:
        kept = [
            first_deliveries.keep(_of(part, ("producer", "seq")), shards)
            for part in (messages[::3], messages[1::3], messages[2::3])
        ]
        nothing = first_deliveries.keep(_of([(0, 0)], ("producer", "seq")).only(np.arange(0)), shards)
        found = list(first_deliveries.stretches([*kept, nothing], shards))
        assert len(found) == shards.count
        assert all(len(part) <= -(-11 // shards.count) for part in found)
    whole = joined(found)
    assert list(zip(whole["producer"].tolist(), whole["seq"].tolist(), strict=True)) == messages
    assert whole["place"].tolist() == [100, 100, 100, 101, 101, 101, 102]
    assert {name: whole[name].dtype for name in FIELDS} == dict(FIELDS)


@pytest.mark.parametrize(("within", "last"), [(None, [2, 4]), ("partition", [1, 2, 3, 4]), ("key", [0, 2, 3, 4])])
def test_the_last_of_each_line(within: str | None, last: list[int]) -> None:
    rows = [(0, 0, 5, 1), (0, 1, 6, 0), (0, 2, 6, 1), (1, 0, 5, 1), (1, 1, 6, 0)]
    these = _of(rows, ("producer", "seq", "key", "partition"))
    lines = order.groups_within(these, within)
    found, tail = order.along("p", these, lines, several=False), order.last(these, lines)
    assert tail["place"].tolist() == [100 + at for at in last]
    assert found.observations == len(rows) - len(last)


def test_only_these_producers_and_what_was_acknowledged() -> None:
    part = typed([1, 2], [])
    chosen, these = order.firsts(part, part.delivered, [0])
    assert not chosen.any() and len(these) == 0
    assert order.several_readers(part)
    assert part.channel == CHANNEL
