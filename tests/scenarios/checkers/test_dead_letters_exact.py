"""Whole findings of dead letters and of deduplication."""

from __future__ import annotations

import numpy as np
import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers import dead_letters, deduplication
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex, Whole, elsewhere, of_channel
from brokerbench.scenarios.checkers.index.columns import identities
from brokerbench.scenarios.history import Action, History
from brokerbench.scenarios.history.stamp import CORRUPT, FOREIGN
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import CHANNEL, counted, got, indexed, place_of, reader, sends, settle, typed

RELEASE, REJECT, ACK = Action.RELEASE, Action.REJECT, Action.ACKNOWLEDGE


def letter(seq: int, at_ns: int, **other: int) -> dict[str, int]:
    return got(seq, at_ns, reader=9, **other)


def letters(
    keys: list[int], rows: list[dict[str, int]], settles: list[dict[str, int]], found: list[dict[str, int]]
) -> dead_letters.Letters:
    index = typed(keys, [*rows, *found], settles, [reader(9, "dead")])
    return dead_letters.of(index, index.delivered.to([0, 1, 2, 3]), "dead", 1, all_seen=True)


def test_letters_in_full() -> None:
    """Messages 0 to 2 were released (due), 3 was acknowledged, 4 released with unknown answer."""
    rows = [got(seq, 10 + seq) for seq in range(5)]
    settles = [settle(row, RELEASE, 20) for row in rows[:3]]
    settles += [settle(rows[3], ACK, 20), settle(rows[4], RELEASE, 20, outcome=int(Outcome.UNKNOWN))]
    found = [
        letter(0, 50, place=70, batch=1, slot=2, partition=3),
        letter(0, 51, place=71, batch=2, slot=3, partition=4),
        letter(3, 52, place=72),
        letter(4, 53, place=73),
        letter(-1, 54, place=74, status=FOREIGN),
        letter(2, 55, place=75, size=3),
        letter(-1, 56, place=76, status=FOREIGN),
    ]
    of = letters([5, 6, 7, 8, 9], rows, settles, found)
    assert of.due.tolist() == [True, True, True, False, False]
    assert of.may.tolist() == [True, True, True, False, True]
    complete = dead_letters.complete(of, drained=True)
    assert complete == Finding(
        "dead_letter.complete",
        observations=2,
        violations=0,
        unknown=1,
        open=1,
        remarks=(counted(unclaimed_letters=1),),
    )
    assert dead_letters.only_failed(of) == Finding(
        "dead_letter.only_failed",
        observations=7,
        violations=4,
        unknown=1,
        offenders=(
            {"kind": "twice", "producer": 0, "seq": 0, "key": 5, **place_of(found[1])},
            {"kind": "not due", "producer": 0, "seq": 3, "key": 8, **place_of(found[2])},
            {"kind": "never sent", **place_of(found[4])},
            {"kind": "never sent", **place_of(found[6])},
        ),
        remarks=("places are those of the channel of dead letters",),
    )
    assert dead_letters.intact(of) == Finding(
        "dead_letter.intact",
        observations=5,
        violations=1,
        offenders=({"producer": 0, "seq": 2, "key": 7, **place_of(found[5]), "size": 3},),
    )
    undrained = dead_letters.complete(of, drained=False)
    assert undrained == Finding("dead_letter.complete", observations=2, unknown=1, open=1)


@pytest.mark.parametrize(("all_seen", "concerned"), [(True, [0, 1, 3]), (False, [0, 1, 3, 4])])
def test_what_dead_letters_have_to_do_with(all_seen: bool, concerned: list[int]) -> None:
    """0: acknowledged, with a letter. 1: due. 2: acknowledged. 3: may be due. 4: not delivered."""
    rows = [got(seq, 10 + seq) for seq in range(4)]
    settles = [settle(rows[0], ACK, 20), settle(rows[1], RELEASE, 20), settle(rows[2], ACK, 20)]
    settles.append(settle(rows[3], RELEASE, 20, outcome=int(Outcome.UNKNOWN)))
    found = [letter(-1, 50, place=0, status=FOREIGN), letter(0, 51, place=1)]
    index = typed([5, 6, 7, 8, 9], [*rows, *found], settles, [reader(9, "dead")])
    group, dead = index.delivered.to([0, 1, 2, 3]), elsewhere(index, "dead")
    assert np.flatnonzero(dead_letters.concerned(index, group, dead, 1, all_seen=all_seen)).tolist() == concerned


