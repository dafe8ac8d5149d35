"""The replay checker on histories typed by hand: what each attempt brought, held against the first deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.analysis import delivery, replay
from brokerbench.scenarios.base import Measured
from brokerbench.scenarios.history import History
from brokerbench.scenarios.history.stamp import FOREIGN
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.analysis.replays import ACK, REPLAY, again, attempt, counts, findings, history
from tests.scenarios.checkers.histories import CHANNEL, counted, got, settle


def test_a_history_without_producers_shows_nothing() -> None:
    shown = replay.examine(History({}, {}, {}, {}, []))
    assert (shown.findings, shown.metrics) == ([], [])


NAMES = [
    "replay.from_beginning",
    "replay.from_position",
    "replay.from_time",
    "replay.independent_reader",
    "replay.complete",
    "replay.intact",
    "replay.order",
    "replay.time_offset",
    "delivery.no_loss",
    "delivery.no_phantom",
    "delivery.no_duplicate",
    "delivery.intact",
    "delivery.progress",
    *delivery.CONSISTENCY,
]


def test_everything_that_a_run_shows() -> None:
    """Three messages; each mode reads once, from_time from 5 ms after the first one's time."""
    ms, base = 1_000_000, 10**18
    firsts = [got(seq, 10 + seq, broker_epoch_ns=base + 20 * ms * seq) for seq in range(3)]
    rows = [
        *(again(seq, 2000 + 1000 * seq, broker_epoch_ns=base + 20 * ms * seq) for seq in range(3)),
        *(again(seq, 6000 + seq, REPLAY + 1, broker_epoch_ns=base + 20 * ms * seq) for seq in (1, 2)),
        *(again(seq, 7000 + seq, REPLAY + 2, broker_epoch_ns=base + 20 * ms * seq) for seq in (1, 2)),
        *(again(seq, 8000 + seq, REPLAY + 3, broker_epoch_ns=base + 20 * ms * seq) for seq in range(3)),
    ]
    attempts = [
        attempt(),
        attempt("from_position", REPLAY + 1, places={"0": 1}),
        attempt("from_time", REPLAY + 2, asked_epoch_ns=base + 5 * ms, resolution_ns=2 * ms),
        attempt("independent_reader", REPLAY + 3),
    ]
    marks = [{"event": "drained", "channel": CHANNEL, "group": "first", "at_ns": 50}]
    whole = history([1, 1, 2], [*firsts, *rows], attempts, [settle(row, ACK, 20) for row in firsts], marks)
    shown = replay.examine(whole)
    nothing_again = counted(legal_redeliveries=0)
    assert list(shown.findings)[: -len(delivery.CONSISTENCY)] == [
        Finding("replay.from_beginning", 1),
        Finding("replay.from_position", 1),
        Finding("replay.from_time", 1),
        Finding("replay.independent_reader", 1),
        Finding("replay.complete", 10),
        Finding("replay.intact", 10),
        Finding("replay.order", 2),
        Finding("replay.time_offset", 1, samples=(15.0,), remarks=("clock: append, resolution 2 ms",)),
        Finding("delivery.no_loss", 3, remarks=("after a proven drain",)),
        Finding("delivery.no_phantom", 3, remarks=(counted(never_sent=0, rejected=0),)),
        Finding("delivery.no_duplicate", 3, remarks=(nothing_again,)),
        Finding("delivery.intact", 3),
        Finding("delivery.progress", 3, samples=shown.findings[12].samples),
    ]
    note = "not a benchmark figure: cells run side by side"
    rates = {"from_beginning": (3 / 3000 * 1e9, 1e-3), "from_position": (2 / 5002 * 1e9, 5001e-6)}
    rates["from_time"] = (2 / 6002 * 1e9, 6001e-6)
    assert list(shown.metrics) == [
        measured
        for mode, (rate, first_ms) in rates.items()
        for measured in (
            Measured(
                "replay_rate",
                "msg/s",
                (pytest.approx(rate, rel=1e-12),),
                {"mode": mode},
                better="higher",
                note=note,
                comparable=False,
            ),
            Measured(
                "replay_first_message",
                "ms",
                (pytest.approx(first_ms, rel=1e-12),),
                {"mode": mode},
                better="lower",
                note=note,
                comparable=False,
            ),
        )
    ]


