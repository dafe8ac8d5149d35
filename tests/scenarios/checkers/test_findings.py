"""Findings put together: of several channels, and of several shards of one."""

from __future__ import annotations

import pytest

from brokerbench.scenarios.checkers import findings
from brokerbench.scenarios.verdicts import Count, Finding
from tests.scenarios.checkers.histories import counted, typed

SEEN = counted(never_sent=3, rejected=10)


def sent(seq: int, producer: int = 0) -> dict[str, object]:
    return {"producer": producer, "seq": seq}


def place(received_ns: int, reader: int = 0, batch: int = 0, slot: int = 0) -> dict[str, object]:
    return {"received_ns": received_ns, "reader": reader, "batch": batch, "slot": slot}


def test_combined_adds_counts_and_keeps_what_was_said() -> None:
    parts = [
        Finding("p", 10, 2, (1.0, 2.0), 3, (sent(5), sent(1)), ("first",)),
        Finding("p", 20, 4, (0.5,), 6, (sent(0),), ("second", SEEN)),
        Finding("p", 1, remarks=("first",)),
        Finding("p", 100, 100, (9.0,), 100, (sent(9),), ("not to be seen",), not_testable="closed"),
    ]
    assert findings.combined("whole", iter(parts)) == Finding(
        "whole", 31, 6, (1.0, 2.0, 0.5), 9, (sent(5), sent(1), sent(0)), ("first", "second", SEEN)
    )


def test_combined_of_what_could_not_be_tested_gives_each_reason_once() -> None:
    parts = [Finding("p", not_testable=reason) for reason in ("closed", "absent", "closed")]
    assert findings.combined("whole", parts) == Finding("whole", not_testable="closed; absent")
    assert findings.combined("whole", []) == Finding("whole", not_testable="nothing was observed")


@pytest.mark.parametrize("count", [9, 10, 11])
def test_combined_names_ten_offenders(count: int) -> None:
    parts = [Finding("p", 1, offenders=(sent(seq),)) for seq in range(count)]
    assert findings.combined("whole", parts).offenders == tuple(sent(seq) for seq in range(min(count, 10)))
    backwards = [sent(seq) for seq in reversed(range(count))]
    assert findings.first_of(backwards) == tuple(sent(seq) for seq in range(min(count, 10)))


def test_first_of_goes_by_delivery_or_by_message() -> None:
    rows = [
        place(2, 0, 0, 0),
        place(1, 1, 0, 0),
        place(1, 0, 1, 0),
        place(1, 0, 0, 1),
        place(1, 0, 0, 0),
        place(10, 0, 0, 0),
    ]
    expected = [rows[at] for at in (4, 3, 2, 1, 0, 5)]
    # What a delivery says of its message does not decide.
    named = [{**row, **sent(len(rows) - at)} for at, row in enumerate(rows)]
    assert [{**row} for row in findings.first_of(rows)] == expected
    assert [row["received_ns"] for row in findings.first_of(named)] == [1, 1, 1, 1, 2, 10]
    messages = [sent(1, 1), sent(0, 1), sent(10, 0), sent(9, 0)]
    assert findings.first_of(messages) == (sent(9, 0), sent(10, 0), sent(0, 1), sent(1, 1))
    # What was never delivered stands before all others.
    assert findings.first_of([rows[4], sent(7, 7), rows[3]]) == (sent(7, 7), rows[4], rows[3])


def test_added_sorts_offenders_over_the_parts_and_adds_counts() -> None:
    parts = [
        Finding("p", 10, 2, unknown=1, open=3, offenders=(sent(5), sent(7)), remarks=(SEEN, counted(overtaken=2))),
        Finding("p", 20, 1, unknown=2, open=4, offenders=(sent(1),), remarks=(SEEN, counted(overtaken=5))),
        Finding("p", 99, 99, offenders=(sent(0),), not_testable="closed"),
    ]
    assert findings.added(parts) == Finding(
        "p",
        30,
        3,
        unknown=3,
        open=7,
        offenders=(sent(1), sent(5), sent(7)),
        remarks=(counted(never_sent=6, rejected=20), counted(overtaken=7)),
    )


