"""Whole findings of loss, phantoms, corruption, duplicates: every count, every field of the first offenders."""

from __future__ import annotations

from dataclasses import replace

import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.analysis import delivery
from brokerbench.scenarios.checkers import arrivals
from brokerbench.scenarios.history import Action, History
from brokerbench.scenarios.history.stamp import CORRUPT, FOREIGN
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import (
    CHANNEL,
    counted,
    got,
    indexed,
    place_of,
    producer,
    reader,
    sends,
    settle,
    table,
    typed,
)

ACK = Action.ACKNOWLEDGE


def test_loss_in_full() -> None:
    sent, settled = sends([7, 8, 9, 9, 9], s3=Outcome.REJECTED, s4=Outcome.UNKNOWN)
    settled[1].update(partition=3, place=40)
    settled[2].update(partition=4, place=50)
    index = indexed(sent, settled, [got(0, 10)])
    assert arrivals.lost(index, index.delivered, drained=True) == Finding(
        "delivery.no_loss",
        observations=3,
        violations=2,
        unknown=1,
        offenders=(
            {"producer": 0, "seq": 1, "key": 8, "partition": 3, "place": 40},
            {"producer": 0, "seq": 2, "key": 9, "partition": 4, "place": 50},
        ),
        remarks=("after a proven drain",),
    )


def test_nothing_delivered_and_nothing_sent() -> None:
    index = typed([1, 1], [])
    not_drained = "not drained: looked for only as far as was read"
    assert arrivals.lost(index, index.delivered, drained=True).violations == 2
    assert arrivals.lost(index, index.delivered, drained=False, in_order=True) == Finding(
        "delivery.no_loss", open=2, remarks=(not_drained,)
    )
    empty = typed([], [])
    assert arrivals.lost(empty, empty.delivered, drained=False) == Finding("delivery.no_loss", remarks=(not_drained,))
    assert arrivals.phantoms(empty, empty.delivered).observations == 0
    assert arrivals.altered(empty, empty.delivered) == Finding("delivery.intact")


def test_each_partition_is_searched_up_to_its_own_highest_place() -> None:
    sent, settled = sends([0] * 8)
    places = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, -1), (2, 0)]
    for row, (partition, place) in zip(settled, places, strict=True):
        row.update(partition=partition, place=place)
    deliveries = [
        got(0, 10, partition=0, place=0),
        got(2, 11, partition=0, place=2),
        got(4, 12, partition=1, place=0),
        got(4, 13, partition=2, place=-1),
    ]
    index = indexed(sent, settled, deliveries)
    assert arrivals.lost(index, index.delivered, drained=False, in_order=True) == Finding(
        "delivery.no_loss",
        observations=4,
        violations=1,
        open=4,  # two beyond what was read, one without a place, one in a partition of which no place was read
        offenders=({"producer": 0, "seq": 1, "key": 0, "partition": 0, "place": 1},),
        remarks=("not drained: looked for only as far as was read",),
    )
    assert arrivals.search(index, index.delivered, drained=False).observable == 3


def test_the_highest_place_that_was_read_is_searched_too() -> None:
    """What was read from the place of message 1 was another run's."""
    index = typed([1, 1], [got(0, 10), got(7, 11, place=1)])
    found = arrivals.search(index, index.delivered, drained=False, in_order=True)
    assert (found.observable, found.missing, found.unattributed) == (2, 1, 1)


@pytest.mark.parametrize(("unidentified", "claimed"), [(0, 3), (1, 2), (2, 1), (3, 0), (4, 0)])
def test_as_many_missing_as_were_unidentified_are_not_claimed(unidentified: int, claimed: int) -> None:
    deliveries = [got(-1, 10 + at, place=-1, status=FOREIGN) for at in range(unidentified)]
    index = typed([1, 1, 1], deliveries)
    doubtful = 3 - claimed
    finding = arrivals.lost(index, index.delivered, drained=True)
    assert (finding.observations, finding.violations, finding.open) == (claimed, claimed, doubtful)
    # Which of them are claimed cannot be told.
    assert [row["seq"] for row in finding.offenders] == ([] if unidentified else [0, 1, 2])
    doubt = f"; {doubtful} missing messages are not claimed: as many deliveries could not be identified"
    assert finding.note == "after a proven drain" + (doubt if doubtful else "")


def test_searches_add_up() -> None:
    offenders = [{"producer": 0, "seq": seq, "key": 0} for seq in range(3)]
    parts = [
        arrivals.Search(10, 2, 3, 5, 1, (offenders[0], offenders[2])),
        arrivals.Search(20, 1, 4, 6, 1, (offenders[1],)),
    ]
    assert arrivals.claimed(parts, drained=True) == Finding(
        "delivery.no_loss",
        observations=28,
        violations=1,
        unknown=7,
        open=13,
        remarks=("after a proven drain", counted(unclaimed_messages=2)),
    )
    without_doubt = [replace(part, unattributed=0) for part in parts]
    assert arrivals.claimed(without_doubt, drained=True) == Finding(
        "delivery.no_loss",
        observations=30,
        violations=3,
        unknown=7,
        open=11,
        offenders=tuple(offenders),
        remarks=("after a proven drain",),
    )


