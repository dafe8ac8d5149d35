"""Dead letters: missing, extra, altered; and what is due at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers import dead_letters
from brokerbench.scenarios.checkers.dead_letters import Letters
from brokerbench.scenarios.history import Action
from brokerbench.scenarios.history.stamp import CORRUPT, FOREIGN
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import got, settle, typed

KEYS = [7, 8, 9]
ACK, RELEASE, REJECT = Action.ACKNOWLEDGE, Action.RELEASE, Action.REJECT
DEAD_READER = {"event": "reader", "reader": 9, "kind": "consumer", "channel": "dead", "group": "d"}

FAILED_TWICE = [got(0, 10), got(0, 20)]
RELEASED_TWICE = [settle(row, RELEASE, row["received_ns"] + 1) for row in FAILED_TWICE]
DONE = [got(1, 30), got(2, 31)]
ACKNOWLEDGED = [settle(row, ACK, 35) for row in DONE]


def letter(seq: int, at_ns: int, place: int, **other: int) -> dict[str, int]:
    return got(seq, at_ns, reader=9, place=place, **other)


def of(
    found: Sequence[dict[str, int]],
    deliveries: Sequence[dict[str, int]] = (*FAILED_TWICE, *DONE),
    settles: Sequence[dict[str, int]] = (*RELEASED_TWICE, *ACKNOWLEDGED),
    *,
    all_seen: bool = True,
) -> Letters:
    """Two deliveries are allowed. Message 0 failed twice, messages 1 and 2 were acknowledged, unless said otherwise."""
    index = typed(KEYS, [*deliveries, *found], settles, [DEAD_READER])
    return dead_letters.of(index, index.delivered, "dead", 2, all_seen=all_seen)


def all_of(letters: Letters) -> tuple[Finding, Finding, Finding]:
    return (
        dead_letters.complete(letters, drained=True),
        dead_letters.only_failed(letters),
        dead_letters.intact(letters),
    )


def violations(letters: Letters) -> tuple[int, int, int]:
    complete, only_failed, intact = all_of(letters)
    return complete.violations, only_failed.violations, intact.violations


def test_what_failed_often_enough_and_nothing_else_is_found() -> None:
    for finding in all_of(of([letter(0, 50, place=0)])):
        assert (finding.observations, finding.violations, finding.unknown) == (1, 0, 0), finding.property


def test_a_missing_letter() -> None:
    finding = dead_letters.complete(of([]), drained=True)
    assert (finding.observations, finding.violations) == (1, 1)
    assert finding.offenders == ({"producer": 0, "seq": 0, "key": 7, "partition": 0, "place": 0},)
    finding = dead_letters.complete(of([]), drained=False)
    assert (finding.observations, finding.violations, finding.open) == (0, 0, 1)


@pytest.mark.parametrize("place", [0, 5])
def test_a_letter_of_what_was_acknowledged_is_extra_wherever_it_lies(place: int) -> None:
    letters = of([letter(0, 50, place=1), letter(2, 51, place=place)])
    (offender,) = dead_letters.only_failed(letters).offenders
    assert (offender["kind"], offender["seq"], offender["received_ns"]) == ("not due", 2, 51)
    assert violations(letters) == (0, 1, 0)


def test_one_failure_is_not_enough() -> None:
    letters = of([letter(0, 50, place=0)], FAILED_TWICE[:1], RELEASED_TWICE[:1])
    assert violations(letters) == (0, 1, 0)
    assert violations(of([], FAILED_TWICE[:1], RELEASED_TWICE[:1])) == (0, 0, 0)


def test_a_letter_that_comes_again_is_no_second_letter() -> None:
    assert violations(of([letter(0, 50, place=0), letter(0, 60, place=0)])) == (0, 0, 0)
    assert violations(of([letter(0, 50, place=-1), letter(0, 60, place=-1)])) == (0, 0, 0)
    twice = of([letter(0, 50, place=0), letter(0, 60, place=1)])
    (offender,) = dead_letters.only_failed(twice).offenders
    assert (offender["kind"], offender["seq"], offender["place"]) == ("twice", 0, 1)
    partitions = of([letter(0, 50, place=0), letter(0, 60, place=0, partition=1)])
    assert violations(partitions) == (0, 1, 0)


def test_a_letter_that_nobody_sent() -> None:
    for foreign in (letter(5, 51, place=1), letter(-1, 51, place=1, status=FOREIGN)):
        letters = of([letter(0, 50, place=0), foreign])
        (offender,) = dead_letters.only_failed(letters).offenders
        assert (offender["kind"], offender["received_ns"]) == ("never sent", 51)
        assert violations(letters) == (0, 1, 0)


@pytest.mark.parametrize("damage", [{"status": CORRUPT}, {"checksum": 5}, {"size": 63}])
def test_an_altered_letter_is_that_of_its_stamp(damage: dict[str, int]) -> None:
    letters = of([letter(0, 50, place=4, **damage)])
    assert violations(letters) == (0, 0, 1)
    (offender,) = dead_letters.intact(letters).offenders
    assert (offender["seq"], offender["key"], offender["place"]) == (0, 7, 4)


@pytest.mark.parametrize("claim", [{"seq": 1}, {"seq": 99}, {"seq": -1, "producer": -1}, {"producer": 3}])
def test_a_damaged_stamp_that_names_another_is_the_only_one_left(claim: dict[str, int]) -> None:
    status = FOREIGN if claim["seq" if "seq" in claim else "producer"] == -1 else CORRUPT
    letters = of([{**letter(0, 50, place=4, status=status), **claim}])
    assert dead_letters.complete(letters, drained=True).violations == 0
    (offender,) = dead_letters.intact(letters).offenders
    assert offender["seq"] == 0


def test_a_damaged_letter_that_could_be_any_of_two_is_of_none_and_none_is_claimed_missing() -> None:
    failed = [got(seq, at) for at, seq in enumerate((0, 0, 1, 1), 10)]
    settles = [settle(row, RELEASE, 40) for row in failed]
    letters = of([letter(9, 50, place=0, status=CORRUPT)], failed, settles)
    complete, only_failed, intact = all_of(letters)
    assert (complete.observations, complete.violations, complete.open) == (1, 1, 1)
    assert complete.offenders == ()
    assert complete.note.startswith("1 missing")
    assert only_failed.violations == 0
    assert (intact.observations, intact.violations) == (1, 1)
    assert "seq" not in intact.offenders[0]


def test_an_intact_letter_stands_before_a_damaged_one_of_the_same_name() -> None:
    letters = of([letter(0, 50, place=0), letter(0, 51, place=1, status=CORRUPT)])
    assert violations(letters) == (0, 0, 1)
    assert "seq" not in dead_letters.intact(letters).offenders[0]


@pytest.mark.parametrize("action", [None, RELEASE, REJECT])
def test_how_a_message_fails(action: Action | None) -> None:
    """Never settled counts as failed; one rejection is enough."""
    settles = [] if action is None else [settle(row, action, 25) for row in FAILED_TWICE[1:]]
    assert violations(of([], FAILED_TWICE, settles)) == (1, 0, 0)
    once = settles if action is REJECT else []
    assert violations(of([], FAILED_TWICE[1:], once)) == (int(action is REJECT), 0, 0)


@pytest.mark.parametrize("action", [ACK, RELEASE, REJECT])
def test_where_the_answer_is_unknown_the_letter_is_neither_missing_nor_extra(action: Action) -> None:
    settles = [RELEASED_TWICE[0], settle(FAILED_TWICE[1], action, 25, outcome=int(Outcome.UNKNOWN))]
    for found in ([], [letter(0, 50, place=0)]):
        letters = of(found, FAILED_TWICE, settles)
        assert violations(letters) == (0, 0, 0)
        assert dead_letters.complete(letters, drained=True).unknown == 1
        assert dead_letters.only_failed(letters).unknown == len(found)


def test_an_acknowledgement_after_enough_failures_leaves_it_open() -> None:
    deliveries = [*FAILED_TWICE, got(0, 30)]
    settles = [*RELEASED_TWICE, settle(deliveries[2], ACK, 31)]
    assert violations(of([], deliveries, settles)) == (0, 0, 0)
    assert violations(of([letter(0, 50, place=0)], deliveries, settles)) == (0, 0, 0)


def test_a_reader_that_was_killed_may_have_failed_more_often() -> None:
    letters = of([letter(0, 50, place=0)], FAILED_TWICE[:1], RELEASED_TWICE[:1], all_seen=False)
    assert violations(letters) == (0, 0, 0)
    assert violations(of([letter(0, 50, place=0), letter(1, 51, place=1)], all_seen=False)) == (0, 1, 0)
