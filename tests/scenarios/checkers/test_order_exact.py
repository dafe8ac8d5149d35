"""Whole findings of order and of redelivery after a release, at their edges."""

from __future__ import annotations

import numpy as np
import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers import order, order_while_waiting, redelivery
from brokerbench.scenarios.checkers.index.channel_index import NEVER, ChannelIndex
from brokerbench.scenarios.history import Action
from brokerbench.scenarios.history.stamp import FOREIGN
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import counted, got, indexed, place_of, reader, sends, settle, typed

ACK, RELEASE, REJECT = Action.ACKNOWLEDGE, Action.RELEASE, Action.REJECT


def of(seq: int, key: int, producer: int = 0) -> dict[str, object]:
    return {"producer": producer, "seq": seq, "key": key}


def per_key(index: ChannelIndex, producers: list[int] | None = None) -> Finding:
    return order.per_key("p", index, index.delivered, [0] if producers is None else producers)


def test_order_in_full() -> None:
    """Key 5: 0, 2, 4, 5 - key 6: 1, 3. Message 2 overtakes 0; 3 is handed out while 1 is in process."""
    rows = {
        2: got(2, 10, batch=1, slot=0, place=32, partition=1),
        0: got(0, 10, batch=1, slot=1, place=30, partition=2),
        1: got(1, 20, reader=1, slot=3),
        3: got(3, 25, reader=2, slot=4),
        4: got(4, 40),
        5: got(5, 41),
    }
    stray = got(-1, 5, place=-1, status=FOREIGN)
    settles = [settle(rows[2], ACK, 11), settle(rows[0], ACK, 11), settle(rows[1], ACK, 26)]
    index = typed([5, 6, 5, 6, 5, 5, 7], [stray, *rows.values()], settles, s5=Outcome.UNKNOWN, s6=Outcome.UNKNOWN)
    assert per_key(index) == Finding(
        "p",
        observations=3,
        violations=2,
        unknown=2,
        offenders=(
            {
                "kind": "overtaken",
                **of(0, 5),
                **place_of(rows[0]),
                "overtaken_by": {**of(2, 5), **place_of(rows[2])},
            },
            {
                "kind": "overlapping",
                **of(1, 6),
                **place_of(rows[1]),
                "overtaken_by": {**of(3, 6), **place_of(rows[3])},
            },
        ),
        remarks=(counted(overtaken=1, overlapping=1),),
    )


def test_offenders_stand_in_the_order_of_delivery() -> None:
    """Two keys: the pair of the second key was delivered first."""
    rows = [got(3, 10), got(1, 11), got(2, 12), got(0, 13)]
    finding = per_key(typed([5, 6, 5, 6], rows))
    assert [row["seq"] for row in finding.offenders] == [1, 0]


def test_one_reader_needs_no_word_of_others() -> None:
    index = typed([1, 1], [got(0, 10), got(1, 11)])
    alone = [mark for mark in index.history.marks if mark.get("reader", 0) == 0]
    index.history.marks[:] = alone  # type: ignore[index]
    assert per_key(index) == Finding("p", observations=1, remarks=(counted(overtaken=0),))
    index.history.marks.append(reader(1))  # type: ignore[attr-defined]
    assert per_key(index).note.endswith("while an earlier one was in process")


@pytest.mark.parametrize(
    ("later_ns", "action", "asked_ns", "violations"),
    [(20, ACK, 20, 0), (20, ACK, 21, 1), (20, RELEASE, 20, 0), (20, RELEASE, 21, 1), (20, None, 0, 1)],
)
def test_processing_ends_when_settling_is_asked(
    later_ns: int, action: Action | None, asked_ns: int, violations: int
) -> None:
    earlier, later = got(0, 10), got(1, later_ns, reader=1)
    settles = [] if action is None else [settle(earlier, action, asked_ns)]
    assert per_key(typed([1, 1], [earlier, later], settles)).violations == violations


def test_an_overtaken_pair_is_not_overlapping_too() -> None:
    finding = per_key(typed([1, 1], [got(1, 10, reader=1), got(0, 20)]))
    assert (finding.violations, finding.offenders[0]["kind"]) == (1, "overtaken")
    assert finding.note.endswith(", 0 delivered to another consumer while an earlier one was in process")