def test_speeds_of_several_attempts_stand_together_and_empty_ones_are_left_out() -> None:
    rows = [again(0, 2000), again(0, 3000, REPLAY + 1)]
    attempts = [attempt(number=REPLAY + at, began_ns=1000) for at in range(3)]
    shown = replay.examine(history([1], [got(0, 10), *rows], attempts))
    assert [measured.samples for measured in shown.metrics] == [
        pytest.approx((1e9 / 2000, 1e9 / 1000)),
        pytest.approx((1e-3, 2e-3)),
    ]


def test_a_refusal_is_a_failed_attempt_and_leaves_nothing_to_test() -> None:
    refused = {"event": "attempt", "outcome": "refused", "reader": -1}
    attempts = [
        {**refused, "mode": "from_beginning", "reason": "no reader"},
        {**refused, "mode": "from_beginning", "reason": "no reader"},
        {**refused, "mode": "from_position", "reason": "no positions"},
        {**refused, "mode": "independent_reader", "reason": "one group"},
    ]
    found = findings(history([1], [got(0, 10)], attempts))
    offender = {"mode": "from_beginning", "reader": -1, "outcome": "refused", "reason": "no reader"}
    assert found["replay.from_beginning"] == Finding(
        "replay.from_beginning", 2, 2, offenders=(offender, offender), remarks=("no reader",)
    )
    assert found["replay.from_position"].violations == 1
    assert found["replay.from_time"] == Finding("replay.from_time")
    alone = {"mode": "independent_reader", "reader": -1, "outcome": "refused", "reason": "one group"}
    assert found["replay.independent_reader"] == Finding(
        "replay.independent_reader", 1, 1, offenders=(alone,), remarks=("one group",)
    )
    for name in ("complete", "intact", "order", "time_offset"):
        why = "nothing was replayed: no reader; no positions; one group"
        assert found[f"replay.{name}"] == Finding(f"replay.{name}", not_testable=why)
    assert list(found) == NAMES
    never_tried = findings(history([1], [got(0, 10)]))
    assert never_tried["replay.order"].not_testable == "nothing was replayed: the experiment ended before"


@pytest.mark.parametrize(
    ("outcome", "expected"), [("read", (1, 1, 0)), ("looked", (1, 1, 0)), ("ended early", (0, 0, 1))]
)
def test_an_attempt_that_brought_nothing_known_failed_unless_it_ended_early(
    outcome: str, expected: tuple[int, int, int]
) -> None:
    stray = again(-1, 50, place=-1, status=FOREIGN)
    doubtful = again(1, 51)
    whole = history([1, 1], [got(0, 10), got(1, 11), stray, doubtful], [attempt(outcome=outcome)], s1=Outcome.UNKNOWN)
    finding = findings(whole)["replay.from_beginning"]
    assert counts(finding) == expected
    said = {"mode": "from_beginning", "reader": REPLAY, "outcome": outcome}
    assert finding.offenders == (said,) * expected[1]


def test_attempts_are_counted_one_by_one() -> None:
    attempts = [
        attempt(number=REPLAY, outcome="ended early"),
        attempt(number=REPLAY + 1, reason="slow"),
        attempt(number=REPLAY + 2, outcome="ended early", reason="late"),
        attempt(number=REPLAY + 3, reason="slow"),
    ]
    whole = history([1], [got(0, 10), again(0, 50, REPLAY + 1)], attempts)
    finding = findings(whole)["replay.from_beginning"]
    failed = {"mode": "from_beginning", "reader": REPLAY + 3, "outcome": "read", "reason": "slow"}
    assert finding == Finding("replay.from_beginning", 2, 1, open=2, offenders=(failed,), remarks=("slow", "late"))
    assert findings(whole)["replay.complete"].note == "reader 100 ended early; reader 102 ended early"


