"""Whole findings of leases, counts, rejected and unsettled sends, and of order while a message waits."""

from __future__ import annotations

import numpy as np
import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers import arrivals, delivery_counts, leases, order_while_waiting
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import NEVER, Whole, of_channel
from brokerbench.scenarios.history import Action
from brokerbench.scenarios.history.stamp import FOREIGN
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import CHANNEL, got, indexed, place_of, sends, settle, typed

ACK, RELEASE = Action.ACKNOWLEDGE, Action.RELEASE


def of(seq: int, key: int) -> dict[str, object]:
    return {"producer": 0, "seq": seq, "key": key}


def test_early_lapsed_and_late_in_full() -> None:
    """A lease of 100 ns, reader 0's calls end at 1000, 1010, 1050, 1145, 5000; strays are no deliveries."""
    stray = got(-1, 900, place=-1, status=FOREIGN)
    begun = got(1, 1000)
    first = got(0, 1010, batch=3, slot=2, partition=4, place=5)
    early = got(0, 1050, batch=6, slot=1, partition=7, place=8)
    doubtful = got(0, 1145, batch=9)
    late = got(0, 5000, batch=10)
    index = typed([5, 6], [stray, begun, first, early, doubtful, late])
    before = {name: first[name] for name in ("reader", "batch", "slot", "partition", "place", "received_ns")}
    assert leases.not_early(index, index.delivered, 1e-7) == Finding(
        "redelivery.not_early",
        observations=4,
        violations=1,
        unknown=1,
        offenders=({**of(0, 5), **place_of(early), "before": before},),
        remarks=("lease 1e-07 s",),
    )
    assert leases.in_time(index, index.delivered, 1e-7) == Finding(
        "redelivery.none",
        observations=5,
        violations=2,
        offenders=(
            {**of(0, 5), **place_of(doubtful), "before": place_of(early)},
            {**of(0, 5), **place_of(late), "before": place_of(doubtful)},
        ),
        remarks=("came again because it was not acknowledged in time (legal)",),
    )
    assert leases.not_late(index, index.delivered, 1e-7, 2e-8, drained=True) == Finding(
        "redelivery.not_late",
        observations=5,
        violations=3,
        offenders=(
            {"kind": "never again", **of(1, 6), **place_of(begun)},
            {**of(0, 5), **place_of(late), "before": place_of(doubtful)},
            {"kind": "never again", **of(0, 5), **place_of(late)},
        ),
        remarks=("within 2e-08 s after a lease of 1e-07 s",),
    )
    undrained = leases.not_late(index, index.delivered, 1e-7, 2e-8, drained=False)
    assert (undrained.observations, undrained.violations, undrained.open) == (3, 1, 2)


@pytest.mark.parametrize("count", [9, 10, 11])
def test_ten_are_named(count: int) -> None:
    firsts = [got(seq, 1000 + seq, delivery_count=1) for seq in range(count)]
    again = [got(seq, 2000 + seq, delivery_count=1) for seq in range(count)]
    index = typed([1] * count, [*firsts, *again], **{f"s{seq}": Outcome.UNKNOWN for seq in range(count)})
    found = [
        leases.not_early(index, index.delivered, 1.0),
        leases.in_time(index, index.delivered, 0.0),
        delivery_counts.counted(index, index.delivered, all_seen=True),
        arrivals.unknown(index),
    ]
    answered = typed([1] * count, firsts, **{f"s{seq}": Outcome.REJECTED for seq in range(count)})
    found.append(arrivals.delivered_all_the_same(answered, answered.delivered))
    gone = typed([1] * count, firsts)
    found.append(leases.not_late(gone, gone.delivered, 0.0, 0.0, drained=True))
    for finding in found:
        assert (finding.violations, [row["seq"] for row in finding.offenders]) == (count, list(range(min(count, 10))))
    both = leases.not_late(index, index.delivered, 0.0, 0.0, drained=True)
    assert (both.violations, len(both.offenders)) == (2 * count, 10)


def test_what_was_decided_at_its_last_delivery_need_not_come_again() -> None:
    rows = [got(0, 10), got(1, 11), got(2, 12), got(2, 13)]
    settles = [settle(rows[0], RELEASE, 20), settle(rows[1], ACK, 20, outcome=int(Outcome.UNKNOWN))]
    index = typed([1, 1, 1], rows, [*settles, settle(rows[2], ACK, 20, outcome=int(Outcome.UNKNOWN))])
    finding = leases.not_late(index, index.delivered, 1.0, 0.0, drained=True)
    assert (finding.observations, finding.violations, finding.unknown) == (2, 1, 1)
    assert [row["seq"] for row in finding.offenders] == [2]