def two_producers(deliveries: list[dict[str, int]], keys: tuple[int, int] = (1, 1)) -> ChannelIndex:
    """Producer 0 sent seq 0 and 1, producer 1 too, all with these keys."""
    (sent_0, settled_0), (sent_1, settled_1) = sends(keys), sends(keys, producer=1)
    return indexed([*sent_0, *sent_1], [*settled_0, *settled_1], deliveries, producers=(0, 1))


def test_lines_are_of_one_producer_and_only_of_those_asked_for() -> None:
    rows = [got(0, 10, producer=1), got(1, 11), got(0, 12), got(1, 13, producer=1)]
    index = two_producers(rows)
    assert [per_key(index, who).observations for who in ([0], [1], [0, 1])] == [1, 1, 2]
    assert [per_key(index, who).violations for who in ([0], [1], [0, 1])] == [1, 0, 1]
    whole = order.whole_channel("p", index, index.delivered, [0, 1])
    assert (whole.property, whole.observations) == ("p", 2)
    assert order.after_release("p", index, index.delivered, [0]).observations == 0


@pytest.mark.parametrize("keys", [(7, 7 + 2**20), (-5, -4), (2**62, 2**62 + 1), (0, 70_000), (-(2**63), 2**63 - 1)])
def test_far_keys_of_two_producers_do_not_meet(keys: tuple[int, int]) -> None:
    index = two_producers([got(1, 10), got(0, 11), got(1, 12, producer=1), got(0, 13, producer=1)], keys)
    assert per_key(index, [0, 1]).observations == 0
    assert order.whole_channel("p", index, index.delivered, [0, 1]).violations == 2


@pytest.mark.parametrize("low", [-(2**63), -(2**62), 0])
def test_however_far_apart_keys_are_each_is_a_line(low: int) -> None:
    """Message 0 is released and comes back after 2 was processed; 1 is of another key, as far away as can be."""
    for keys in ([low, 2**63 - 1, low, 2**63 - 1], [2**63 - 1, low, 2**63 - 1, low]):
        rows = [got(0, 10), got(1, 20), got(2, 30), got(0, 40), got(3, 50)]
        settles = [settle(rows[0], RELEASE, 11), *(settle(row, ACK, row["received_ns"] + 1) for row in rows[1:])]
        index = typed(keys, rows, settles)
        assert per_key(index).observations == 2
        for finding in (
            order.after_release("p", index, index.delivered, [0]),
            order_while_waiting.in_order("p", index, index.delivered, [0]),
        ):
            assert (finding.observations, finding.violations) == (1, 1)
            assert finding.offenders[0] == {
                **finding.offenders[0],
                **of(0, keys[0]),
                "overtaken_by": {**of(2, keys[0]), **place_of(rows[2])},
            }


@pytest.mark.parametrize("width", [32_767, 32_768, 32_769])
def test_many_lines_do_not_meet(width: int) -> None:
    """Lines beyond 16 bits: the last key of producer 0 and the first of producer 1 are neighbours."""
    (sent_0, settled_0), (sent_1, settled_1) = sends([0, width - 1]), sends([0, width - 1], producer=1)
    rows = [got(1, 10, producer=1), got(0, 11, producer=1), got(1, 12), got(0, 13)]
    index = indexed([*sent_0, *sent_1], [*settled_0, *settled_1], rows, producers=(0, 1))
    assert per_key(index, [0, 1]) == Finding(
        "p",
        remarks=(counted(overtaken=0, overlapping=0),),
    )
    number = index.order_group[index.delivered.message]
    assert number.tolist() == [2 * width - 1, width, width - 1, 0]
    assert number.dtype.name == ("uint16" if 2 * width - 1 <= 65_535 else "int64")


@pytest.mark.parametrize("count", [9, 10, 11])
def test_ten_pairs_are_named(count: int) -> None:
    keys = [key for key in range(count) for _ in range(2)]
    rows = [got(seq, 100 - seq) for seq in reversed(range(2 * count))]
    finding = per_key(typed(keys, rows))
    assert (finding.violations, len(finding.offenders)) == (count, min(count, 10))


