"""One channel of a history, put in order: against the plain way, and at its edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import NEVER, ChannelIndex, Whole
from brokerbench.scenarios.history import Action, History
from brokerbench.scenarios.history.stamp import CORRUPT, FOREIGN
from tests.scenarios.checkers.histories import CHANNEL, got, indexed, producer, reader, sends, settle, table, typed

ORDER = ("received_ns", "reader", "batch", "slot")


def in_order(rows: list[dict[str, int]]) -> list[tuple[int, ...]]:
    index = indexed([], [], rows)
    columns = [index.delivered.column(name).tolist() for name in ORDER]
    return list(zip(*columns, strict=True))


_delivery = st.fixed_dictionaries(
    {
        "received_ns": st.integers(0, 3),
        "reader": st.integers(0, 2),
        "batch": st.integers(0, 3),
        "slot": st.integers(0, 3),
    }
)


@settings(max_examples=80, deadline=None)
@given(st.lists(_delivery, max_size=14, unique_by=lambda row: tuple(row[name] for name in ORDER)), st.booleans())
def test_deliveries_stand_in_order_whatever_the_order_of_rows(rows: list[dict[str, int]], by_batch: bool) -> None:
    expected = sorted(tuple(row[name] for name in ORDER) for row in rows)
    if by_batch:
        rows.sort(key=lambda row: (row["batch"], -row["received_ns"], row["reader"], row["slot"]))
    assert in_order(rows) == expected


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(1, 0, 0, 0)],
        [(1, 0, 0, 0), (1, 0, 0, 1), (2, 0, 1, 0), (2, 1, 0, 0), (3, 0, 2, 0), (3, 0, 2, 1)],  # in order already
        [
            (2, 0, 1, 0),
            (2, 0, 1, 1),
            (2, 0, 1, 2),
            (1, 0, 0, 0),
            (3, 0, 2, 0),
            (3, 0, 2, 1),
            (0, 1, 0, 0),
            (0, 1, 0, 1),
        ],
        [(1, 0, 0, 1), (1, 0, 0, 0)],  # slots the wrong way round
        [(1, 0, 0, 0), (1, 1, 0, 0), (1, 0, 0, 1)],  # a batch that another one parts
        [(1, 0, 0, 0), (2, 0, 0, 1), (1, 0, 0, 2)],
    ],
)
def test_whole_batches_are_sorted_as_their_rows_would_be(rows: list[tuple[int, ...]]) -> None:
    named = [dict(zip(ORDER, row, strict=True)) for row in rows]
    assert in_order(named) == sorted(rows)


def test_only_this_channel_s_readers_producers_and_marks() -> None:
    (sent, settled), (other_sent, other_settled) = sends([5, 6]), sends([7], producer=1)
    rows = [got(0, 10), got(1, 11, reader=9), got(0, 12, producer=1)]
    history = History(
        table("sends", [*other_sent, *sent]),
        table("send_outcomes", [*other_settled, *settled]),
        table("deliveries", rows),
        table("acknowledgements", []),
        [producer(0), producer(1, "other"), reader(0), reader(9, "other"), reader(3, group="h")],
    )
    index = channel_index.of_channel(history, CHANNEL)
    assert index.channel == CHANNEL
    assert index.sent.key.tolist() == [5, 6]
    assert index.delivered.message.tolist() == [0, -1]
    assert index.consumers() == [0, 3]
    assert index.consumers(group="h") == [3]
    other = channel_index.of_channel(history, "other")
    assert other.sent.key.tolist() == [7]
    assert other.delivered.message.tolist() == [-1]
    assert channel_index.of_channel(history, "nowhere").last_sent_ns == 0
    assert channel_index.channels(history) == [CHANNEL, "other"]
    again = History({}, {}, {}, {}, [producer(1, "b", role="x"), producer(0, "a"), producer(2, "b", role="x")])
    assert channel_index.channels(again) == ["b", "a"]
    assert channel_index.channels(again, role="x") == ["b"]


def test_sends_in_full() -> None:
    sent, settled = sends([5, 6, 7], s1=Outcome.REJECTED)
    sent[0].update(size=1, checksum=2**64 - 1)
    sent[2].update(size=3, checksum=8)
    settled[0].update(partition=4, place=2**60)
    index = indexed(list(reversed(sent)), [settled[1], settled[0]])
    assert index.sent.producer.tolist() == [0, 0, 0]
    assert index.sent.seq.tolist() == [0, 1, 2]
    assert index.sent.key.tolist() == [5, 6, 7]
    assert index.sent.size.tolist() == [1, 64, 3]
    assert index.sent.checksum.tolist() == [2**64 - 1, 1001, 8]
    assert index.sent.outcome.tolist() == [Outcome.ACKNOWLEDGED, Outcome.REJECTED, Outcome.UNKNOWN]
    assert index.sent.partition.tolist() == [4, 0, -1]
    assert index.sent.place.tolist() == [2**60, 1, -1]
    assert index.last_sent_ns == 2
    assert len(index.sent) == 3
    assert index.sent.by([0]).tolist() == [True] * 3
    assert index.sent.by([1]).tolist() == [False] * 3
    assert index.sent.describe(2) == {"producer": 0, "seq": 2, "key": 7}


def test_a_settlement_of_what_was_never_sent_changes_nothing() -> None:
    sent, settled = sends([5, 6])
    strays = [{"producer": 0, "seq": 9, "place": 90, "outcome": 2}, {"producer": 8, "seq": 0, "place": 91}]
    index = indexed(sent, [strays[0], *settled, strays[1]])
    assert index.sent.place.tolist() == [0, 1]
    assert index.sent.outcome.tolist() == [Outcome.ACKNOWLEDGED] * 2


def test_deliveries_in_full() -> None:
    rows = [got(1, 10, reader=2, batch=3, slot=4, partition=5, place=6), got(0, 11), got(9, 12, place=50), got(1, 13)]
    index = typed([1, 1, 1], rows)
    delivered = index.delivered
    assert delivered.message.tolist() == [1, 0, -1, 1]
    assert delivered.first.tolist() == [1, 0, -1]
    assert delivered.known().message.tolist() == [1, 0, 1]
    assert delivered.known().first.tolist() == [1, 0, -1]
    assert delivered.known() is delivered.known()
    assert delivered.first is delivered.first
    assert len(delivered.to([2])) == 1
    assert delivered.to([2]).known().message.tolist() == [1]
    assert len(delivered.to([1])) == 0
    assert delivered.describe(0) == {
        "reader": 2, "batch": 3, "slot": 4, "partition": 5, "place": 6, "received_ns": 10,
    }  # fmt: skip


def attributed(index: ChannelIndex) -> list[int]:
    return index.delivered.message.tolist()


@pytest.mark.parametrize("status", [CORRUPT, FOREIGN])
def test_damage_is_attributed_by_its_place_alone(status: int) -> None:
    """Its stamp says message 0; the place says otherwise, or nothing."""
    damaged = got(0, 11, place=1, status=status)
    assert attributed(typed([1, 1], [got(0, 10), damaged])) == [0, 1]
    assert attributed(typed([1, 1], [got(0, 10), {**damaged, "place": -1}])) == [0, -1]
    assert attributed(typed([1, 1], [got(0, 10), {**damaged, "place": 7}])) == [0, -1]
    assert attributed(typed([1, 1], [got(0, 10), {**damaged, "partition": 3}])) == [0, -1]


def test_damage_is_attributed_by_what_was_delivered_intact_from_there() -> None:
    """The sender was not told places: the last intact delivery from a place names its message, not one elsewhere."""
    sent, settled = sends([1, 1, 1])
    for row in settled:
        row.update(place=-1)
    damaged = got(-1, 50, place=7, status=CORRUPT)
    intact = [got(0, 10, place=7), got(1, 11, place=7), got(2, 12, place=7, partition=3), got(2, 13, place=8)]
    assert attributed(indexed(sent, settled, [*intact, damaged])) == [0, 1, 2, 2, 1]
    assert attributed(indexed(sent, settled, [intact[0], damaged])) == [0, 0]
    assert attributed(indexed(sent, settled, [got(9, 9, place=7), damaged])) == [-1, -1]
    no_place = [got(0, 10, place=-1), got(-1, 50, place=-1, status=CORRUPT)]
    assert attributed(indexed(sent, settled, no_place)) == [0, -1]
    # What the sender was told weighs more.
    settled[2].update(place=7)
    assert attributed(indexed(sent, settled, [intact[0], damaged])) == [0, 2]
    settled[1].update(place=7)
    assert attributed(indexed(sent, settled, [intact[0], damaged])) == [0, 1]


def test_settlements_by_action_and_answer() -> None:
    rows = [got(0, 10), got(1, 11), got(2, 12), got(3, 13)]
    settles = [
        settle(rows[0], Action.ACKNOWLEDGE, 20),
        settle(rows[1], Action.RELEASE, 21),
        settle(rows[2], Action.ACKNOWLEDGE, 22, outcome=int(Outcome.UNKNOWN)),
        settle(got(3, 99), Action.ACKNOWLEDGE, 23),
    ]
    index = typed([1] * 4, rows, settles)
    acknowledged = index.delivered.settled(Action.ACKNOWLEDGE)
    assert acknowledged.asked_ns.tolist() == [20, NEVER, 22, NEVER]
    assert acknowledged.settled_ns.tolist() == [21, NEVER, NEVER, NEVER]
    released = index.delivered.only(np.array([1, 0])).settled(Action.RELEASE)
    assert released.asked_ns.tolist() == [21, NEVER]
    assert released.settled_ns.tolist() == [22, NEVER]
    alike = typed([1] * 2, rows[:2], [settle(row, Action.REJECT, 2**60 + 1) for row in rows[:2]])
    assert alike.delivered.settled(Action.REJECT).asked_ns.tolist() == [2**60 + 1] * 2
    assert alike.delivered.settled(Action.REJECT).settled_ns.tolist() == [2**60 + 2] * 2
    assert alike.delivered.settled(Action.EXTEND).asked_ns.tolist() == [NEVER] * 2


def test_what_a_reader_did() -> None:
    rows = [got(0, 30), got(1, 10), got(2, 12, reader=1), got(3, 10, slot=1, batch=10)]
    index = typed([1] * 4, rows, [settle(rows[0], Action.ACKNOWLEDGE, 40), settle(rows[2], Action.RELEASE, 13)])
    assert index.events_ns(0).tolist() == [10, 30, 41]
    assert index.events_ns(1).tolist() == [12, 14]
    assert index.events_ns(2).tolist() == []


def test_a_shard_asks_the_whole() -> None:
    sent, _ = sends([1, 1, 1])
    history = History(
        table("sends", sent[1:]),
        table("send_outcomes", []),
        table("deliveries", [got(2, 10), got(0, 11)]),
        table("acknowledgements", []),
        [producer(0), producer(1), reader(0)],
    )
    index = channel_index.of_channel(history, CHANNEL, Whole({0: 70, 5: 99}, {0: np.array([3, 4])}))
    assert index.last_sent_ns == 70
    assert index.delivered.message.tolist() == [1, -1]
    assert index.sent.seq.tolist() == [1, 2]
    assert index.events_ns(0).tolist() == [3, 4]
    assert index.events_ns(1).tolist() == []
    assert channel_index.of_channel(history, CHANNEL, Whole({}, {})).last_sent_ns == 0
    assert channel_index.of_channel(history, "nowhere", Whole({0: 70}, {})).last_sent_ns == 0
    with pytest.raises(ValueError, match="without gaps"):
        channel_index.of_channel(history, CHANNEL)


@pytest.mark.parametrize(("at_ns", "proven"), [(1, False), (2, False), (3, True)])
def test_a_drain_counts_after_the_last_send(at_ns: int, proven: bool) -> None:
    mark = {"event": "drained", "channel": CHANNEL, "group": "g", "at_ns": at_ns}
    index = typed([1, 1, 1], [], marks=[mark])
    assert index.drained() is proven
    assert index.drained(group="g") is proven
    assert not index.drained(group="h")
    assert not typed([1, 1, 1], [], marks=[{**mark, "channel": "other"}]).drained()


def test_what_came_from_another_channel() -> None:
    """In order of delivery; damaged stamps are of no message, nor is what this channel never sent."""
    index = typed([5, 6], [got(0, 10)], marks=[reader(8, "dead"), reader(9, "dead")])
    rows = [
        got(0, 10),
        got(1, 30, reader=9),
        got(0, 20, reader=8),
        got(0, 25, reader=8, status=CORRUPT),
        got(7, 26, reader=9),
        got(0, 27, reader=9, producer=4),
    ]
    history = index.history
    whole = History(
        history.sends, history.send_outcomes, table("deliveries", rows), history.acknowledgements, history.marks
    )
    for shard in (None, Whole({}, {})):
        found = channel_index.elsewhere(channel_index.of_channel(whole, CHANNEL, shard), "dead")
        assert found.message.tolist() == [0, -1, -1, -1, 1]
        assert found.column("received_ns").tolist() == [20, 25, 26, 27, 30]
    assert len(channel_index.elsewhere(channel_index.of_channel(whole, CHANNEL), "nowhere")) == 0
    gaps = {name: column[1:] for name, column in history.sends.items()}
    part = History(gaps, history.send_outcomes, table("deliveries", rows), history.acknowledgements, history.marks)
    found = channel_index.elsewhere(channel_index.of_channel(part, CHANNEL, Whole({}, {})), "dead")
    assert found.message.tolist() == [-1, -1, -1, -1, 0]
