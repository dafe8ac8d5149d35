"""One replay against the first deliveries: complete, in order, from places and from times."""

from __future__ import annotations

import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.history.stamp import CORRUPT, FOREIGN
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.analysis.replays import REPLAY, again, attempt, counts, findings, history, judged, taken
from tests.scenarios.checkers.histories import got, place_of


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
