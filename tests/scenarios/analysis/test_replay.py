"""The replay checker on histories typed by hand: what each attempt brought, held against the first deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.analysis import delivery, replay
from brokerbench.scenarios.base import Measured
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.history import Action, History
from brokerbench.scenarios.history.stamp import CORRUPT, FOREIGN
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import CHANNEL, counted, got, place_of, producer, reader, sends, settle, table

ACK = Action.ACKNOWLEDGE
REPLAY = 100


def attempt(mode: str = "from_beginning", number: int = REPLAY, **said: Any) -> dict[str, Any]:
    return {
        "event": "attempt",
        "mode": mode,
        "reader": number,
        "began_ns": 1000,
        "outcome": "read",
        "last": {"0": 100},
        "clock": "append",
        "resolution_ns": 2_000_000,
        **said,
    }


def again(seq: int, at_ns: int, number: int = REPLAY, **other: int) -> dict[str, int]:
    return got(seq, at_ns, reader=number, **other)


def history(
    keys: Sequence[int],
    deliveries: Sequence[dict[str, int]],
    attempts: Sequence[Mapping[str, Any]] = (),
    settles: Sequence[dict[str, int]] = (),
    marks: Sequence[Mapping[str, Any]] = (),
    **outcomes: Outcome,
) -> History:
    """Producer 0; reader 0 of the group ``first``, readers 1 and 2 of two others; 100 to 103 replay."""
    sent, settled = sends(keys, **outcomes)
    consumers = [reader(0, group="first"), reader(1, group="second"), reader(2, group="third")]
    replayers = [reader(REPLAY + number, kind="replay", group="") for number in range(4)]
    return History(
        table("sends", sent),
        table("send_outcomes", settled),
        table("deliveries", deliveries),
        table("acknowledgements", settles),
        [producer(0), *consumers, *replayers, *marks, *attempts],
    )


def judged(whole: History, made: Mapping[str, Any]) -> tuple[Finding, Finding]:
    """What ``complete`` and ``in_first_order`` say of one attempt."""
    it, first = taken(whole)
    return replay.complete(it, first, made), replay.in_first_order(it, first, made)


def taken(whole: History) -> tuple[ChannelIndex, replay.First]:
    it = channel_index.of_channel(whole, CHANNEL)
    return it, replay.first_deliveries(it, it.delivered.to([0]))


def test_first_deliveries() -> None:
    rows = [
        got(1, 10, partition=3, place=40, broker_epoch_ns=2**60 + 1),
        got(0, 11, partition=4, place=50, broker_epoch_ns=2**60 + 2),
        got(1, 12, partition=5, place=60, broker_epoch_ns=2**60 + 3),
        got(3, 13, partition=6, place=70, broker_epoch_ns=2**60 + 4),
    ]
    _, first = taken(history([1] * 4, rows, s3=Outcome.UNKNOWN))
    assert first.index.tolist() == [1, 0, -1, 3]
    assert first.partition.tolist() == [4, 3, -1, 6]
    assert first.place.tolist() == [50, 40, -1, 70]
    assert first.epoch_ns.tolist() == [2**60 + 2, 2**60 + 1, -1, 2**60 + 4]
    assert first.expected.tolist() == [True, True, False, False]
    _, nothing = taken(history([1, 1], []))
    for column in (nothing.index, nothing.partition, nothing.place, nothing.epoch_ns):
        assert column.tolist() == [-1, -1]
    assert nothing.expected.tolist() == [False, False]


def test_a_whole_replay_is_complete_and_in_order() -> None:
    rows = [got(seq, 10 + seq) for seq in range(3)] + [again(seq, 20 + seq) for seq in range(3)]
    complete, order = judged(history([1, 1, 2], rows), attempt())
    assert complete == Finding("replay.complete", observations=3)
    assert order == Finding("replay.order", observations=1)


def test_missing_repeated_extra_and_beyond_in_full() -> None:
    """Partition 0 holds 0, 2, 4 and 6, partition 1 holds 1, 3 and 5; 6 was sent with unknown fate, 7 rejected."""
    places = {0: (0, 10), 2: (0, 12), 4: (0, 14), 6: (0, 13), 1: (1, 20), 3: (1, 21), 5: (1, 22), 8: (1, 23)}
    firsts = [
        got(seq, 10 + seq, partition=partition, place=place) for seq, (partition, place) in sorted(places.items())
    ]
    rows = [
        again(0, 50, partition=0, place=10),
        again(4, 51, partition=0, place=14),
        again(0, 52, batch=8, slot=3, partition=0, place=10),
        again(1, 53, partition=1, place=20),
        again(-1, 54, partition=1, place=-1, status=FOREIGN),
        again(-1, 55, partition=1, place=-1, status=CORRUPT),
        again(7, 56, partition=0, place=9),
    ]
    whole = history([5, 6, 7, 8, 9, 5, 6, 7, 8], [*firsts, *rows], s6=Outcome.UNKNOWN, s7=Outcome.REJECTED)
    made = attempt(outcome="ended early", last={"0": 14, "1": 22})
    where = {"mode": "from_beginning", "reader": REPLAY}
    assert judged(whole, made)[0] == Finding(
        "replay.complete",
        observations=7,
        violations=4,
        open=2,  # 3 and 5; 8 came after the end that the attempt was to have
        offenders=(
            {"kind": "missing", **where, "producer": 0, "seq": 2, "key": 7, "partition": 0, "place": 12},
            {"kind": "repeated", **where, "producer": 0, "seq": 0, "key": 5, **place_of(rows[2])},
            {"kind": "extra", **where, **place_of(rows[4])},
            {"kind": "extra", **where, "producer": 0, "seq": 7, "key": 7, **place_of(rows[6])},
        ),
        remarks=("reader 100 ended early",),
    )


@pytest.mark.parametrize("count", [9, 10, 11])
def test_ten_offenders_are_named_the_missing_first(count: int) -> None:
    firsts = [got(seq, 10 + seq) for seq in range(count + 1)]
    last = again(count, 50)
    missing = judged(history([1] * (count + 1), [*firsts, last]), attempt())[0]
    assert (missing.observations, missing.violations) == (count + 1, count)
    assert [row["seq"] for row in missing.offenders] == list(range(min(count, 10)))
    strays = [again(-1, 60 + at, place=-1, status=FOREIGN) for at in range(count)]
    extra = judged(history([1], [got(0, 10), again(0, 50), *strays]), attempt())[0]
    assert (extra.observations, extra.violations) == (count + 1, count)
    assert [row["received_ns"] for row in extra.offenders] == [60 + at for at in range(min(count, 10))]
    both = judged(history([1] * (count + 1), [*firsts, last, *strays]), attempt())[0]
    assert both.violations == 2 * count
    assert [row["kind"] for row in both.offenders] == ["missing"] * min(count, 10) + ["extra"] * (10 - min(count, 10))


@pytest.mark.parametrize("read_to", [11, 12, 13])
def test_what_lies_up_to_the_highest_place_read_must_have_come(read_to: int) -> None:
    """Message 1 lies at place 12; the replay shows message 0, delivered once more from ``read_to``."""
    firsts = [got(0, 10, place=10), got(1, 11, place=12)]
    whole = history([1, 1], [*firsts, again(0, 50, place=read_to)])
    finding = judged(whole, attempt(last={"0": 12}))[0]
    assert (finding.violations, finding.open) == ((1, 0) if read_to >= 12 else (0, 1))
    assert judged(whole, attempt(last={"0": 11}))[0].open == 0
    assert judged(whole, attempt(last={"1": 99}))[0].open == 0
    assert judged(whole, attempt(last={"0": 99, "1": 0}))[0].open == (1 if read_to < 12 else 0)


@pytest.mark.parametrize(
    ("kept_from", "kept_to", "expected"),
    [
        (10, 13, (2, 1, 0)),  # the broker says that it keeps the place of message 1, and has given nothing for long
        (10, 12, (1, 0, 1)),
        (13, 13, (1, 0, 1)),
    ],
)
def test_kept_and_never_given_is_missing(kept_from: int, kept_to: int, expected: tuple[int, int, int]) -> None:
    firsts = [got(0, 10, place=10), got(1, 11, place=12)]
    made = attempt(outcome="ended early", last={"0": 12}, kept_from={"0": kept_from}, kept_to={"0": kept_to})
    complete = judged(history([1, 1], [*firsts, again(0, 50, place=10)]), made)[0]
    assert counts(complete) == expected
    if expected[1]:
        assert complete.offenders[0]["seq"] == 1
    nothing_came = findings(history([1, 1], firsts, [made]))["replay.from_beginning"]
    assert counts(nothing_came) == ((1, 1, 0) if kept_from == 10 else (0, 0, 1))


def test_from_places() -> None:
    """From place 11 of partition 0 and 20 of partition 1: what lies before them, or elsewhere, was not asked for."""
    spots = [(0, 10), (0, 11), (0, 12), (1, 19), (1, 20), (2, 30)]
    firsts = [got(seq, 10 + seq, partition=spot[0], place=spot[1]) for seq, spot in enumerate(spots)]
    rows = [again(seq, 50 + seq, partition=spot[0], place=spot[1]) for seq, spot in enumerate(spots)]
    made = attempt("from_position", places={"0": 11, "1": "20"}, last={"0": 12, "1": 20, "2": 30})
    right = judged(history([1] * 6, [*firsts, rows[1], rows[2], rows[4]]), made)[0]
    assert right == Finding("replay.complete", observations=3)
    all_of_it = judged(history([1] * 6, [*firsts, *rows]), made)[0]
    assert (all_of_it.observations, all_of_it.violations, all_of_it.unknown) == (6, 3, 0)
    assert [(row["kind"], row["place"]) for row in all_of_it.offenders] == [("extra", 10), ("extra", 19), ("extra", 30)]
    nothing = judged(history([1] * 6, firsts), made)[0]
    assert (nothing.observations, nothing.violations, nothing.open) == (0, 0, 3)


@pytest.mark.parametrize(
    ("from_asked", "came", "not_come"),
    [
        (-11, (1, 1), (0, 0)),  # extra if it comes
        (-10, (1, 1), (0, 0)),
        (-9, (0, 0), (0, 0)),  # too near to tell
        (0, (1, 0), (1, 1)),  # asked for, inclusively
        (9, (1, 0), (1, 1)),
        (10, (1, 0), (1, 1)),
        (11, (1, 0), (1, 1)),
    ],
)
def test_from_a_time(from_asked: int, came: tuple[int, int], not_come: tuple[int, int]) -> None:
    asked = 10**18
    made = attempt("from_time", asked_epoch_ns=asked, resolution_ns=10)
    firsts = [got(0, 10, broker_epoch_ns=asked + from_asked), got(1, 11, broker_epoch_ns=asked + 50)]
    rows = [again(0, 50, broker_epoch_ns=asked + from_asked), again(1, 51, broker_epoch_ns=asked + 50)]
    seen = judged(history([1, 1], [*firsts, *rows]), made)[0]
    assert (seen.observations - 1, seen.violations) == came
    unseen = judged(history([1, 1], [*firsts, rows[1]]), made)[0]
    assert (unseen.observations - 1, unseen.violations, unseen.unknown) == (*not_come, 0)


def test_a_clock_without_error_divides_exactly() -> None:
    made = attempt("from_time", asked_epoch_ns=1000, resolution_ns=0)
    firsts = [got(0, 10, broker_epoch_ns=999), got(1, 11, broker_epoch_ns=1000)]
    rows = [again(0, 50, broker_epoch_ns=999), again(1, 51, broker_epoch_ns=1000)]
    finding = judged(history([1, 1], [*firsts, *rows]), made)[0]
    assert (finding.observations, finding.violations) == (2, 1)


def test_order_in_full() -> None:
    """Key 5 was first delivered as 2, 0, 3, 4; the replay brings 0, 2, 3. Key 6 comes back as before."""
    firsts = [got(2, 10), got(1, 11), got(0, 12), got(5, 13), got(3, 14), got(4, 15)]
    rows = [
        again(1, 50),
        again(0, 51, batch=7, slot=1, partition=3, place=33),
        again(2, 52, batch=7, slot=2, partition=4, place=44),
        again(5, 53),
        again(3, 54),
        again(2, 55),
    ]
    whole = history([5, 6, 5, 5, 5, 6], [*firsts, *rows])
    assert judged(whole, attempt("from_time"))[1] == Finding(
        "replay.order",
        observations=3,
        violations=1,
        offenders=(
            {
                "mode": "from_time",
                "producer": 0,
                "seq": 2,
                "key": 5,
                **place_of(rows[2]),
                "overtaken_by": {"producer": 0, "seq": 0, "key": 5},
            },
        ),
    )


@pytest.mark.parametrize("count", [9, 10, 11])
def test_ten_pairs_out_of_order_are_named(count: int) -> None:
    keys = [key for key in range(count) for _ in range(2)]
    firsts = [got(seq, 10 + seq) for seq in range(2 * count)]
    rows = [again(seq, 200 - seq) for seq in reversed(range(2 * count))]
    finding = judged(history(keys, [*firsts, *rows]), attempt())[1]
    assert (finding.observations, finding.violations, len(finding.offenders)) == (count, count, min(count, 10))


def findings(whole: History) -> dict[str, Finding]:
    return {finding.property: finding for finding in replay.examine(whole).findings}


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


def counts(finding: Finding) -> tuple[int, int, int]:
    return finding.observations, finding.violations, finding.open


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