@pytest.mark.parametrize("count", [9, 10, 11])
def test_ten_offenders_are_named_and_all_are_counted(count: int) -> None:
    lost = typed([1] * count, [])
    finding = arrivals.lost(lost, lost.delivered, drained=True)
    assert (finding.violations, [row["seq"] for row in finding.offenders]) == (count, list(range(min(count, 10))))
    damaged = typed([1] * count, [got(seq, 10 + seq, checksum=0) for seq in range(count)])
    rejected = typed(
        [1] * count,
        [got(seq, 10 + seq) for seq in range(count)],
        **{f"s{seq}": Outcome.REJECTED for seq in range(count)},
    )
    firsts = [got(seq, 10 + seq) for seq in range(count)]
    again = typed(
        [1] * count,
        [*firsts, *(got(seq, 100 + seq) for seq in range(count))],
        [settle(row, ACK, 50) for row in firsts],
    )
    for finding in (
        arrivals.altered(damaged, damaged.delivered),
        arrivals.phantoms(rejected, rejected.delivered),
        arrivals.delivered_again(again, again.delivered),
    ):
        assert (finding.violations, [row["seq"] for row in finding.offenders]) == (count, list(range(min(count, 10))))


def test_phantoms_in_full() -> None:
    deliveries = [
        got(0, 10),
        got(9, 11, reader=1, batch=5, slot=2, partition=3, place=77),
        got(1, 12, reader=2, batch=6, slot=1, partition=4, place=78),
        got(2, 13),
        got(8, 14, place=79, status=CORRUPT),
        got(-1, 15, place=-1, status=FOREIGN),
    ]
    index = typed([5, 6, 7], deliveries, s1=Outcome.REJECTED, s2=Outcome.UNKNOWN)
    assert arrivals.phantoms(index, index.delivered) == Finding(
        "delivery.no_phantom",
        observations=6,
        violations=3,
        offenders=(
            {"kind": "never sent", **place_of(deliveries[1])},
            {"kind": "rejected", "producer": 0, "seq": 1, "key": 6, **place_of(deliveries[2])},
            {"kind": "never sent", **place_of(deliveries[5])},
        ),
        remarks=(counted(never_sent=2, rejected=1),),
    )


def test_damage_in_full() -> None:
    deliveries = [
        got(0, 10),
        got(1, 11, reader=1, batch=5, slot=2, partition=3, place=77, checksum=5),
        got(2, 12, reader=2, batch=6, slot=1, partition=4, place=78, size=65),
        got(8, 13, place=79, status=CORRUPT, size=3),
        got(-1, 14, place=-1, status=FOREIGN),
        got(9, 15, place=80),
        got(0, 16, checksum=1000),
    ]
    index = typed([5, 6, 7], deliveries)
    assert arrivals.altered(index, index.delivered) == Finding(
        "delivery.intact",
        observations=5,
        violations=3,
        offenders=(
            {"producer": 0, "seq": 1, "key": 6, **place_of(deliveries[1]), "size": 64},
            {"producer": 0, "seq": 2, "key": 7, **place_of(deliveries[2]), "size": 65},
            {**place_of(deliveries[3]), "size": 3},
        ),
    )
    assert arrivals.altered(index, index.delivered, "dead_letter.intact").property == "dead_letter.intact"


def test_duplicates_in_full() -> None:
    firsts = [got(0, 10), got(1, 11), got(2, 12), got(3, 13)]
    again = [
        got(0, 30),
        got(1, 31, batch=4, slot=2, partition=3, place=70),
        got(2, 32, reader=3),
        got(3, 33),
        got(0, 34),
    ]
    settles = [settle(firsts[0], ACK, 20), settle(firsts[1], ACK, 21), settle(firsts[2], ACK, 22)]
    settles += [settle(again[0], ACK, 32)]
    index = typed([5, 6, 7, 8], [*firsts, *again], settles)
    assert arrivals.delivered_again(index, index.delivered) == Finding(
        "delivery.no_duplicate",
        observations=3,
        violations=3,
        unknown=1,
        offenders=(
            {"producer": 0, "seq": 0, "key": 5, **place_of(again[0]), "acknowledged_ns": 21},
            {"producer": 0, "seq": 1, "key": 6, **place_of(again[1]), "acknowledged_ns": 22},
            {"producer": 0, "seq": 0, "key": 5, **place_of(again[4]), "acknowledged_ns": 21},
        ),
        remarks=(counted(legal_redeliveries=1),),
    )