def test_only_counts_are_added() -> None:
    parts = [Finding("p", 1, remarks=("2 s", counted("here", overtaken=number))) for number in (2, 5)]
    assert findings.added(parts).remarks == ("2 s", counted("here", overtaken=7))
    apart = [Finding("p", 1, remarks=(text,)) for text in ("2 s", "3 s")]
    assert findings.added(apart).remarks == ("2 s", "3 s")
    places = [Finding("p", 1, remarks=(counted(where, overtaken=1),)) for where in ("here", "there")]
    assert findings.added(places).remarks == (counted("here", overtaken=1), counted("there", overtaken=1))
    assert findings.added([Finding("p", 1), Finding("p", 1, remarks=("seen",))]).remarks == ("seen",)


def test_what_a_part_without_observations_says_is_not_said_of_the_whole() -> None:
    nothing, one, two = "nothing was released", counted(overtaken=1), counted(overtaken=2)
    saw = Finding("p", 5, remarks=(two,))
    assert findings.added([Finding("p", remarks=(nothing,)), saw]).remarks == (two,)
    assert findings.added([Finding("p", remarks=(one,)), saw]).remarks == (counted(overtaken=3),)
    assert findings.added([Finding("p", remarks=(nothing,))] * 2).remarks == (nothing,)
    # Unknown cases are something seen.
    assert findings.added([Finding("p", unknown=1, remarks=("undecided",)), saw]).remarks == ("undecided", two)
    # The words of those that saw something come first.
    parts = [Finding("p", remarks=(two,)), Finding("p", 1, remarks=("undecided",)), Finding("p", 1, remarks=(one,))]
    assert findings.added(parts).remarks == ("undecided", counted(overtaken=3))


def test_remarks_are_rendered_last() -> None:
    finding = Finding(
        "p",
        remarks=("seen", SEEN, counted("three consumers", overtaken=1, overlapping=0), counted(overtaken=4)),
    )
    assert finding.note == (
        "seen; 3 never sent, 10 rejected and delivered all the same; three consumers: 1 delivered before an earlier "
        "one, 0 delivered to another consumer while an earlier one was in process; 4 delivered before an earlier one"
    )
    assert finding.counts == {"never_sent": 3, "rejected": 10, "overtaken": 5, "overlapping": 0}
    assert (Finding("p").note, Finding("p").counts) == ("", {})
    assert all(str(counted(**{name: 2})).startswith("2 ") for name in Count)


def test_waits_that_ran_out_stand_in_the_note() -> None:
    marks = [
        {"event": "timeout", "channel": "c", "what": "no drain", "waited_s": 2.5},
        {"event": "timeout", "channel": "other", "what": "elsewhere", "waited_s": 1.0},
        {"event": "timeout", "channel": "c", "what": "no join", "waited_s": 30.0},
    ]
    index = typed([1], [], marks=marks)
    waits = ("no drain after 2.5 s", "no join after 30 s")
    seen = Finding("p", 7, remarks=("seen",))
    assert findings.with_waits(seen, index) == Finding("p", 7, remarks=("seen", *waits))
    assert findings.with_waits(Finding("p"), index).remarks == waits
    assert findings.with_waits(seen, typed([1], [])) == seen


def test_spread_keeps_few_samples_and_thins_many_evenly() -> None:
    assert findings.spread([3.0, 1.0, 2.0]) == (1.0, 2.0, 3.0)
    assert findings.spread([]) == ()
    assert findings.spread([3.0], most=1) == (3.0,)
    assert findings.spread([4.0, 3.0, 2.0, 1.0], most=4) == (1.0, 2.0, 3.0, 4.0)
    assert findings.spread([5.0, 4.0, 3.0, 2.0, 1.0], most=3) == (1.0, 3.0, 5.0)
    assert findings.spread([float(at) for at in range(1000)], most=4) == (0.0, 333.0, 666.0, 999.0)
    assert len(findings.spread(range(101))) == 100
    assert findings.spread(range(100)) == tuple(range(100))
    thinned = findings.spread(range(101))
    assert thinned[0] == 0
    assert thinned[-1] == 100