def test_after_release_in_full() -> None:
    """Message 0 is released, 2 overtakes it; 1 (another key) is released and comes back first; 4 never comes back."""
    first, first_1, first_4 = got(0, 10), got(1, 11, slot=1), got(4, 12)
    third = got(2, 20, reader=1, slot=2, place=72, partition=3)
    again_1, fourth = got(1, 30), got(3, 31)
    again = got(0, 40, reader=2, slot=3, place=70, partition=4)
    settles = [settle(row, RELEASE, 15) for row in (first, first_1, first_4)]
    settles += [settle(row, ACK, 50) for row in (third, again_1, fourth, again)]
    keys = [5, 6, 5, 6, 7, 5]
    rows = [first, first_1, first_4, third, again_1, fourth, again, got(5, 41)]
    index = typed(keys, rows, settles)
    assert order.after_release("p", index, index.delivered, [0]) == Finding(
        "p",
        observations=2,
        violations=1,
        unknown=1,
        offenders=(
            {
                "kind": "overtaken after release",
                **of(0, 5),
                **place_of(again),
                "overtaken_by": {**of(2, 5), **place_of(third)},
            },
        ),
        remarks=("an observation is a message that was released at least once",),
    )
    nothing = typed([], [])
    assert order.after_release("p", nothing, nothing.delivered, [0]).observations == 0


def test_the_first_acknowledged_delivery_counts_and_only_yes_is_an_answer() -> None:
    first, again, once_more = got(0, 10), got(0, 20), got(0, 40)
    later = got(1, 30)
    settles = [settle(first, RELEASE, 11), settle(again, ACK, 21), settle(once_more, ACK, 41), settle(later, ACK, 31)]
    index = typed([1, 1], [first, again, later, once_more], settles)
    assert order.after_release("p", index, index.delivered, [0]).violations == 0
    settles[1]["outcome"] = Outcome.UNKNOWN
    index = typed([1, 1], [first, again, later, once_more], settles)
    found = order.after_release("p", index, index.delivered, [0])
    assert (found.observations, found.violations, found.unknown) == (0, 0, 1)
    settles[0]["outcome"] = Outcome.REJECTED
    index = typed([1, 1], [first, again, later, once_more], settles)
    assert order.after_release("p", index, index.delivered, [0]).observations == 0


def test_the_very_first_delivery_overtakes_too() -> None:
    rows = [got(1, 10), got(0, 11), got(0, 20)]
    settles = [settle(rows[0], ACK, 12), settle(rows[1], RELEASE, 12), settle(rows[2], ACK, 21)]
    index = typed([1, 1], rows, settles)
    assert order.after_release("p", index, index.delivered, [0]).violations == 1


def test_what_was_acknowledged_at_its_very_first_delivery_is_not_unknown() -> None:
    rows = [got(0, 10), got(0, 11)]
    index = typed([1], rows, [settle(rows[0], ACK, 12), settle(rows[1], RELEASE, 12)])
    finding = order.after_release("p", index, index.delivered, [0])
    assert (finding.observations, finding.violations, finding.unknown) == (1, 0, 0)


@pytest.mark.parametrize("count", [100])
def test_many_messages_of_many_keys(count: int) -> None:
    """Sorting keeps the order of equals, however many there are: all in order, then each key's last two swapped."""
    keys = [seq % 3 for seq in range(count)]
    rows = [got(seq, 1000 + seq) for seq in range(count)]
    assert per_key(typed(keys, rows)).violations == 0
    swapped = [*range(count - 6), *range(count - 3, count), *range(count - 6, count - 3)]
    rows = [got(seq, 1000 + at) for at, seq in enumerate(swapped)]
    finding = per_key(typed(keys, rows))
    assert [row["seq"] for row in finding.offenders] == list(range(count - 6, count - 3))
    index = typed(keys, [*rows, *rows_again(rows)], [settle(row, RELEASE, row["received_ns"]) for row in rows])
    assert redelivery.returned(index, index.delivered, 1.0).again.tolist() == list(range(count, 2 * count))


def rows_again(rows: list[dict[str, int]]) -> list[dict[str, int]]:
    return [got(row["seq"], row["received_ns"] + 1000) for row in rows]