@pytest.mark.parametrize(("most", "expected"), [(None, (3, 2)), (2, (2, 1)), (3, (3, 2))])
def test_the_last_delivery_that_is_allowed_need_not_come_again(most: int | None, expected: tuple[int, int]) -> None:
    """Message 0 was delivered once, 1 twice, and at once again; 2 never."""
    index = typed([1, 1, 1], [got(0, 10), got(1, 20), got(1, 30)])
    finding = leases.not_late(index, index.delivered, 1e-8, 1e-8, drained=True, max_deliveries=most)
    assert (finding.observations, finding.violations) == expected


def test_a_lease_is_bounded_to_the_nanosecond_over_a_second() -> None:
    rows = [got(1, 1000), got(0, 1010), got(0, 1000 + 10**9, batch=2)]
    index = typed([1, 1], rows)
    assert leases.not_early(index, index.delivered, 1.0).violations == 0
    assert leases.in_time(index, index.delivered, 1.0).violations == 1
    assert leases.not_late(index, index.delivered, 0.5, 0.5 - 11e-9, drained=False).violations == 1
    assert leases.not_late(index, index.delivered, 0.5, 0.5 - 10e-9, drained=False).violations == 0


def test_counts_in_full() -> None:
    rows = [
        got(-1, 5, place=-1, status=FOREIGN, delivery_count=7),
        got(0, 10, delivery_count=1),
        got(0, 20, reader=1, batch=4, slot=3, partition=2, place=9, delivery_count=1),
        got(1, 30, delivery_count=1),
        got(2, 40),
        got(2, 41, delivery_count=2),
    ]
    index = typed([5, 6, 7, 8], rows)
    offender = {**of(0, 5), **place_of(rows[2]), "delivery_count": 1, "seen": 2}
    for all_seen in (True, False):
        assert delivery_counts.counted(index, index.delivered, all_seen=all_seen) == Finding(
            "delivery.count",
            observations=3,
            violations=1,
            unknown=2,
            offenders=(offender,),
            remarks=() if all_seen else ("some deliveries may not have been written down",),
        )
    empty = typed([1], [])
    assert delivery_counts.counted(empty, empty.delivered, all_seen=True) == Finding("delivery.count")


def test_a_single_delivery_carries_one() -> None:
    for number, wrong in ((-1, 1), (1, 0), (2, 1)):
        index = typed([1], [got(0, 10, delivery_count=number)])
        assert delivery_counts.counted(index, index.delivered, all_seen=True).violations == wrong
    for number, wrong in ((-1, 1), (1, 0), (2, 0)):
        index = typed([1], [got(0, 10, delivery_count=number)])
        assert delivery_counts.counted(index, index.delivered, all_seen=False).violations == wrong


def test_counts_of_several_messages_do_not_mix() -> None:
    numbers = {0: [1, 2], 1: [2, 1, 3], 2: [1, 2], 3: [2, 3]}
    rows = [
        got(seq, 10 * at + seq, delivery_count=number)
        for seq, told in numbers.items()
        for at, number in enumerate(told)
    ]
    index = typed([1] * 4, sorted(rows, key=lambda row: row["received_ns"]))
    finding = delivery_counts.counted(index, index.delivered, all_seen=True)
    assert (finding.observations, finding.violations) == (9, 2)
    assert [(row["seq"], row["delivery_count"], row["seen"]) for row in finding.offenders] == [(3, 2, 1), (3, 3, 2)]
    assert delivery_counts.counted(index, index.delivered, all_seen=False).violations == 0
    rows = [got(seq, 10 * at + seq, delivery_count=number) for seq in (0, 1) for at, number in enumerate([1, 1 + seq])]
    for second in (rows, [{**row, "seq": 1 - row["seq"]} for row in rows]):
        index = typed([1] * 2, second)
        finding = delivery_counts.counted(index, index.delivered, all_seen=False)
        assert [row["seq"] for row in finding.offenders] == [second[0]["seq"]]