@pytest.mark.parametrize("count", [9, 10, 11])
def test_ten_letters_are_named(count: int) -> None:
    rows = [got(seq, 10 + seq) for seq in range(count)]
    missing = letters([1] * count, rows, [settle(row, RELEASE, 50) for row in rows], [])
    extra = letters(
        [1] * count,
        rows,
        [settle(row, ACK, 50) for row in rows],
        [letter(seq, 60 + seq, place=seq) for seq in range(count)],
    )
    lost = dead_letters.complete(missing, drained=True)
    assert (lost.observations, lost.unknown, lost.note) == (count, 0, "")
    for finding in (lost, dead_letters.only_failed(extra)):
        assert (finding.violations, [row["seq"] for row in finding.offenders]) == (count, list(range(min(count, 10))))


@pytest.mark.parametrize(("unidentified", "claimed"), [(0, 3), (1, 2), (2, 1), (3, 0), (4, 0)])
def test_as_many_letters_as_could_not_be_identified_are_not_claimed(unidentified: int, claimed: int) -> None:
    rows = [got(seq, 10 + seq) for seq in range(3)]
    strays = [letter(-1, 60 + at, place=at, status=FOREIGN) for at in range(unidentified)]
    of = letters([1] * 3, rows, [settle(row, RELEASE, 50) for row in rows], strays)
    finding = dead_letters.complete(of, drained=True)
    assert (finding.observations, finding.violations, finding.open) == (claimed, claimed, 3 - claimed)
    undrained = dead_letters.complete(of, drained=False)
    assert (undrained.observations, undrained.violations, undrained.open) == (0, 0, 3)


def test_a_damaged_letter_takes_the_name_on_its_stamp_only_if_that_is_left() -> None:
    rows = [got(seq, 10 + seq) for seq in range(3)]
    settles = [settle(row, RELEASE, 50) for row in rows]
    damaged = [letter(0, 60, place=0, status=CORRUPT), letter(1, 61, place=1, status=CORRUPT)]
    of = letters([1] * 3, rows, settles, damaged)
    assert of.delivered.message.tolist() == [0, 1]
    twice = letters([1] * 3, rows, settles, [damaged[0], {**damaged[0], "received_ns": 61, "batch": 61}])
    assert twice.delivered.message.tolist() == [0, -1]
    last = letters([1] * 3, rows, settles, [letter(0, 59), letter(1, 59, batch=60), {**damaged[0]}])
    assert last.delivered.message.tolist() == [0, 1, 2]


def test_where_a_reader_was_killed_what_was_asked_for_still_counts() -> None:
    """``all_seen`` false adds what was not acknowledged to what may be due; a rejection that was asked for stays."""
    rows = [got(0, 10), got(0, 11), got(1, 12)]
    settles = [settle(rows[0], REJECT, 20, outcome=int(Outcome.UNKNOWN)), settle(rows[1], ACK, 21)]
    index = typed([1, 1, 1], rows, [*settles, settle(rows[2], ACK, 22)], [reader(9, "dead")])
    of = dead_letters.of(index, index.delivered, "dead", 5, all_seen=False)
    assert of.may.tolist() == [True, False, True]
    assert dead_letters.of(index, index.delivered, "dead", 5, all_seen=True).may.tolist() == [True, False, False]


def test_the_first_message_s_letter_is_a_letter_of_a_message() -> None:
    """Message 0's letter is identified; message 1's is missing, and claimed to be."""
    rows = [got(seq, 10 + seq) for seq in range(3)]
    of = letters([1] * 3, rows, [settle(row, RELEASE, 50) for row in rows], [letter(0, 60, place=3)])
    finding = dead_letters.complete(of, drained=True)
    assert (finding.observations, finding.violations, finding.unknown, finding.note) == (3, 2, 0, "")
    assert [row["seq"] for row in finding.offenders] == [1, 2]
    undrained = dead_letters.complete(of, drained=False)
    assert (undrained.violations, undrained.open, undrained.note) == (0, 2, "")


def test_only_damage_takes_a_name_from_its_stamp() -> None:
    """A stranger's letter, or an intact one, that bears a due message's number among three that are missing."""
    rows = [got(seq, 10 + seq) for seq in range(3)]
    settles = [settle(row, RELEASE, 50) for row in rows]
    foreign = [letter(at, 60 + at, place=at, status=FOREIGN) for at in (1, 2)]
    assert letters([1] * 3, rows, settles, foreign).delivered.message.tolist() == [-1, -1]
    damaged = [letter(at, 60 + at, place=at, status=CORRUPT) for at in (1, 2)]
    assert letters([1] * 3, rows, settles, damaged).delivered.message.tolist() == [1, 2]
    elsewhere = [letter(1, 60, place=1, status=CORRUPT, producer=4)]
    assert letters([1] * 3, rows, settles, elsewhere).delivered.message.tolist() == [-1]
    acknowledged = [settle(rows[0], ACK, 50), *settles[1:]]
    undue = [letter(0, 60, place=0, status=CORRUPT)]
    assert letters([1] * 3, rows, acknowledged, undue).delivered.message.tolist() == [-1]