def test_lines_are_numbered_from_the_lowest_key() -> None:
    index = two_producers([got(0, 10), got(1, 11), got(0, 12, producer=1), got(1, 13, producer=1)], (7, 9))
    assert index.order_group[index.delivered.message].tolist() == [0, 2, 3, 5]
    nothing = typed([], []).by_key
    assert (nothing.message.tolist(), nothing.number.tolist(), nothing.follows.tolist()) == ([], [], [])


def test_what_was_overtaken_without_a_release_is_not_counted_there() -> None:
    """Lines of several keys: each is judged by itself, the last message of a line by nothing."""
    rows = [got(1, 10), got(0, 11), got(2, 12), got(3, 13), got(3, 20), got(2, 30)]
    settles = [settle(rows[0], ACK, 14), settle(rows[1], ACK, 14), settle(rows[2], RELEASE, 14)]
    settles += [settle(rows[3], RELEASE, 14), settle(rows[4], ACK, 31), settle(rows[5], ACK, 31)]
    index = typed([1, 1, 2, 3], rows, settles)
    finding = order.after_release("p", index, index.delivered, [0])
    assert (finding.observations, finding.violations) == (2, 0)
    unknown = typed([1, 1, 2, 3], rows, settles, s2=Outcome.UNKNOWN)
    finding = order.after_release("p", unknown, unknown.delivered, [0])
    assert (finding.observations, finding.unknown) == (1, 0)


@pytest.mark.parametrize("count", [9, 10, 11])
def test_ten_of_the_released_are_named_in_order_of_coming_back(count: int) -> None:
    """Pairs of a key each: the first is released, the second processed, the first comes back; last keys first."""
    firsts = [got(2 * key, 10 + key) for key in range(count)]
    seconds = [got(2 * key + 1, 50 + key) for key in range(count)]
    again = [got(2 * key, 200 - key) for key in reversed(range(count))]
    settles = [settle(row, RELEASE, 40) for row in firsts] + [settle(row, ACK, 300) for row in (*seconds, *again)]
    index = typed([key for key in range(count) for _ in range(2)], [*firsts, *seconds, *again], settles)
    finding = order.after_release("p", index, index.delivered, [0])
    assert (finding.observations, finding.violations) == (count, count)
    assert [row["seq"] for row in finding.offenders] == [2 * key for key in reversed(range(count))][:10]


def released(again_ns: int | None, *, outcome: Outcome = Outcome.ACKNOWLEDGED) -> ChannelIndex:
    first = got(1, 1000, slot=2, partition=3, place=9)
    back = [] if again_ns is None else [got(1, again_ns)]
    stray = got(-1, 900, place=-1, status=FOREIGN)
    release = settle(first, RELEASE, 1100, outcome=int(outcome))
    return typed([5, 6], [stray, first, got(0, 1001), *back], [release])


def test_a_lease_is_counted_to_the_nanosecond() -> None:
    for again_ns, violations in ((1000 + 10**9 - 1, 0), (1000 + 10**9, 1)):
        index = released(again_ns)
        assert redelivery.comes_back(index, index.delivered, 1.0, drained=True).violations == violations


@pytest.mark.parametrize(("again_ns", "violations"), [(2999, 0), (3000, 1), (3001, 1)])
def test_in_time_means_before_the_lease_ended(again_ns: int, violations: int) -> None:
    index = released(again_ns)
    offender = {**of(1, 6), **place_of(got(1, 1000, slot=2, partition=3, place=9)), "came_back": True}
    for drained in (True, False):
        assert redelivery.comes_back(index, index.delivered, 2e-6, drained=drained) == Finding(
            "redelivery.after_release",
            observations=1,
            violations=violations,
            offenders=(offender,) * violations,
            remarks=("in time means before the lease of 2e-06 s",),
        )
    assert redelivery.returned(index, index.delivered, 2e-6).delay_ns.tolist() == [again_ns - 1101]


def test_what_never_came_back() -> None:
    index = released(None)
    note = "in time means before the lease of 30 s"
    failed = redelivery.comes_back(index, index.delivered, 30, drained=True)
    offender = {**of(1, 6), **place_of(got(1, 1000, slot=2, partition=3, place=9)), "came_back": False}
    assert failed == Finding("redelivery.after_release", 1, 1, offenders=(offender,), remarks=(note,))
    unproven = redelivery.comes_back(index, index.delivered, 30, drained=False)
    assert unproven == Finding("redelivery.after_release", open=1, remarks=(note,))
    back = redelivery.returned(index, index.delivered, 30)
    assert (back.at.tolist(), back.again.tolist()) == ([0], [-1])
    assert (back.delay_ns.tolist(), back.in_time.tolist()) == ([NEVER], [False])


