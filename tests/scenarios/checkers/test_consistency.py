"""What a broker tells of one message agrees with itself, or is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers import arrivals, consistency, layout
from brokerbench.scenarios.checkers.consistency import APART_NS, CLIENT_APART_NS
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.history import Action, strongest
from brokerbench.scenarios.history.broker_keys import FOREIGN_KEY, NO_KEY, UNTOLD_KEY, KeyNumbers, encode_key
from brokerbench.scenarios.history.stamp import CORRUPT
from tests.scenarios.checkers.histories import CHANNEL, got, indexed, place_of, sends, settle, typed

ACK = Action.ACKNOWLEDGE
EPOCH_NS = 10**18
S = 10**9
APPEND = "broker append time"


def promised(lease_s: float | None = None, clock: str | None = None, **other: Any) -> list[dict[str, Any]]:
    told = {"lease_s": lease_s, "buffers_ahead": False, "broker_clock": clock, "broker_clock_resolution_ns": 1000}
    related = {"event": "related", "at_ns": 0, "at_epoch_ns": EPOCH_NS}
    return [{"event": "channel", "channel": CHANNEL, **told, **other}, related]


def test_numbers_of_keys() -> None:
    numbers = KeyNumbers()
    names = [encode_key(7), None, b"key-07", b"key-", b"other", b"key-9223372036854775808", b"key-7", encode_key(0)]
    assert numbers.of(names) == [7, NO_KEY, *[FOREIGN_KEY] * 4, 7, 0]
    assert numbers == {None: NO_KEY, b"key-7": 7, b"key-0": 0}, "foreign names are not kept"


def test_a_key_other_than_that_of_the_send() -> None:
    deliveries = [
        got(0, 10, broker_key=5),
        got(1, 11, broker_key=FOREIGN_KEY),
        got(2, 12, broker_key=NO_KEY),
        got(3, 13, broker_key=NO_KEY),
        got(4, 14, broker_key=UNTOLD_KEY),
        got(4, 15, broker_key=6, status=CORRUPT),
    ]
    index = typed([5, 6, 7, -1, 9], deliveries)
    found = consistency.same_key(index, index.delivered)
    assert (found.observations, found.violations, found.unknown) == (4, 2, 0)
    wrong = [
        {"producer": 0, "seq": seq, "key": key, **place_of(deliveries[seq]), "broker_key": told}
        for seq, key, told in ((1, 6, FOREIGN_KEY), (2, 7, NO_KEY))
    ]
    assert list(found.offenders) == wrong
    untold = typed([5], [got(0, 10)])
    silent = consistency.or_not_told(consistency.same_key(untold, untold.delivered))
    assert silent.not_testable.startswith("no key of a delivery")


def test_a_place_is_that_told_to_the_sender_or_that_of_the_first_delivery() -> None:
    sent, settled = sends([1, 1, 1])
    settled[2]["place"] = -1
    deliveries = [
        got(0, 10),
        got(1, 11, partition=1),
        got(2, 12, place=40),
        got(2, 13, place=40, reader=1),
        got(2, 14, place=41),
        got(0, 15, place=-1),
    ]
    index = indexed(sent, settled, deliveries)
    found = consistency.same_place(index, index.delivered)
    assert (found.observations, found.violations) == (4, 2)
    told = [(offender["seq"], offender["told_partition"], offender["told_place"]) for offender in found.offenders]
    assert told == [(1, 0, 1), (2, 0, 40)]


@pytest.mark.parametrize(
    ("clock", "off_ns", "wrong"),
    [
        (APPEND, APART_NS, 0),
        (APPEND, APART_NS + 2000, 1),
        (APPEND, -APART_NS - 2000, 1),
        ("client create time", CLIENT_APART_NS + 2000, 1),
        ("client create time", -CLIENT_APART_NS, 0),
        (None, 3600 * S, 0),
    ],
)
def test_a_time_of_the_broker_outside_of_sending_and_arrival(clock: str | None, off_ns: int, wrong: int) -> None:
    row = got(0, S, broker_epoch_ns=EPOCH_NS + (S if off_ns > 0 else 0) + off_ns)
    index = typed([1], [row, got(0, S + 1)], marks=promised(clock=clock))
    found = consistency.broker_time(index, index.delivered)
    assert (found.observations, found.violations) == (int(clock is not None), wrong)
    bare = typed([1], [row], marks=promised(clock=clock)[:1])
    assert consistency.or_not_told(consistency.broker_time(bare, bare.delivered)).not_testable


def test_each_send_is_settled_once() -> None:
    sent, settled = sends([1, 2, 3, 4])
    again = [{**settled[1], "outcome": int(Outcome.UNKNOWN)}, {**settled[2]}, {**settled[2]}]
    index = indexed(sent, [*settled[:3], *again])
    found = consistency.settled_once(index)
    assert (found.observations, found.violations) == (3, 2)
    assert list(found.offenders) == [
        {"kind": "contradicted", "producer": 0, "seq": 1, "key": 2, "settled": 2},
        {"kind": "repeated", "producer": 0, "seq": 2, "key": 3, "settled": 3},
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_the_stronger_promise_holds(order: int) -> None:
    """Acknowledged, and told something else beside: its loss is a loss. Rejected: its delivery is wrong."""
    sent, settled = sends([1, 2])
    rejected = {**settled[1], "outcome": int(Outcome.REJECTED), "place": -1}
    unknown = [{**row, "outcome": int(Outcome.UNKNOWN), "place": -1} for row in settled]
    outcomes = [settled[0], {**settled[0], "outcome": int(Outcome.REJECTED)}, rejected, *unknown][::order]
    marks = [{"event": "drained", "channel": CHANNEL, "at_ns": 50}]
    index = indexed(sent, outcomes, [got(1, 10)], marks=marks)
    assert index.sent.outcome.tolist() == [Outcome.ACKNOWLEDGED, Outcome.REJECTED]
    assert index.sent.place.tolist() == [0, -1]
    assert index.history.outcomes().tolist() == index.sent.outcome.tolist()
    assert arrivals.lost(index, index.delivered, drained=True).violations == 1
    assert arrivals.phantoms(index, index.delivered).violations == 1


def test_rows_of_the_strongest_outcomes() -> None:
    ids, outcomes = np.array([3, 1, 3, 1, 0]), np.array([0, 1, 2, 1, 0])
    assert strongest(ids, outcomes).tolist() == [1, 2, 4]  # type: ignore[union-attr]
    assert strongest(ids[:2], outcomes[:2]) == slice(None)
    assert strongest(ids[:0], outcomes[:0]) == slice(None)


def test_two_messages_of_one_place_and_a_key_on_two_partitions() -> None:
    sent, settled = sends([5, 5, 5, 6, 6])
    settled[1]["place"] = 0
    settled[2]["partition"] = 1
    settled[4]["partition"], settled[4]["place"] = 2, -1
    index = indexed(sent, settled, [got(4, 10, partition=2, place=7)])
    own, pairs, _ = layout.judged(index)
    assert (own.observations, own.violations) == (5, 1)
    assert own.offenders == ({"producer": 0, "seq": 1, "partition": 0, "place": 0},)
    assert (pairs.observations, pairs.violations) == (5, 2)
    assert list(pairs.offenders) == [
        {"producer": 0, "seq": 2, "key": 5, "partition": 1, "messages": 1, "others_on": 0},
        {"producer": 0, "seq": 4, "key": 6, "partition": 2, "messages": 1, "others_on": 0},
    ]


def test_the_first_offenders_are_named_whatever_the_order_of_partitions() -> None:
    """Stretches of one partition ascend; those of several may come in any order."""
    rows = {name: np.repeat(np.arange(60), 2) for name in layout.LOCATED}
    rows["partition"], rows["producer"] = rows["place"] % 3, np.tile([0, 1], 60)
    located = layout.in_order(rows)
    parts = [{name: column[located["partition"] == number] for name, column in located.items()} for number in (2, 0, 1)]
    whole = layout.along([located], None)
    assert layout.along(parts, None) == whole
    assert [offender["place"] for offender in whole[0].offenders] == [*range(0, 30, 3)]


def test_repeats_of_one_identity_may_share_a_place() -> None:
    sent, settled = sends([5, 5])
    settled[1]["place"] = 0
    given = {"event": "identities", "producer": 0, "first_seq": 0, "identities": [4, 4]}
    assert layout.judged(indexed(sent, settled, marks=[given]))[0].violations == 0
    assert layout.judged(indexed(sent, settled))[0].violations == 1


@pytest.mark.parametrize(
    ("times_us", "wrong"),
    [
        ([10, 11, 10, 12], []),  # by as much as the clock resolves
        ([10, 20, 5, 30, 40], [2]),  # went back
        ([10, 20, 90, 30, 40], [2]),  # was ahead
        ([20, 5, 30], [1]),
        ([10, 20, 30, 5, 4], [3]),
    ],
)
def test_times_that_go_back_along_a_partition(times_us: list[int], wrong: list[int]) -> None:
    rows = [got(seq, 10 + seq, broker_epoch_ns=EPOCH_NS + at * 1000) for seq, at in enumerate(times_us)]
    index = typed([1] * len(rows), rows, marks=promised(clock=APPEND))
    found = layout.judged(index)[2]
    assert [offender["seq"] for offender in found.offenders[:1]] == wrong
    assert found.observations == len(rows) - 1
    client = typed([1] * len(rows), rows, marks=promised(clock="client create time"))
    assert layout.judged(client)[2].observations == 0
    # Cut anywhere, the same is found.
    located = layout.in_order(layout.located_and_pairs(index)[0])
    for cut in range(1, len(rows)):
        parts = [{name: column[part] for name, column in located.items()} for part in (slice(cut), slice(cut, None))]
        assert layout.along(parts, 1000) == layout.along([located], 1000)


def held(again_ns: int, *, lease_s: float = 30.0, asked_ns: int = 9 * S, **other: Any) -> ChannelIndex:
    """Delivered at 10 s and, by default, acknowledged at 12 s; delivered to another consumer at ``again_ns``."""
    first = got(0, 10 * S, asked_ns=9 * S)
    second = got(0, again_ns, reader=1, asked_ns=asked_ns)
    settles = other.pop("settles", [settle(first, ACK, 12 * S)])
    marks = [*promised(**{"lease_s": lease_s, **other.pop("told", {})}), *other.pop("marks", [])]
    return typed([5], [first, second], settles, marks)


RELEASED = [settle(got(0, 10 * S), Action.RELEASE, 10 * S + 5)]


@pytest.mark.parametrize(
    ("index", "violations", "unknown"),
    [
        (held(13 * S), 1, 0),  # into a receive that waited since before the acknowledgement
        (held(11 * S), 1, 0),  # before the acknowledgement, while the lease runs
        (held(11 * S, settles=[]), 1, 0),  # never acknowledged: the lease runs until 39 s
        (held(38 * S, settles=[]), 1, 0),
        (held(40 * S, settles=[]), 0, 0),  # the lease has ended
        (held(39 * S - 1, settles=[]), 0, 0),  # too near to its end
        (held(13 * S, settles=RELEASED), 0, 0),
        (held(13 * S, lease_s=2.0), 0, 1),  # the lease may have ended before the acknowledgement
        (held(13 * S, lease_s=2.0, asked_ns=12 * S + 2), 1, 0),  # asked for after the acknowledgement
        (held(13 * S, told={"buffers_ahead": True}), 0, 1),
        (held(13 * S, asked_ns=-1), 0, 1),  # of before
        (held(13 * S, settles=[], marks=[{"event": "closing", "reader": 0, "at_ns": 11 * S}]), 0, 0),
        (held(13 * S, marks=[{"event": "closing", "reader": 0, "at_ns": 12 * S + 2}]), 1, 0),
        (held(13 * S, told={"lease_s": None}), 0, 1),
    ],
)
def test_a_second_delivery_of_a_message_that_is_held(index: ChannelIndex, violations: int, unknown: int) -> None:
    found = arrivals.delivered_again(index, index.delivered)
    assert (found.violations, found.unknown) == (violations, unknown)
    assert found.counts["legal_redeliveries"] == 1 - violations - unknown
    assert found.observations >= violations