def test_damaged_letters_are_named_in_a_shard_too() -> None:
    """Message 0 lies in another shard: 1 and 2 are the first of this one."""
    rows = [got(seq, 10 + seq) for seq in (1, 2)]
    found = [letter(2, 60, place=0, status=CORRUPT), letter(1, 61, place=1, status=CORRUPT)]
    whole = typed([1] * 3, [*rows, *found], [settle(row, RELEASE, 50) for row in rows], [reader(9, "dead")]).history
    sent = {name: column[1:] for name, column in whole.sends.items()}
    part = History(sent, whole.send_outcomes, whole.deliveries, whole.acknowledgements, whole.marks)
    shard = of_channel(part, CHANNEL, Whole({}, {}))
    of = dead_letters.of(shard, shard.delivered, "dead", 1, all_seen=True)
    assert of.delivered.message.tolist() == [1, 0]


def test_two_nameless_letters_of_one_missing_message_stay_nameless() -> None:
    rows = [got(0, 10)]
    strays = [letter(-1, 60 + at, place=at, status=FOREIGN) for at in range(2)]
    of = letters([1], rows, [settle(rows[0], RELEASE, 50)], strays)
    assert of.delivered.message.tolist() == [-1, -1]
    one = letters([1], rows, [settle(rows[0], RELEASE, 50)], strays[:1])
    assert one.delivered.message.tolist() == [0]


def deduplicated(
    messages: list[tuple[int, int, int, int]], delivered: list[int], outcomes: dict[str, Outcome] | None = None
) -> ChannelIndex:
    """Messages are (identity, sent, settled, place), keys 7 and on; ``delivered`` came at 10_000 and later."""
    sent, settled = sends([7 + seq for seq in range(len(messages))], **(outcomes or {}))
    for (_, sent_ns, settled_ns, place), send, settlement in zip(messages, sent, settled, strict=True):
        send["sent_ns"] = sent_ns
        settlement.update(settled_ns=settled_ns, place=place, partition=2)
    identities = [message[0] for message in messages]
    marks = [
        {"event": "identities", "producer": 0, "first_seq": 0, "identities": identities[:1]},
        {"event": "identities", "producer": 0, "first_seq": 1, "identities": [*identities[1:], 999]},
        {"event": "identities", "producer": 5, "first_seq": 0, "identities": [999]},
    ]
    rows = [got(seq, 10_000 + at, place=messages[seq][3], partition=2) for at, seq in enumerate(delivered)]
    return indexed(sent, settled, rows, marks=marks)


def test_deduplication_in_full() -> None:
    """Identity 5: 0 is kept, 1 delivered again, 2 swallowed; identity 6: 3 and 4 both delivered, 4 first."""
    messages = [(5, 1000, 1010, 0), (5, 1020, 1030, 1), (5, 1040, 1050, 0), (6, 1000, 1010, 2), (6, 1020, 1030, 3)]
    index = deduplicated(messages, [4, 0, 1, 3])
    expected = Finding(
        "deduplication.applied",
        observations=3,
        violations=2,
        offenders=(
            {"producer": 0, "seq": 4, "key": 11, **place_of(got(4, 10_000, place=3, partition=2)), "identity": 6},
            {"producer": 0, "seq": 1, "key": 8, **place_of(got(1, 10_002, place=1, partition=2)), "identity": 5},
        ),
        remarks=("window 1e-07 s",),
    )
    assert deduplication.repeats_swallowed(index, index.delivered, 1e-7, drained=True) == expected
    open_ = deduplication.repeats_swallowed(index, index.delivered, 1e-7, drained=False)
    assert (open_.observations, open_.violations, open_.open) == (2, 2, 1)


def test_what_was_new_in_full() -> None:
    """1 is new and was swallowed (the place of 0); 2 is new and lost; 3 was rejected; 4 is new and came."""
    messages = [(5, 1000, 1010, 4), (6, 1020, 1030, 4), (7, 1040, 1050, 6), (8, 1060, 1070, -1), (9, 1080, 1090, 7)]
    index = deduplicated(messages, [0, 4], {"s3": Outcome.REJECTED})
    assert deduplication.new_kept(index, index.delivered, 1e-7, drained=True) == Finding(
        "deduplication.only_repeats",
        observations=3,
        violations=1,
        unknown=1,
        offenders=({"producer": 0, "seq": 1, "key": 8, "partition": 2, "place": 4, "identity": 6},),
        remarks=("window 1e-07 s",),
    )
    open_ = deduplication.new_kept(index, index.delivered, 1e-7, drained=False)
    assert (open_.observations, open_.violations, open_.unknown, open_.offenders) == (2, 0, 2, ())


