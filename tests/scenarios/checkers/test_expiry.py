"""Expired early, expired late: message by message, from readers of the whole channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers import expiry
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import got, indexed, place_of, sends

MS = 1_000_000
LIMIT_S = 10.0
FIRST, SECOND = {"reader": 0, "began_ns": 0}, {"reader": 1, "began_ns": 0}


def history(count: int, rows: list[dict[str, int]], *, step_ns: int = 0, **outcomes: Outcome) -> ChannelIndex:
    """Messages of key 7 sent at 0, ``step_ns``, ... and settled 5 ns later, at place 10 and on of partition 0."""
    sent, settled = sends([7] * count, **outcomes)
    for seq, (send, settlement) in enumerate(zip(sent, settled, strict=True)):
        send["sent_ns"] = seq * step_ns
        settlement.update(place=10 + seq, settled_ns=seq * step_ns + 5)
    return indexed(sent, settled, rows)


def shown(seq: int, at_ns: int, reader: int = 0, **other: int) -> dict[str, int]:
    return got(seq, at_ns, reader=reader, **{"place": 10 + seq, **other})


def early(index: ChannelIndex, *attempts: Mapping[str, Any]) -> Finding:
    return expiry.early(index, attempts, LIMIT_S)


def test_without_an_attempt_nothing_is_known() -> None:
    index = history(2, [shown(0, 10)])
    why = "nothing was read from the beginning"
    assert early(index) == Finding("retention.not_early", not_testable=why)
    assert expiry.late(index, [], LIMIT_S) == Finding("retention.by_age", not_testable=why)


def test_early_in_full() -> None:
    """Message 0 was passed unseen at 2 s; 1 was seen; 2 was passed by the same; nothing came after 3."""
    rows = [shown(1, 2_000 * MS), shown(3, 3_000 * MS)]
    assert early(history(5, rows), FIRST) == Finding(
        "retention.not_early",
        observations=4,
        violations=2,
        offenders=(
            {"producer": 0, "seq": 0, "key": 7, "place": 10, "before_its_limit_s": 7.998},
            {"producer": 0, "seq": 2, "key": 7, "place": 12, "before_its_limit_s": 6.998},
        ),
    )


def test_every_attempt_is_counted() -> None:
    rows = [shown(1, 2_000 * MS), shown(0, 2_000 * MS, reader=1), shown(1, 2_001 * MS, reader=1)]
    finding = early(history(2, rows), FIRST, SECOND)
    assert (finding.property, finding.observations, finding.violations) == ("retention.not_early", 4, 1)
    finding = early(history(2, rows), SECOND)
    assert (finding.observations, finding.violations) == (2, 0)


@pytest.mark.parametrize(("passed_ns", "early_ones"), [(9_998 * MS - 1, 1), (9_998 * MS, 0), (9_998 * MS + 1, 0)])
def test_early_is_before_the_limit_and_the_clock_s_tolerance(passed_ns: int, early_ones: int) -> None:
    finding = early(history(2, [shown(1, passed_ns)]), FIRST)
    assert (finding.observations, finding.violations) == (2 * early_ones, early_ones)
    late_sent = early(history(2, [shown(1, passed_ns + 5)], step_ns=5), FIRST)
    assert late_sent.violations == 0


def test_passed_at_time_zero_is_passed() -> None:
    finding = early(history(2, [shown(1, 0)]), FIRST)
    assert (finding.observations, finding.violations) == (2, 1)


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.REJECTED])
def test_only_acknowledged_sends_must_be_kept(outcome: Outcome) -> None:
    finding = early(history(2, [shown(1, 1)], s0=outcome), FIRST)
    assert (finding.observations, finding.violations) == (1, 0)


def test_places_are_compared_within_their_partition() -> None:
    """What was shown of another partition, or without a place, or of a place further back, passes nothing."""
    elsewhere = [shown(1, 50, partition=3, place=99), shown(1, 60, place=-1)]
    finding = early(history(3, elsewhere), FIRST)
    assert (finding.observations, finding.violations) == (1, 0)
    fallen = [shown(2, 50), shown(1, 60)]
    finding = early(history(4, fallen), FIRST)
    assert (finding.observations, finding.violations) == (3, 1)
    sent, settled = sends([7, 7])
    settled[0].update(place=-1)
    finding = early(indexed(sent, settled, [got(1, 50)]), FIRST)
    assert (finding.observations, finding.violations) == (1, 0)


def test_the_place_itself_is_not_passed_when_another_message_lies_there() -> None:
    """Message 0 is known to lie at place 10; something else was read from there, and nothing after."""
    finding = early(history(2, [shown(7, 50, place=10)]), FIRST)
    assert finding.observations == 0


def test_two_partitions() -> None:
    sent, settled = sends([7] * 4)
    for row, (partition, place) in zip(settled, [(0, 10), (0, 11), (1, 5), (1, 6)], strict=True):
        row.update(partition=partition, place=place)
    rows = [got(1, 50, partition=0, place=11), got(3, 60, partition=1, place=6)]
    finding = early(indexed(sent, settled, rows), FIRST)
    assert (finding.observations, [row["seq"] for row in finding.offenders]) == (4, [0, 2])
    assert [row["before_its_limit_s"] for row in finding.offenders] == pytest.approx([9.998, 9.998], abs=1e-6)
    assert finding.offenders[0]["before_its_limit_s"] != finding.offenders[1]["before_its_limit_s"]


@pytest.mark.parametrize("count", [9, 10, 11])
def test_ten_are_named(count: int) -> None:
    finding = early(history(count + 1, [shown(count, 50)]), FIRST)
    assert (finding.violations, [row["seq"] for row in finding.offenders]) == (count, list(range(min(count, 10))))
    late = expiry.late(
        history(count, [shown(seq, 50 + seq) for seq in range(count)]), [{"reader": 0, "began_ns": 9e18}], 1
    )
    assert (late.violations, [row["seq"] for row in late.offenders]) == (count, list(range(min(count, 10))))


def test_late_in_full() -> None:
    """An attempt at 20 s: 0 to 2 were over-age, and 2 and 0 are shown, in that order; 3 was not over-age."""
    rows = [shown(2, 70, batch=4, slot=2, partition=3), shown(0, 71), shown(3, 72), shown(1, 5, reader=1)]
    index = history(4, rows, step_ns=3_333 * MS)
    assert expiry.late(index, [{"reader": 0, "began_ns": 20_000 * MS}], LIMIT_S) == Finding(
        "retention.by_age",
        observations=3,
        violations=2,
        offenders=(
            {"producer": 0, "seq": 2, "key": 7, **place_of(rows[0])},
            {"producer": 0, "seq": 0, "key": 7, **place_of(rows[1])},
        ),
    )


@pytest.mark.parametrize(("began_ns", "late"), [(10_002 * MS + 4, 0), (10_002 * MS + 5, 1), (10_002 * MS + 6, 1)])
def test_late_is_after_the_limit_the_grace_and_the_clock_s_tolerance(began_ns: int, late: int) -> None:
    index = history(1, [shown(0, 50)])
    for limit_s, grace_s, more_ns in ((10.0, 0.0, 0), (9.0, 1.0, 0), (10.0, 1.0, 1_000 * MS)):
        finding = expiry.late(index, [{"reader": 0, "began_ns": began_ns + more_ns}], limit_s, grace_s)
        assert (finding.observations, finding.violations) == (late, late)
    assert expiry.late(index, [{"reader": 0, "began_ns": began_ns}], LIMIT_S).violations == late


def test_late_counts_every_attempt_and_acknowledged_sends_alone() -> None:
    rows = [shown(0, 50), shown(1, 51), shown(1, 60, reader=1)]
    attempts = [{"reader": reader, "began_ns": 100_000 * MS} for reader in (0, 1)]
    finding = expiry.late(history(2, rows, s0=Outcome.UNKNOWN), attempts, LIMIT_S)
    assert (finding.observations, finding.violations) == (2, 2)
    assert [row["reader"] for row in finding.offenders] == [0, 1]


@pytest.mark.parametrize(("first", "late"), [({}, 0), ({"0": 11}, 1), ({"0": 12}, 2), ({"1": 99}, 0)])
def test_what_the_broker_says_is_gone_must_not_be_read(first: Mapping[str, int], late: int) -> None:
    """Long before the limit; message 2 is kept by what it says, and 1 was not read."""
    rows = [shown(0, 50), shown(2, 51)]
    finding = expiry.late(history(3, rows), [{"reader": 0, "began_ns": 40, "first": first}], LIMIT_S)
    assert (finding.observations, finding.violations) == (late, min(late, 1))
    assert [row["seq"] for row in finding.offenders] == [0][:late]


def test_what_is_over_age_and_said_to_be_gone_is_one_violation() -> None:
    attempt = {"reader": 0, "began_ns": 100_000 * MS, "first": {"0": 11}}
    finding = expiry.late(history(2, [shown(0, 50)]), [attempt], LIMIT_S)
    assert (finding.observations, finding.violations) == (2, 1)


def kept(index: ChannelIndex, first: Mapping[str, int], after: Mapping[str, int], reader: int = 0) -> Finding:
    return expiry.newest_kept(index, [{"reader": reader, "began_ns": 0, "first": first, "first_after": after}])


def test_kept_by_size_in_full() -> None:
    """0 and 1 are said to be gone before the read, 2 after it: between, nothing is said of it. 3 is said to be kept and
    was passed, 4 was read, 5 not passed.
    """
    rows = [shown(1, 50), shown(4, 51), shown(5, 52, reader=1)]
    assert kept(history(6, rows), {"0": 12}, {"0": 13}) == Finding(
        "retention.by_size",
        observations=4,
        violations=2,
        open=1,
        offenders=(
            {"producer": 0, "seq": 1, "key": 7, "partition": 0, "place": 11, "kind": "said to be gone, and read"},
            {"producer": 0, "seq": 3, "key": 7, "partition": 0, "place": 13, "kind": "said to be kept, and not read"},
        ),
    )


def test_an_honest_suffix_is_kept() -> None:
    rows = [shown(seq, 50 + seq) for seq in (2, 3, 4)]
    assert kept(history(5, rows), {"0": 12}, {"0": 12}) == Finding("retention.by_size", observations=5)
    nothing_said = kept(history(5, rows), {}, {})
    assert (nothing_said.observations, nothing_said.open) == (0, 0)
    other_partition = kept(history(5, rows), {"1": 99}, {"1": 0})
    assert (other_partition.observations, other_partition.open) == (0, 0)


def test_without_a_read_nothing_is_known_of_a_size() -> None:
    why = "nothing was read from the beginning"
    assert expiry.newest_kept(history(2, []), []) == Finding("retention.by_size", not_testable=why)


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.REJECTED])
def test_by_size_only_acknowledged_sends_are_judged(outcome: Outcome) -> None:
    finding = kept(history(3, [shown(0, 50), shown(2, 51)], s0=outcome, s1=outcome), {"0": 11}, {"0": 11})
    assert (finding.observations, finding.violations, finding.open) == (1, 0, 0)


def test_a_send_without_a_place_is_not_judged_by_size() -> None:
    sent, settled = sends([7, 7])
    settled[0].update(place=-1)
    settled[1].update(place=5)
    finding = kept(indexed(sent, settled, [got(1, 50, place=5)]), {"0": 3}, {"0": 3})
    assert (finding.observations, finding.violations, finding.open) == (1, 0, 0)


def test_when_a_message_was_last_looked_for_before_its_limit() -> None:
    """Seen at 50, passed at 60; the second reader comes to 1 at its limit, and to nothing else."""
    rows = [shown(0, 50), shown(2, 60), shown(1, 10_000 * MS, reader=1)]
    index = history(4, rows)
    assert expiry.seen_until_ns(index, [FIRST], LIMIT_S).tolist() == [50, 60, 60, -1]
    assert expiry.seen_until_ns(index, [FIRST, SECOND], LIMIT_S).tolist() == [50, 60, 60, -1]
    later = [*rows[:2], shown(1, 10_000 * MS - 1, reader=1)]
    found = expiry.seen_until_ns(history(4, later), [FIRST, SECOND], LIMIT_S)
    assert found.tolist() == [10_000 * MS - 1, 10_000 * MS - 1, 60, -1]
    assert expiry.seen_until_ns(index, [], LIMIT_S).tolist() == [-1] * 4