@pytest.mark.parametrize("mode", ["from_beginning", "independent_reader"])
@pytest.mark.parametrize("count", [9, 10, 11])
def test_ten_failed_attempts_are_named(count: int, mode: str) -> None:
    refused = {"event": "attempt", "mode": mode, "outcome": "refused", "reason": "no"}
    attempts = [{**refused, "reader": number} for number in range(count)]
    finding = findings(history([1], [], attempts))[f"replay.{mode}"]
    assert finding.violations == count
    assert [row["reader"] for row in finding.offenders] == list(range(min(count, 10)))


def independent(
    rows: Sequence[dict[str, int]],
    *made: Mapping[str, Any],
    settles: Sequence[dict[str, int]] = (),
    drained: bool = True,
    **outcomes: Outcome,
) -> Finding:
    marks = [{"event": "drained", "channel": CHANNEL, "group": "first" if drained else "second", "at_ns": 50}]
    whole = history([1, 1], rows, made, settles, marks, **outcomes)
    return findings(whole)["replay.independent_reader"]


BOTH = [got(0, 10), got(1, 11)]
REREAD = [again(0, 50), again(1, 51)]


def test_an_independent_reader_that_sees_everything() -> None:
    made = attempt("independent_reader")
    assert counts(independent([*BOTH, *REREAD], made)) == (1, 0, 0)
    assert counts(independent([*BOTH, *REREAD], made, drained=False)) == (0, 0, 1)
    assert counts(independent([*BOTH, *REREAD], {**made, "outcome": "ended early"})) == (0, 0, 1)
    assert counts(independent([*BOTH, REREAD[1]], made)) == (1, 1, 0)
    reasons = independent([*BOTH, *REREAD], {**made, "reason": "one"}, {**made, "reason": "two"}).note
    assert reasons == "one; two"
    several = [*BOTH, *REREAD], {**made, "outcome": "ended early"}, {**made, "outcome": "ended early"}, made
    assert counts(independent(*several)) == (1, 0, 2)


def test_a_group_that_lost_or_got_a_message_twice_was_disturbed() -> None:
    made = attempt("independent_reader")
    failed = {"mode": "independent_reader", "reader": REPLAY, "outcome": "read"}
    lost = independent([BOTH[0], *REREAD], made)
    assert lost == Finding("replay.independent_reader", 1, 1, offenders=(failed,))
    twice = [*BOTH, got(0, 40), *REREAD]
    assert counts(independent(twice, made, settles=[settle(BOTH[0], ACK, 12)])) == (1, 1, 0)
    assert counts(independent(twice, made)) == (1, 0, 0)
    # What another group got, or lost, disturbs nobody.
    elsewhere = [*BOTH, got(0, 40, reader=1), *REREAD]
    assert counts(independent(elsewhere, made, settles=[settle(BOTH[0], ACK, 12)])) == (1, 0, 0)


@pytest.mark.parametrize(
    ("outcome", "rows", "expected"),
    [
        ("looked", [got(0, 40, reader=1), got(1, 41, reader=1)], (1, 0, 0)),
        ("looked", [got(0, 40, reader=1)], (1, 1, 0)),
        ("ended early", [got(0, 40, reader=1)], (0, 0, 1)),
        ("ended early", [got(0, 40, reader=1), got(1, 41, reader=1)], (1, 0, 0)),
    ],
)
def test_two_groups_both_get_everything(
    outcome: str, rows: list[dict[str, int]], expected: tuple[int, int, int]
) -> None:
    made = attempt("independent_reader", 1, outcome=outcome, producer=0, readers=[0, 1], reason="two groups")
    finding = independent([*BOTH, *rows], made)
    assert counts(finding) == expected
    said = {"mode": "independent_reader", "reader": 1, "outcome": outcome, "reason": "two groups", "missing": [0, 1]}
    assert finding.offenders == (said,) * expected[1]
    assert finding.note == "two groups"
    # Such a round is no replay: nothing is held against it.
    assert findings(history([1, 1], BOTH, [made]))["replay.complete"].not_testable
    assert counts(independent([*BOTH, *rows], made, made)) == tuple(2 * count for count in expected)