@pytest.mark.parametrize("count", [9, 10, 11])
def test_ten_repeats_and_ten_swallowed_are_named(count: int) -> None:
    firsts = [(at, 1000 + at, 1010 + at, at) for at in range(count)]
    again = [(at, 1020 + at, 1030 + at, 50 + at) for at in range(count)]
    index = deduplicated([*firsts, *again], list(range(2 * count)))
    finding = deduplication.repeats_swallowed(index, index.delivered, 1e-7, drained=True)
    assert (finding.violations, [row["seq"] for row in finding.offenders]) == (
        count,
        list(range(count, count + min(count, 10))),
    )
    wrong = deduplicated([*firsts, *((100 + at, 1020 + at, 1030 + at, at) for at in range(count))], list(range(count)))
    finding = deduplication.new_kept(wrong, wrong.delivered, 1e-7, drained=True)
    assert (finding.violations, [row["seq"] for row in finding.offenders]) == (
        count,
        list(range(count, count + min(count, 10))),
    )


def test_a_place_is_taken_within_its_partition_by_one_that_was_sent_earlier() -> None:
    messages = [(5, 1020, 1030, 4), (6, 1000, 1010, 4), (7, 1040, 1050, -1), (8, 1050, 1060, -1)]
    index = deduplicated(messages, [1])
    finding = deduplication.new_kept(index, index.delivered, 1e-7, drained=True)
    assert [row["seq"] for row in finding.offenders] == [0]
    sent, settled = sends([1, 2])
    settled[1].update(place=0, partition=1)
    apart = indexed(sent, settled, [got(0, 10_000)])
    assert deduplication.new_kept(apart, apart.delivered, 1e-7, drained=True).violations == 0
    sent, settled = sends([1] * 4)
    for row, (partition, place) in zip(settled, [(0, 4), (0, 4), (1, 9), (1, 9)], strict=True):
        row.update(partition=partition, place=place)
    both = indexed(sent, settled)
    finding = deduplication.new_kept(both, both.delivered, 1e-7, drained=True)
    assert [row["seq"] for row in finding.offenders] == [1, 3]


def test_identities_are_found_in_a_shard_too() -> None:
    """Message 0 lies in another shard; 2 repeats 1."""
    whole = deduplicated([(5, 1000, 1010, 0), (6, 1020, 1030, 1), (6, 1040, 1050, 2)], [1, 2]).history
    sent = {name: column[1:] for name, column in whole.sends.items()}
    part = History(sent, whole.send_outcomes, whole.deliveries, whole.acknowledgements, whole.marks)
    told = Whole({}, {}, identities=identities(list(whole.events("identities"))))
    shard = of_channel(part, CHANNEL, told)
    finding = deduplication.repeats_swallowed(shard, shard.delivered, 1e-7, drained=True)
    assert [(row["seq"], row["identity"]) for row in finding.offenders] == [(2, 6)]


def test_a_long_window_is_counted_to_the_nanosecond() -> None:
    second = 10**9
    for settled_ns, sure in ((1000 + second - 1, 1), (1000 + second, 0)):
        index = deduplicated([(5, 1000, 1010, 0), (5, 1020, settled_ns, 1)], [0])
        repeat = deduplication.repeats_swallowed(index, index.delivered, 1.0, drained=True)
        assert repeat.observations == sure
    for sent_ns, new in ((1010 + second, 0), (1011 + second, 1)):
        index = deduplicated([(5, 1000, 1010, 0), (5, sent_ns, sent_ns + 5, 0)], [0])
        assert deduplication.new_kept(index, index.delivered, 1.0, drained=True).violations == new


def test_apart_changes_the_fate_of_what_may_be_a_repeat_alone() -> None:
    messages = [(5, 1000, 1010, 0), (5, 1020, 1030, 0), (6, 1040, 1050, 1), (5, 1050, 1060, 2)]
    index = deduplicated(messages, [0, 3], {"s2": Outcome.REJECTED})
    changed = deduplication.apart(index, index.delivered, 1e-7)
    assert changed.sent.outcome.tolist() == [
        Outcome.ACKNOWLEDGED,
        Outcome.UNKNOWN,
        Outcome.REJECTED,
        Outcome.ACKNOWLEDGED,
    ]
    assert index.sent.outcome.tolist()[1] == Outcome.ACKNOWLEDGED
    assert changed.sent.key.tolist() == index.sent.key.tolist()