def test_rejected_and_unsettled_in_full() -> None:
    rows = [got(0, 10), got(1, 11, reader=1, batch=4, slot=3, partition=2, place=9), got(2, 12), got(7, 13)]
    index = typed([5, 6, 7, 8], rows, s1=Outcome.REJECTED, s2=Outcome.UNKNOWN, s3=Outcome.UNKNOWN)
    assert arrivals.delivered_all_the_same(index, index.delivered) == Finding(
        "delivery.no_rejected",
        observations=2,
        violations=1,
        unknown=1,
        offenders=({**of(1, 6), **place_of(rows[1])},),
    )
    assert arrivals.unknown(index) == Finding(
        "send.settled", observations=4, violations=2, offenders=(of(2, 7), of(3, 8))
    )


def test_order_while_waiting_in_full() -> None:
    first, again = got(0, 10), got(0, 40, reader=2, batch=7, slot=1, partition=3, place=8)
    other, by = got(1, 20), got(2, 30, reader=1, batch=5, slot=2, partition=4, place=9)
    stray = got(-1, 25, place=-1, status=FOREIGN)
    rows = [first, other, stray, by, again, got(3, 50)]
    index = typed([5, 6, 5, 5], rows, s3=Outcome.UNKNOWN)
    assert order_while_waiting.in_order("p", index, index.delivered, [0]) == Finding(
        "p",
        observations=1,
        violations=1,
        unknown=1,
        offenders=({**of(0, 5), **place_of(again), "overtaken_by": {**of(2, 5), **place_of(by)}},),
    )
    assert order_while_waiting.in_order("p", index, index.delivered, [1]) == Finding("p")
    nothing = typed([], [])
    assert order_while_waiting.in_order("p", nothing, nothing.delivered, [0]) == Finding("p")


def test_what_was_acknowledged_waits_for_nothing() -> None:
    rows = [got(0, 10), got(1, 20), got(0, 30)]
    for asked_ns, expected in ((28, (0, 0)), (29, (1, 1)), (30, (1, 1))):
        index = typed([1, 1], rows, [settle(rows[0], ACK, asked_ns)])
        finding = order_while_waiting.in_order("p", index, index.delivered, [0])
        assert (finding.observations, finding.violations) == expected


@pytest.mark.parametrize("count", [9, 10, 11])
def test_ten_that_were_overtaken_are_named(count: int) -> None:
    firsts = [got(2 * key, 10 + key) for key in range(count)]
    others = [got(2 * key + 1, 100 + key) for key in range(count)]
    again = [got(2 * key, 200 + key) for key in range(count)]
    index = typed([key for key in range(count) for _ in range(2)], [*firsts, *others, *again])
    finding = order_while_waiting.in_order("p", index, index.delivered, [0])
    assert (finding.observations, finding.violations) == (count, count)
    assert [row["seq"] for row in finding.offenders] == [2 * key for key in range(min(count, 10))]


def test_lines_of_large_numbers_do_not_blur() -> None:
    """Floating point would not tell the last digits of these lines apart."""
    number = 2**22
    sent, settled = sends([0, 2**31, 0], producer=number)
    rows = [got(seq, 10 + at, producer=number) for at, seq in enumerate((0, 1, 2, 0))]
    index = indexed(sent, settled, rows, producers=[number])
    finding = order_while_waiting.in_order("p", index, index.delivered, [number])
    assert (finding.observations, finding.violations) == (1, 1)


@pytest.mark.parametrize("seed", range(12))
def test_overtaking_against_the_plain_way(seed: int) -> None:
    """Random batches to three readers: later ones of the key, between a batch's end and a return of one of its own."""
    rng = np.random.default_rng(seed)
    keys = rng.integers(-3, 3, 12).tolist()
    rows = []
    for batch in range(20):
        reader = int(rng.integers(3))
        rows += [
            got(int(seq), 10 * batch, reader=reader, batch=batch, slot=slot)
            for slot, seq in enumerate(rng.permutation(12)[: rng.integers(1, 4)])
        ]
    index = typed(keys, rows)
    expected = []
    last: dict[int, int] = {}
    for at, row in enumerate(rows):
        if row["seq"] in last:
            before = last[row["seq"]]
            between = [
                other
                for other in rows[before + 1 : at]
                if other["batch"] != rows[before]["batch"]
                and other["seq"] > row["seq"]
                and keys[other["seq"]] == keys[row["seq"]]
            ]
            expected += [(row["seq"], row["received_ns"], other["seq"], other["received_ns"]) for other in between[:1]]
        last[row["seq"]] = at
    finding = order_while_waiting.in_order("p", index, index.delivered, [0])
    assert (finding.observations, finding.violations) == (len(rows) - len(last), len(expected))
    named = []
    for offender in finding.offenders:
        by = offender["overtaken_by"]
        assert isinstance(by, dict)
        named.append((offender["seq"], offender["received_ns"], by["seq"], by["received_ns"]))
    assert named == expected[:10]