def test_two_groups_are_asked_about_acknowledged_messages_of_their_producer_alone() -> None:
    made = attempt("independent_reader", 1, outcome="looked", producer=0, readers=[0, 1])
    rows = [*BOTH, got(0, 40, reader=1)]
    assert counts(independent(rows, made, s1=Outcome.UNKNOWN)) == (1, 0, 0)
    assert counts(independent(rows, {**made, "producer": 7})) == (1, 0, 0)
    assert independent(BOTH, made).offenders[0]["missing"] == [0, 2]


def test_time_offsets() -> None:
    ms, base = 1_000_000, 10**18
    rows = [
        again(0, 50, broker_epoch_ns=base + 7 * ms),
        again(1, 51, broker_epoch_ns=base + 3 * ms),
        again(0, 52, REPLAY + 1, broker_epoch_ns=base - ms // 2),
    ]
    asked = {"asked_epoch_ns": base, "clock": "append"}
    attempts = [
        attempt("from_time", REPLAY, **asked),
        attempt("from_time", REPLAY + 1, **{**asked, "clock": "server"}, resolution_ns=123_456_600),
        attempt("from_time", REPLAY + 2, **asked),
        {"event": "attempt", "mode": "from_time", "reader": 0, "outcome": "refused", "reason": "no", **asked},
        attempt("from_beginning", REPLAY),
        attempt("from_time", REPLAY, **asked),
    ]
    whole = history([1, 1], [got(0, 10), got(1, 11), *rows], attempts)
    assert findings(whole)["replay.time_offset"] == Finding(
        "replay.time_offset",
        observations=3,
        samples=(3.0, -0.5, 3.0),
        remarks=("clock: append, resolution 2 ms", "clock: server, resolution 123.457 ms"),
    )


def test_a_replay_is_no_group_whose_redeliveries_are_counted() -> None:
    rows = [got(0, at_ns, reader=number) for number in range(3) for at_ns in (10, 20)]
    finding = findings(history([1], [*rows, again(0, 50)], [attempt()]))["delivery.no_duplicate"]
    assert finding.note == "1 redeliveries of messages that were not acknowledged (legal)"


def test_what_the_consumers_got_is_judged_apart_from_the_replays() -> None:
    """Each group on its own for duplicates; replays neither lose, nor add, nor repeat for the groups."""
    marks = [
        {"event": "drained", "channel": CHANNEL, "group": "second", "at_ns": 60},
        {"event": "timeout", "channel": CHANNEL, "what": "no drain", "waited_s": 2},
    ]
    firsts = [got(0, 10), got(0, 11, reader=1), got(0, 40)]
    damaged = got(1, 41, reader=1, checksum=4)
    rows = [again(1, 50), again(5, 51, place=70), again(0, 52, checksum=3)]
    whole = history([1, 1, 1], [*firsts, damaged, *rows], [attempt()], [settle(firsts[0], ACK, 12)], marks)
    found = findings(whole)
    loss = found["delivery.no_loss"]
    assert (counts(loss), loss.note) == ((3, 1, 0), "after a proven drain; no drain after 2 s")
    assert counts(found["delivery.no_phantom"]) == (4, 0, 0)
    assert counts(found["delivery.no_duplicate"]) == (1, 1, 0)
    assert counts(found["delivery.intact"]) == (4, 1, 0)
    assert counts(found["replay.intact"]) == (2, 1, 0)