@pytest.mark.parametrize(("most", "expected"), [(None, (3, 1)), (3, (3, 1)), (2, (2, 0)), (1, (2, 0))])
def test_the_last_delivery_that_is_allowed_need_not_come_back(most: int | None, expected: tuple[int, int]) -> None:
    """Message 0 is released twice and came twice, message 1 once, and came back."""
    rows = [got(0, 10), got(1, 20), got(0, 30), got(1, 40)]
    index = typed([1, 1], rows, [settle(row, RELEASE, row["received_ns"]) for row in rows[:3]])
    finding = redelivery.comes_back(index, index.delivered, 1.0, drained=True, max_deliveries=most)
    assert (finding.observations, finding.violations) == expected
    assert [row["received_ns"] for row in finding.offenders] == [30] * expected[1]
    alone = typed([1], rows[:1], [settle(rows[0], RELEASE, 15)])
    finding = redelivery.comes_back(alone, alone.delivered, 1.0, drained=True, max_deliveries=1)
    assert finding.note == "nothing was released"


def test_some_of_what_was_released() -> None:
    rows = [got(0, 10), got(1, 20), got(0, 30), got(1, 40)]
    index = typed([1, 1], rows, [settle(row, RELEASE, row["received_ns"]) for row in rows])
    some = redelivery.returned(index, index.delivered, 1.0).only(np.array([False, True, True, False]))
    assert (some.at.tolist(), some.again.tolist()) == ([1, 2], [3, -1])
    assert (some.delay_ns.tolist(), some.in_time.tolist()) == ([19, NEVER], [True, False])


def test_a_release_that_was_refused_is_none() -> None:
    index = released(2000, outcome=Outcome.REJECTED)
    finding = redelivery.comes_back(index, index.delivered, 2.0, drained=True)
    assert finding == Finding("redelivery.after_release", remarks=("nothing was released",))


def test_each_release_is_answered_by_the_next_delivery_of_its_message() -> None:
    rows = [got(0, 10), got(1, 20), got(0, 30), got(1, 40), got(0, 50)]
    index = typed([1, 1], rows, [settle(row, RELEASE, row["received_ns"]) for row in rows])
    back = redelivery.returned(index, index.delivered, 1.0)
    assert back.at.tolist() == [0, 1, 2, 3, 4]
    assert back.again.tolist() == [2, 3, 4, -1, -1]
    assert back.delay_ns.tolist() == [19, 19, 19, NEVER, NEVER]
    mixed = redelivery.comes_back(index, index.delivered, 2.1e-8, drained=True)
    assert (mixed.observations, mixed.violations) == (5, 2)
    assert [row["seq"] for row in mixed.offenders] == [1, 0]


@pytest.mark.parametrize("count", [9, 10, 11])
def test_ten_that_never_came_back_are_named(count: int) -> None:
    rows = [got(seq, 10 + seq) for seq in range(count)]
    index = typed([1] * count, rows, [settle(row, RELEASE, 50) for row in rows])
    finding = redelivery.comes_back(index, index.delivered, 1.0, drained=True)
    assert (finding.violations, [row["seq"] for row in finding.offenders]) == (count, list(range(min(count, 10))))


def test_per_partition_goes_by_where_a_message_came_from() -> None:
    rows = [got(1, 10, partition=1), got(0, 11, partition=2), got(3, 12, partition=1), got(2, 13, partition=1)]
    rows.append(got(0, 14, partition=1))
    index = typed([5, 6, 7, 8, 9], rows)
    finding = order.per_partition("p", index, index.delivered, [0])
    assert (finding.property, finding.observations, finding.violations) == ("p", 2, 1)
    assert finding.offenders[0] == {
        "kind": "overtaken",
        **of(2, 7),
        **place_of(rows[3]),
        "overtaken_by": {**of(3, 8), **place_of(rows[2])},
    }