@pytest.mark.parametrize(
    ("before_ns", "received_ns", "expected"),
    [
        (None, 16, (0, 0)),  # received as the answer came: not after it
        (None, 17, (0, 1)),  # after it, but perhaps asked for before
        (15, 17, (0, 1)),  # the reader was last seen before the answer
        (16, 17, (1, 0)),  # it was last seen when the answer came: it asked later
    ],
)
def test_a_call_begins_after_what_its_reader_did_before(
    before_ns: int | None, received_ns: int, expected: tuple[int, int]
) -> None:
    """Message 0 is acknowledged at 16 by reader 0; reader 1 gets it again."""
    first = got(0, 10)
    other = [] if before_ns is None else [got(1, before_ns, reader=1)]
    index = typed([1, 1], [first, *other, got(0, received_ns, reader=1)], [settle(first, ACK, 15)])
    finding = arrivals.delivered_again(index, index.delivered)
    assert (finding.violations, finding.unknown) == expected


def test_an_answer_to_a_settlement_is_something_that_its_reader_did() -> None:
    first, other = got(0, 10), got(1, 11, reader=1)
    settles = [settle(first, ACK, 15), settle(other, ACK, 16)]
    index = typed([1, 1], [first, other, got(0, 30, reader=1)], settles)
    assert arrivals.delivered_again(index, index.delivered).violations == 1


def test_times_are_compared_to_the_nanosecond() -> None:
    """2**60 ns are 36 years: floating point would not tell these times apart."""
    base = 2**60
    first, other = got(0, base, batch=0), got(1, base + 1, reader=1, batch=1)
    late = got(0, base + 9, reader=1, batch=2)
    index = typed([1, 1], [first, other, late], [settle(first, ACK, base + 1)])
    assert arrivals.delivered_again(index, index.delivered).unknown == 1
    other["received_ns"] = base + 2
    index = typed([1, 1], [first, other, late], [settle(first, ACK, base + 1)])
    assert arrivals.delivered_again(index, index.delivered).violations == 1


def test_a_reader_that_did_nothing_yet_may_have_asked_at_any_time() -> None:
    first = got(0, 0)
    index = typed([1], [first, got(0, 2, reader=1)], [settle(first, ACK, 0)])
    finding = arrivals.delivered_again(index, index.delivered)
    assert (finding.violations, finding.unknown) == (0, 1)


def test_what_belongs_to_no_message_is_no_duplicate() -> None:
    first = got(0, 10)
    strays = [got(-1, at, place=-1, status=FOREIGN) for at in (20, 21)]
    index = typed([1], [first, *strays], [settle(first, ACK, 11)])
    finding = arrivals.delivered_again(index, index.delivered)
    assert (finding.violations, finding.unknown, finding.note[:1]) == (0, 0, "0")


def test_what_every_load_must_keep_over_all_channels() -> None:
    """Channel ``c`` was drained and lost one, channel ``d`` was not; each has one of everything else wrong."""
    (sent, settled), (other, other_settled) = sends([5, 6, 7]), sends([8, 9], producer=1)
    first, last = got(0, 10), got(0, 12, reader=1, producer=1)
    rows = [first, got(1, 11, size=3), last, got(0, 30), got(9, 31, reader=1), got(7, 32)]
    history = History(
        table("sends", [*sent, *other]),
        table("send_outcomes", [*settled, *other_settled]),
        table("deliveries", rows),
        table("acknowledgements", [settle(first, ACK, 20)]),
        [
            producer(0),
            producer(1, "d"),
            reader(0),
            reader(1, "d"),
            {"event": "drained", "channel": CHANNEL, "at_ns": 50},
        ],
    )
    assert delivery.findings(history)[: len(delivery.ARRIVALS)] == [
        Finding(
            "delivery.no_loss",
            observations=3,
            violations=0,
            open=2,
            remarks=(
                "after a proven drain",
                counted(unclaimed_messages=1),
                "not drained: looked for only as far as was read",
            ),
        ),
        Finding(
            "delivery.intact",
            observations=4,
            violations=1,
            offenders=({"producer": 0, "seq": 1, "key": 6, **place_of(rows[1]), "size": 3},),
        ),
        Finding(
            "delivery.no_duplicate",
            observations=1,
            violations=1,
            offenders=({"producer": 0, "seq": 0, "key": 5, **place_of(rows[3]), "acknowledged_ns": 21},),
            remarks=(counted(legal_redeliveries=0),),
        ),
        Finding(
            "delivery.no_phantom",
            observations=6,
            violations=2,
            offenders=(
                {"kind": "never sent", **place_of(rows[5])},
                {"kind": "never sent", **place_of(rows[4])},
            ),
            remarks=(counted(never_sent=1, rejected=0),),
        ),
    ]
    nothing = [Finding(name, not_testable="nothing was observed") for name in delivery.PROPERTIES]
    assert delivery.findings(History({}, {}, {}, {}, [])) == nothing
