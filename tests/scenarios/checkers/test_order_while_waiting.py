"""Order while a message waits to come again."""

from __future__ import annotations

import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers import order_while_waiting
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.history import Action
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import got, settle, typed

KEYS = [7, 8, 7, 7]
"""Messages 0, 2 and 3 have one key."""


def found(index: ChannelIndex) -> Finding:
    return order_while_waiting.in_order("ordering.while_waiting", index, index.delivered, [0])


@pytest.mark.parametrize("released", [False, True])
def test_a_later_one_of_the_key_comes_first(released: bool) -> None:
    rows = [got(0, 10), got(1, 20), got(2, 30, reader=1), got(3, 31, reader=1), got(0, 40)]
    settles = [settle(rows[0], Action.RELEASE, 15)] if released else []
    finding = found(typed(KEYS, rows, settles))
    assert (finding.observations, finding.violations) == (1, 1)
    (offender,) = finding.offenders
    by = offender["overtaken_by"]
    assert isinstance(by, dict)
    assert (offender["seq"], offender["key"], offender["received_ns"]) == (0, 7, 40)
    assert (by["seq"], by["reader"], by["received_ns"]) == (2, 1, 30)


@pytest.mark.parametrize(
    ("rows", "pairs"),
    [
        ([got(0, 10), got(1, 20), got(0, 40), got(2, 50)], 1),
        ([got(0, 10), got(0, 40, batch=4), got(2, 40, batch=4, slot=1)], 1),
        ([got(0, 10, batch=1), got(2, 10, batch=1, slot=1), got(0, 40)], 1),
        ([got(0, 10), got(2, 20), got(3, 30)], 0),
        ([got(2, 5), got(0, 10), got(0, 40)], 1),
        ([got(2, 10), got(0, 20), got(2, 40)], 1),
    ],
    ids=["another key", "after it in its batch", "in hand already", "nothing twice", "before both", "an earlier one"],
)
def test_what_does_not_overtake(rows: list[dict[str, int]], pairs: int) -> None:
    finding = found(typed(KEYS, rows))
    assert (finding.observations, finding.violations) == (pairs, 0)


def test_one_before_it_in_the_batch_of_its_return_overtakes() -> None:
    finding = found(typed(KEYS, [got(0, 10), got(2, 40, batch=4), got(0, 40, batch=4, slot=1)]))
    assert finding.violations == 1


def test_each_return_is_looked_at() -> None:
    rows = [got(0, 10), got(0, 20), got(2, 25), got(0, 30), got(3, 35), got(2, 40)]
    finding = found(typed(KEYS, rows))
    assert (finding.observations, finding.violations) == (3, 2)
    assert [(offender["seq"], offender["received_ns"]) for offender in finding.offenders] == [(0, 30), (2, 40)]


@pytest.mark.parametrize("fate", [Outcome.UNKNOWN, Outcome.REJECTED])
@pytest.mark.parametrize("which", ["s0", "s2"])
def test_sends_that_were_not_acknowledged_are_left_out(fate: Outcome, which: str) -> None:
    finding = found(typed(KEYS, [got(0, 10), got(2, 30), got(0, 40)], **{which: fate}))
    assert finding.violations == 0
    assert finding.unknown == (fate is Outcome.UNKNOWN)


def test_what_comes_again_after_its_acknowledgement_waited_for_nothing() -> None:
    rows = [got(0, 10), got(2, 30), got(0, 40)]
    for answered_ns, counted in ((39, 0), (40, 1)):
        finding = found(typed(KEYS, rows, [settle(rows[0], Action.ACKNOWLEDGE, answered_ns - 1)]))
        assert (finding.observations, finding.violations) == (counted, counted)


def test_what_comes_again_after_its_acknowledgement_overtakes_nothing() -> None:
    rows = [got(0, 10, batch=1), got(2, 10, batch=1, slot=1), got(2, 30), got(0, 40)]
    for answered_ns, violations in ((29, 0), (30, 1)):
        finding = found(typed(KEYS, rows, [settle(rows[1], Action.ACKNOWLEDGE, answered_ns - 1)]))
        assert (finding.observations, finding.violations) == (1 + violations, violations)


def test_other_producers_are_not_asked() -> None:
    index = typed(KEYS, [got(0, 10), got(2, 30), got(0, 40)])
    finding = order_while_waiting.in_order("ordering.while_waiting", index, index.delivered, [1])
    assert (finding.observations, finding.violations) == (0, 0)


def test_neither_what_came_before_nor_what_came_after_nor_another_key_counts() -> None:
    rows = [got(3, 5), got(1, 6), got(2, 10), got(0, 20), got(2, 40), got(3, 50), got(1, 60)]
    finding = found(typed(KEYS, rows))
    assert (finding.observations, finding.violations, finding.offenders) == (3, 0, ())
    overtaken = found(typed(KEYS, [*rows, got(3, 30)]))
    assert [(offender["seq"], offender["received_ns"]) for offender in overtaken.offenders] == [(2, 40)]
