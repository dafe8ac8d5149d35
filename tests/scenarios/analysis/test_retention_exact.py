"""Whole findings of retention, with every limit just below, at and just above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.analysis import retention as checker
from brokerbench.scenarios.analysis.retention_looks import NOT_SHOWN, watched
from brokerbench.scenarios.base import Measured
from brokerbench.scenarios.history import History
from brokerbench.scenarios.history.stamp import CORRUPT
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import table

S = 1_000_000_000
NO_LOOK = "nothing was watched"
ROLES = ("unread", "large", "size", "held", "acked")


def limit(
    role: str, age_s: float | None = None, size: int | None = None, messages: int | None = None
) -> dict[str, Any]:
    return {"event": "limit", "role": role, "age_s": age_s, "bytes": size, "messages": messages}


def look(role: str, at_ns: int, first: Mapping[str, int]) -> dict[str, Any]:
    return {"event": "look", "role": role, "asked_ns": at_ns - 5, "answered_ns": at_ns, "first": first}


def count(role: str, at_ns: int, kept: int) -> dict[str, Any]:
    return {"event": "look", "role": role, "asked_ns": at_ns - 5, "answered_ns": at_ns, "count": kept}


def history(
    sent: Mapping[str, Sequence[Mapping[str, int]]],
    marks: Sequence[Mapping[str, Any]] = (),
    deliveries: Sequence[Mapping[str, int]] = (),
) -> History:
    """By role: its producer's sends (number: the role's index), settled as a row says; else acknowledged at seq."""
    sends, settled, seen = [], [], []
    for role, rows in sent.items():
        number = ROLES.index(role)
        seen.append({"event": "producer", "producer": number, "role": role, "channel": role})
        for seq, row in enumerate(rows):
            sends.append({"producer": number, "seq": seq, "size": 100, **row})
            if row.get("outcome") != Outcome.UNKNOWN:
                settled.append({"producer": number, "seq": seq, "place": seq, **row})
    return History(
        table("sends", list(reversed(sends))),
        table("send_outcomes", settled),
        table("deliveries", [dict(row) for row in deliveries]),
        table("acknowledgements", []),
        [*seen, *marks],
    )


def findings(whole: History) -> dict[str, Finding]:
    return {finding.property: finding for finding in checker.examine(whole).findings}


def test_nothing_watched() -> None:
    shown = checker.examine(history({}))
    names = ["by_age", "by_size", "not_early", "overshoot", "overshoot_large_segment", "size_excess"]
    names += ["unread_survives", "unacknowledged_survives", "acknowledged_kept"]
    assert list(shown.findings) == [
        *(Finding(f"retention.{name}", not_testable=NO_LOOK) for name in names),
        Finding("delivery.intact", not_testable="nothing was delivered"),
    ]
    assert shown.metrics == []


def test_reasons_for_not_watching_are_given() -> None:
    marks = [
        {"event": event, "role": role, "reason": f"{event} {role}"}
        for role in ROLES
        for event in ("refused", "not_testable")
    ]
    found = findings(history({}, marks))
    assert found["retention.overshoot_large_segment"].not_testable == "not_testable large"
    assert found["retention.size_excess"].not_testable == "not_testable size"
    assert found["retention.by_size"] == Finding("retention.by_size", 1, 1, remarks=("refused: not_testable size",))
    assert found["retention.unread_survives"].not_testable == "not_testable unread"
    assert found["retention.unacknowledged_survives"].not_testable == "not_testable held"
    assert found["retention.acknowledged_kept"].not_testable == "not_testable acked"
    # What concerns the one channel whose age limit is always tried is said of nothing else.
    assert found["retention.overshoot"].not_testable == NO_LOOK
    refused = findings(history({}, [mark for mark in marks if mark["event"] == "refused"]))
    assert refused["retention.acknowledged_kept"].not_testable == "refused acked"


UNREAD = [{"sent_ns": at * S} for at in range(4)]


def test_age_in_full() -> None:
    """Four messages, a limit of 10 s: one is gone early, one in time, one late, one never."""
    marks = [
        limit("unread", 10.0),
        look("unread", 9 * S, {"0": 1}),
        look("unread", 11 * S, {"0": 2}),
        look("unread", 15 * S, {"0": 3}),
    ]
    shown = checker.examine(history({"unread": UNREAD}, marks))
    found = {finding.property: finding for finding in shown.findings}
    assert found["retention.by_age"] == Finding(
        "retention.by_age",
        observations=4,
        violations=1,
        offenders=({"role": "unread", "seq": 3},),
        remarks=("limit 10 s", "a violation is a message still there when the watch ended"),
    )
    assert found["retention.not_early"] == Finding(
        "retention.not_early",
        observations=4,
        violations=1,
        offenders=({"seq": 0, "gone_after_s": 9.0},),
        remarks=("each message was watched until it was gone",),
    )
    assert found["retention.overshoot"] == Finding(
        "retention.overshoot",
        observations=3,
        samples=(-1.0, 0.0, 3.0),
        sample_lows=(-1.0, 0.0, 0.0),
        remarks=("3 messages over a limit of 10 s",),
    )
    assert list(shown.metrics) == [Measured("overshoot", "s", (-1.0, 0.0, 3.0), {"segments": "small"}, better="lower")]


def test_the_large_segment_is_its_own_finding_and_adds_to_what_came_early() -> None:
    marks = [
        limit("unread", 1.0),
        look("unread", 9 * S, {"0": 4}),
        limit("large", 10.5),
        look("large", 9 * S, {"0": 1}),
    ]
    shown = checker.examine(history({"unread": UNREAD, "large": UNREAD[:2]}, marks))
    found = {finding.property: finding for finding in shown.findings}
    assert found["retention.overshoot_large_segment"] == Finding(
        "retention.overshoot_large_segment",
        1,
        samples=(-1.5,),
        sample_lows=(-1.5,),
        remarks=("1 messages over a limit of 10.5 s",),
    )
    early = found["retention.not_early"]
    assert (early.observations, early.violations) == (6, 1)
    assert early.offenders == ({"seq": 0, "gone_after_s": 9.0},)
    assert [measured.labels for measured in shown.metrics] == [{"segments": "small"}, {"segments": "default"}]
    alone = findings(history({"large": UNREAD[:2]}, marks[2:]))
    assert alone["retention.not_early"].observations == 2
    assert alone["retention.by_age"].not_testable == NO_LOOK
    kept = checker.examine(history({"unread": UNREAD}, [limit("unread", 1.0), look("unread", 9 * S, {"0": 0})]))
    assert kept.metrics == []


@pytest.mark.parametrize(("gone_ns", "early"), [(8_000_000 - 1, 1), (8_000_000, 0), (8_000_001, 0)])
def test_early_is_earlier_than_the_clocks_can_be_apart(gone_ns: int, early: int) -> None:
    marks = [limit("unread", 0.01), look("unread", gone_ns, {"0": 1})]
    assert findings(history({"unread": [{"sent_ns": 0}]}, marks))["retention.not_early"].violations == early


def test_gone_at_time_zero_is_gone() -> None:
    marks = [limit("unread", 1.0), look("unread", 0, {"0": 1})]
    found = findings(history({"unread": [{"sent_ns": 0}]}, marks))
    assert (found["retention.by_age"].violations, found["retention.not_early"].violations) == (0, 1)
    assert found["retention.overshoot"].samples == (-1.0,)
    assert len(checker.examine(history({"unread": [{"sent_ns": 0}]}, marks)).metrics) == 1


@pytest.mark.parametrize("number", [9, 10, 11])
def test_ten_offenders_are_named(number: int) -> None:
    sent = [{"sent_ns": 0}] * number
    kept = [limit("unread", 10.0), look("unread", S, {"0": 0})]
    finding = findings(history({"unread": sent}, kept))["retention.by_age"]
    assert (finding.violations, [row["seq"] for row in finding.offenders]) == (number, list(range(min(number, 10))))
    gone = [limit("unread", 10.0), look("unread", S, {"0": 99})]
    finding = findings(history({"unread": sent}, gone))["retention.not_early"]
    assert (finding.violations, [row["seq"] for row in finding.offenders]) == (number, list(range(min(number, 10))))
    both = [*gone, limit("large", 10.0), look("large", S, {"0": 99})]
    finding = findings(history({"unread": sent, "large": sent}, both))["retention.not_early"]
    assert (finding.violations, len(finding.offenders)) == (2 * number, 10)


def test_only_acknowledged_sends_of_the_role_are_watched() -> None:
    sent: list[dict[str, int]] = [{}, {"outcome": Outcome.UNKNOWN}, {"outcome": Outcome.REJECTED}, {}]
    marks = [limit("unread", 1.0), look("unread", S, {"0": 0})]
    part = watched(history({"large": [{}] * 2, "unread": sent}, marks), "unread")
    assert part is not None
    assert part.seq.tolist() == [0, 3]
    assert part.limit_ns == S


@pytest.mark.parametrize(
    "marks",
    [
        [look("unread", S, {"0": 0})],
        [limit("unread", None, 100), look("unread", S, {"0": 0})],
        [limit("unread", 1.0)],
        [limit("large", 1.0), look("large", S, {"0": 0})],
    ],
    ids=["no limit", "no age", "no look", "another role"],
)
def test_without_an_age_a_look_or_a_sender_nothing_is_watched(marks: list[dict[str, Any]]) -> None:
    assert watched(history({"unread": [{}]}, marks), "unread") is None
    both = [limit("unread", 1.0), look("unread", S, {"0": 0})]
    assert watched(history({}, both), "unread") is None
    assert watched(history({"unread": [{}]}, both), "unread") is not None


def test_each_partition_is_watched_by_itself() -> None:
    """What a look does not name was not seen to go, and a first place that falls back takes nothing back."""
    spots = [(0, 5), (0, 6), (1, 50), (1, 51), (2, 7)]
    sent = [{"sent_ns": 0, "partition": partition, "place": place} for partition, place in spots]
    marks = [
        limit("unread", 0.0),
        look("unread", 10, {"0": 5, "1": 50}),
        look("unread", 20, {"0": 6}),
        look("unread", 30, {"0": 5, "1": 51, "2": 7}),
        look("unread", 40, {"0": 7, "1": 51}),
    ]
    part = watched(history({"unread": sent}, marks), "unread")
    assert part is not None
    assert part.gone_ns.tolist() == [20, 40, 30, -1, -1]


def test_a_message_went_after_the_last_look_that_shows_it() -> None:
    """A look before the limit says nothing of the time beyond it, and none says nothing at all."""
    sent = [{"sent_ns": 0, "place": place} for place in range(5)]
    marks = [limit("unread", 10.0), look("unread", 9 * S, {"0": 1}), look("unread", 12 * S, {"0": 2})]
    marks += [look("unread", 12 * S + 100, {"0": 2}), look("unread", 14 * S, {"0": 4})]
    part = watched(history({"unread": sent}, marks), "unread")
    assert part is not None
    assert part.shown_ns.tolist() == [NOT_SHOWN, 9 * S - 5, 12 * S + 95, 12 * S + 95, 14 * S - 5]
    least, most = part.overshoot_s()
    assert (least.tolist(), most.tolist()) == ([-1.0, 0.0, 2.000000095, 2.000000095], [-1.0, 2.0, 4.0, 4.0])


@pytest.mark.parametrize(
    ("doubtful", "shown"), [(0, [15, 25, 25]), (1, [15, 15, 25]), (2, [NOT_SHOWN, 15, 15]), (4, [NOT_SHOWN] * 3)]
)
def test_a_count_shows_a_message_only_beyond_those_of_which_nothing_is_known(doubtful: int, shown: list[int]) -> None:
    """The counts are those of three acknowledged messages and one other that was kept."""
    sent = [{}] * 3 + [{"outcome": Outcome.UNKNOWN}] * doubtful
    marks = [limit("unread", 1.0), *(count("unread", at_ns, kept) for at_ns, kept in [(20, 4), (30, 2), (40, 0)])]
    part = watched(history({"unread": sent}, marks), "unread")
    assert part is not None
    assert part.shown_ns.tolist() == shown
    assert part.gone_ns.tolist() == [30, 40, 40]


def test_sends_without_a_place_are_never_seen_to_go() -> None:
    """Unsettled columns are -1; a look that names no partition shows nothing of it."""
    sent = [{"sent_ns": 0, "partition": -1, "place": -1}]
    part = watched(history({"unread": sent}, [limit("unread", 0.0), look("unread", 10, {"0": 5})]), "unread")
    assert part is not None
    assert part.gone_ns.tolist() == [-1]


@pytest.mark.parametrize(
    ("looks", "gone"),
    [
        ([(10, 3), (20, 2), (30, 0)], [20, 30, 30]),
        ([(10, 1), (20, 3), (30, 2)], [30, -1, -1]),  # still being sent at 10
        ([(10, 3), (15, 3), (20, 2), (30, 1)], [20, 30, -1]),
        ([(10, 3), (20, 1), (30, 2), (40, 0)], [20, 40, 40]),  # 1 was too few: it rose again
        ([(10, 2), (20, 0)], [10, 20, 20]),  # never more than two were seen
        ([(10, 0)], [10, 10, 10]),
        ([(5, 1), (10, 2), (20, 0)], [10, 20, 20]),
        ([(10, 5), (20, 3), (30, 2)], [30, -1, -1]),
    ],
)
def test_counts(looks: list[tuple[int, int]], gone: list[int]) -> None:
    marks = [limit("unread", 1.0), *(count("unread", at_ns, kept) for at_ns, kept in looks)]
    part = watched(history({"unread": [{}] * 3}, marks), "unread")
    assert part is not None
    assert part.gone_ns.tolist() == gone


def test_marks_of_other_roles_say_nothing_of_this_one() -> None:
    """They stand first: a limit, looks, readers and a second look of another role."""
    other = [limit("large", None, None, 1), {**look("large", S, {"0": 0}), "role": "large"}]
    sent = [{"partition": 0, "place": seq} for seq in range(10)]
    found = findings(history({"size": sent}, [*other, *size_marks({"0": 6}, None, 4)]))
    assert found["retention.size_excess"].samples == (0.0,)
    only_other = findings(history({"size": sent}, [*other, size_marks({"0": 6}, None, 4)[0]]))
    assert only_other["retention.size_excess"].not_testable == NO_LOOK
    no_limit = findings(history({"size": sent}, [*other, *size_marks({"0": 6}, None, 4)[1:]]))
    assert no_limit["retention.size_excess"].not_testable == NO_LOOK
    looked = [{"event": "looked", "role": "acked", "proven": True}]
    looked.append({"event": "reader", "reader": 1, "role": "acked", "stage": "before"})
    found = findings(history({"acked": [{}], "unread": [{}]}, looked))
    assert found["retention.unread_survives"].not_testable == NO_LOOK
    both = [*looked, {"event": "looked", "role": "unread", "proven": True}]
    found = findings(history({"acked": [{}], "unread": [{}] * 3}, both))
    assert found["retention.unread_survives"].observations == 3


def size_marks(first: Mapping[str, int], size: int | None, messages: int | None = None) -> list[dict[str, Any]]:
    return [limit("size", None, size, messages), look("size", S, {"0": 0, "1": 0}), look("size", 2 * S, first)]


def test_size_in_full() -> None:
    """Ten messages of 100 bytes in two partitions; a limit of 300 bytes, or of 4 messages."""
    sent = [{"partition": seq % 2, "place": seq} for seq in range(10)]
    found = findings(history({"size": sent}, size_marks({"0": 6, "1": 7}, 300)))
    assert found["retention.size_excess"].samples == pytest.approx((4 / 3 - 1,))
    assert found["retention.size_excess"].not_testable == ""
    assert found["retention.by_size"] == Finding("retention.by_size", 1, 0, remarks=("three times the limit was sent",))
    found = findings(history({"size": sent}, size_marks({"0": 6}, None, 4)))
    assert found["retention.size_excess"].samples == pytest.approx((-0.5,))
    for limit_messages in (3, 5):
        untouched = findings(history({"size": sent}, size_marks({"0": 0, "1": 0}, None, limit_messages)))
        assert untouched["retention.by_size"].violations == 1


@pytest.mark.parametrize(("kept", "violations"), [(298, 0), (299, 1), (300, 1)])
def test_what_removed_less_than_a_hundredth_removed_nothing(kept: int, violations: int) -> None:
    sent = [{"partition": 0, "place": seq} for seq in range(300)]
    found = findings(history({"size": sent}, size_marks({"0": 300 - kept}, None, 100)))
    assert found["retention.by_size"].violations == violations


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.REJECTED])
def test_what_may_have_been_kept_makes_an_interval_of_a_size(outcome: Outcome) -> None:
    sent = [{"partition": 0, "place": 0, "size": 70}, {"partition": 0, "place": 1, "size": 50, "outcome": outcome}]
    for marks, low, high in (
        (size_marks({"0": 0}, None, 1), 0.0, 1.0),
        (size_marks({"0": 9}, None, 1), -1.0, 0.0),
        (size_marks({"0": 0}, 100), -0.3, 0.2),
    ):
        whole = history({"unread": [{"partition": 0}] * 5, "size": sent}, marks)
        found = findings(whole)["retention.size_excess"]
        assert (found.sample_lows, found.samples) == (pytest.approx((low,)), pytest.approx((high,)))


def test_a_size_without_doubt_is_exact() -> None:
    whole = history({"unread": [{"outcome": Outcome.UNKNOWN}], "size": [{}]}, size_marks({"0": 0}, None, 1))
    assert findings(whole)["retention.size_excess"] == Finding("retention.size_excess", samples=(0.0,))


@pytest.mark.parametrize("marks", [size_marks({"0": 0}, 100)[:1], size_marks({"0": 0}, 100)[1:]])
def test_a_size_without_a_limit_or_a_look(marks: list[dict[str, Any]]) -> None:
    found = findings(history({"size": [{}]}, marks))
    assert found["retention.by_size"] == Finding("retention.by_size", not_testable=NO_LOOK)
    assert found["retention.size_excess"] == Finding("retention.size_excess", not_testable=NO_LOOK)


def second_look(role: str, seen: Sequence[Mapping[str, int]], *, proven: bool = True, before: bool = True) -> Finding:
    """Messages 0 to 3 of the role; reader 1 looked first (at 0, 1 and 2), readers 2 and 3 later."""
    number = ROLES.index(role)
    marks: list[dict[str, Any]] = [
        {"event": "reader", "reader": 2, "role": role, "stage": "after"},
        {"event": "reader", "reader": 3, "role": role, "stage": "after"},
        {"event": "reader", "reader": 4, "role": "other", "stage": "after"},
        {"event": "looked", "role": role, "proven": proven},
    ]
    if before:
        marks.append({"event": "reader", "reader": 1, "role": role, "stage": "before"})
    rows = [{"reader": 1, "producer": number, "seq": seq} for seq in (0, 1, 2, 2)]
    rows.append({"reader": 1, "producer": number, "seq": 9, "status": CORRUPT})
    rows += [{"reader": 2, "producer": number, **row} for row in seen]
    whole = history({role: [{}] * 4}, marks, rows)
    name = {"unread": "unread_survives", "held": "unacknowledged_survives", "acked": "acknowledged_kept"}[role]
    return findings(whole)[f"retention.{name}"]


@pytest.mark.parametrize(("role", "wanted"), [("unread", {0, 1, 2}), ("acked", {0, 1, 2}), ("held", {1, 2})])
def test_what_the_first_look_saw_is_wanted_at_the_second(role: str, wanted: set[int]) -> None:
    name = {"unread": "unread_survives", "held": "unacknowledged_survives", "acked": "acknowledged_kept"}[role]
    total = len(wanted)
    everything = second_look(role, [{"seq": seq} for seq in (0, 1, 2, 3)])
    assert everything == Finding(
        f"retention.{name}", total, 0, remarks=(f"{total} of {total} messages were seen again",)
    )
    one = second_look(role, [{"seq": 2}, {"seq": 2, "reader": 3}])
    assert one == Finding(f"retention.{name}", total, total - 1, remarks=(f"1 of {total} messages were seen again",))


@pytest.mark.parametrize(
    "stray",
    [{"seq": 1, "status": CORRUPT}, {"seq": 1, "producer": 9}, {"seq": 1, "reader": 4}, {"seq": 1, "reader": 1}],
)
def test_only_intact_deliveries_of_its_own_to_its_own_later_readers_count(stray: dict[str, int]) -> None:
    assert second_look("held", [stray]).violations == 2


def test_without_a_first_look_all_that_was_sent_is_wanted() -> None:
    finding = second_look("unread", [{"seq": 3}], before=False)
    assert (finding.observations, finding.violations) == (4, 3)


def test_an_unproven_look_proves_nothing() -> None:
    finding = second_look("acked", [{"seq": 1}], proven=False)
    why = "the second look did not see a fresh message either: it proves nothing"
    assert finding == Finding("retention.acknowledged_kept", not_testable=why)


def test_a_limit_is_rounded_once_from_its_nanoseconds() -> None:
    marks = [limit("unread", 1.234565001), look("unread", S, {"0": 1})]
    found = findings(history({"unread": [{"sent_ns": 0}]}, marks))
    assert found["retention.by_age"].note.startswith("limit 1.23457 s;")
    assert found["retention.overshoot"].note == "1 messages over a limit of 1.23457 s"


def test_a_hundred_samples_stand_as_they_are() -> None:
    ages = [at * 100_000_007 for at in range(100)]
    marks = [limit("unread", 0.0), look("unread", 0, {"0": 100})]
    finding = findings(history({"unread": [{"sent_ns": -age} for age in ages]}, marks))["retention.overshoot"]
    assert finding.samples == tuple(age / 1e9 for age in ages)


@pytest.mark.parametrize("number", [99, 100, 101])
def test_many_samples_become_a_hundred_quantiles(number: int) -> None:
    sent = [{"sent_ns": -seq * S} for seq in range(number)]
    marks = [limit("unread", 0.0), look("unread", 0, {"0": number})]
    finding = findings(history({"unread": sent}, marks))["retention.overshoot"]
    assert finding.observations == number
    assert finding.note == f"{number} messages over a limit of 0 s"
    assert len(finding.samples) == min(number, 100)
    assert list(finding.samples) == sorted(finding.samples)
    assert (finding.samples[0], finding.samples[-1]) == (0.0, number - 1.0)
    step = (number - 1) / (min(number, 100) - 1)
    assert finding.samples[1] == pytest.approx(step)