def test_pairs() -> None:
    rows = [
        got(0, 10),
        got(1, 20),
        got(-1, 25, place=-1, status=FOREIGN),
        got(1, 30),
        got(2, 35),
        got(0, 40),
        got(1, 50),
        got(-1, 60, place=-1, status=FOREIGN),
    ]
    found = typed([1, 1, 1], rows).delivered.pairs
    assert (found.earlier.tolist(), found.later.tolist()) == ([1, 0, 3], [3, 5, 6])
    nothing = typed([1], []).delivered.pairs
    assert (nothing.earlier.tolist(), nothing.later.tolist()) == ([], [])
    strays = typed([1], [got(-1, at, place=-1, status=FOREIGN) for at in (5, 6)]).delivered.pairs
    assert (strays.earlier.tolist(), strays.later.tolist()) == ([], [])
    many = [got(seq % 3, 10 + seq) for seq in range(60)]
    found = typed([1] * 3, many).delivered.pairs
    assert (found.earlier.tolist(), found.later.tolist()) == (list(range(57)), list(range(3, 60)))


def test_when_messages_were_done() -> None:
    rows = [got(0, 10), got(1, 20), got(-1, 25, place=-1, status=FOREIGN), got(0, 30), got(3, 31)]
    settles = [settle(rows[0], ACK, 40), settle(rows[3], ACK, 35), settle(rows[1], RELEASE, 36)]
    settles += [settle(rows[4], ACK, 2**60 + 1), settle(rows[2], ACK, 5)]
    index = typed([1] * 4, rows, settles)
    assert index.delivered.done_ns.tolist() == [36, NEVER, NEVER, 2**60 + 2]


def test_when_a_call_can_have_begun() -> None:
    """After what its reader did before, and after its mark."""
    base = 2**60
    rows = [got(0, base + 10), got(1, base + 20, reader=1), got(2, base + 30), got(3, base + 40, reader=1)]
    index = typed([1] * 4, rows, [settle(rows[1], ACK, base + 32)])
    which = np.array([3, 0, 2, 1])
    assert channel_index.call_began_ns(index, index.delivered, which).tolist() == [base + 33, 0, base + 10, 0]
    index.history.marks.append(  # type: ignore[attr-defined]
        {"event": "reader", "reader": 0, "channel": CHANNEL, "at_ns": base + 15}
    )
    assert channel_index.call_began_ns(index, index.delivered, which).tolist() == [base + 33, base + 15, base + 15, 0]
    assert channel_index.call_began_ns(index, index.delivered, which[:0]).tolist() == []
    shard = of_channel(index.history, CHANNEL, Whole({}, {}))
    assert channel_index.call_began_ns(shard, shard.delivered, which).tolist() == [0, base + 15, base + 15, 0]


def test_when_messages_were_sent_and_settled() -> None:
    sent, settled = sends([1, 1, 1])
    for at, row in enumerate(sent):
        row["sent_ns"] = 2**60 + at
    settled[1]["settled_ns"] = 2**60 + 9
    index = indexed(list(reversed(sent)), [{"producer": 0, "seq": 9, "settled_ns": 3}, *reversed(settled[:2])])
    assert channel_index.sent_ns(index).tolist() == [2**60, 2**60 + 1, 2**60 + 2]
    assert channel_index.settled_ns(index).tolist() == [0, 2**60 + 9, NEVER]
    part = indexed(sent, settled).history
    for name in ("producer", "seq", "key", "size", "checksum", "intended_ns", "sent_ns"):
        part.sends[name] = part.sends[name][1:]  # type: ignore[index]
    shard = of_channel(part, CHANNEL, Whole({0: 5}, {}))
    assert channel_index.sent_ns(shard).tolist() == [2**60 + 1, 2**60 + 2]
    assert channel_index.settled_ns(shard).tolist() == [2**60 + 9, 0]
