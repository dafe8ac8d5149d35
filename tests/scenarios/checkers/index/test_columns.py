"""What shards are told of the whole: how far readers came, and who has which identity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from brokerbench.scenarios.checkers.index import channel_index, columns
from brokerbench.scenarios.checkers.index.columns import Reach, Whole
from brokerbench.scenarios.checkers.sharding.shards import split
from brokerbench.scenarios.history import History, Writer
from tests.scenarios.checkers.histories import CHANNEL, got, reader, table, typed

Looks = list[tuple[int, int]]


def _plain(looks: Looks) -> Looks:
    """After each time at which it came further, the highest place so far."""
    found: Looks = []
    for at_ns in sorted({at_ns for at_ns, _ in looks}):
        highest = max(place for when, place in looks if when <= at_ns)
        if not found or highest > found[-1][1]:
            found.append((at_ns, highest))
    return found


def _as_pairs(reach: Reach) -> Looks:
    return list(zip(reach.received_ns.tolist(), reach.highest.tolist(), strict=True))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 6)), min_size=1), st.integers(0, 9))
def test_how_far_a_reader_came(looks: Looks, cut_at: int) -> None:
    parts = [part for part in (looks[:cut_at], looks[cut_at:]) if part]
    of_parts = [Reach(*(np.array(column, np.int64) for column in zip(*part, strict=True))) for part in parts]
    assert _as_pairs(columns.reach(of_parts)) == _plain(looks)
    assert _as_pairs(columns.reach([columns.reach([part]) for part in of_parts])) == _plain(looks)


def test_reach_is_by_partition() -> None:
    rows = [got(0, 10, place=4), got(1, 11, place=3), got(2, 12, place=5), got(3, 13, place=1, partition=2)]
    found = typed([1] * 4, rows).reach(0)
    assert {number: _as_pairs(reach) for number, reach in found.items()} == {0: [(10, 4), (12, 5)], 2: [(13, 1)]}
    assert typed([1], rows).reach(1) == {}


def test_a_shard_is_told_its_reach() -> None:
    told = {0: {1: Reach(np.array([5]), np.array([6]))}}
    history = History(*(table(kind, []) for kind in ("sends", "send_outcomes")), table("deliveries", [got(0, 10)]),
                      table("acknowledgements", []), [reader(0)])  # fmt: skip
    part = channel_index.of_channel(history, CHANNEL, Whole({}, {}, told))
    assert part.reach(0) is told[0]
    assert part.reach(7) == {}


def test_identities_of_consecutive_sends() -> None:
    marks = [
        {"producer": 3, "first_seq": 5, "identities": [9, 8]},
        {"producer": 1, "first_seq": 0, "identities": []},
        {"producer": 0, "first_seq": 2, "identities": [7, 9, 6]},
    ]
    found = columns.identities(marks)
    assert found.producer.tolist() == [3, 3, 0, 0, 0]
    assert found.seq.tolist() == [5, 6, 2, 3, 4]
    assert found.identity.tolist() == [9, 8, 7, 9, 6]
    assert found.shared.tolist() == [True, False, False, True, False]
    none = columns.identities([])
    assert [len(column) for column in (none.producer, none.seq, none.identity, none.shared)] == [0] * 4
    assert Whole({}, {}).reach == {}
    assert len(Whole({}, {}).identities.seq) == 0


def test_the_cut_tells_what_it_saw(tmp_path: Path) -> None:
    with Writer(tmp_path, "w", run=1) as writer:
        writer.mark("producer", producer=0, channel=CHANNEL)
        for number in (0, 1, 2):
            writer.mark("reader", reader=number, kind="reader", channel=CHANNEL)
        writer.mark("attempt", channel=CHANNEL, reader=1)
        writer.mark("attempt", channel=CHANNEL, readers=[0, 2])
        writer.mark("identities", producer=0, first_seq=0, identities=[4, 4])
        writer.rows("sends", table("sends", [{"producer": 0, "seq": seq, "key": seq} for seq in range(3)]))
        rows = [got(0, 10, 0), got(1, 20, 1), got(2, 25, 1), got(0, 30, 1, partition=1, place=-1), got(1, 40, 2)]
        writer.rows("deliveries", table("deliveries", rows))
    with split(tmp_path, 1) as shards:
        told = shards.whole
        assert shards.bases.tolist() == [0, 3]
        assert [mark["event"] for mark in shards.marks] == ["format", "producer", *["reader"] * 3, *["attempt"] * 2]
        assert all(shard.marks == shards.marks for shard in shards)
    assert {at: {number: _as_pairs(reach) for number, reach in by.items()} for at, by in told.reach.items()} == {
        1: {0: [(20, 1), (25, 2)], 1: [(30, -1)]}
    }
    assert (told.identities.seq.tolist(), told.identities.shared.tolist()) == ([0, 1], [True, True])
