"""Leases and delivery counts: what comes again too early, in time, too late or with a wrong number."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers import arrivals, delivery_counts, leases
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.history import Action
from tests.scenarios.checkers.histories import got, settle, typed

LEASE_S = 1e-7
"""100 ns. Message 1 is fetched at 1000 by every reader below, so that the next call began there."""
KEYS = [1, 2, 1]


def history(first_ns: int, again_ns: int, settles: Sequence[dict[str, int]] = (), **outcomes: Outcome) -> ChannelIndex:
    """Message 0 to reader 0, in a call that began at 1000, and again to reader 1."""
    deliveries = [got(1, 1000), got(0, first_ns, delivery_count=1), got(0, again_ns, reader=1, delivery_count=2)]
    return typed(KEYS, deliveries, settles, **outcomes)


@pytest.mark.parametrize(
    ("again_ns", "early", "unknown", "lapsed"),
    [(1020, 1, 0, 0), (1099, 1, 0, 0), (1100, 0, 1, 1), (1109, 0, 1, 1), (1110, 0, 0, 1)],
)
def test_a_redelivery_is_early_only_where_the_lease_cannot_have_ended(
    again_ns: int, early: int, unknown: int, lapsed: int
) -> None:
    index = history(1010, again_ns)
    finding = leases.not_early(index, index.delivered, LEASE_S)
    assert (finding.violations, finding.unknown, finding.observations) == (early, unknown, 3 - unknown)
    assert [offender["seq"] for offender in finding.offenders] == [0] * early
    finding = leases.in_time(index, index.delivered, LEASE_S)
    assert (finding.violations, finding.observations) == (lapsed, 3)


def test_the_offender_is_the_redelivery_and_says_what_came_before() -> None:
    index = history(1010, 1050)
    (offender,) = leases.not_early(index, index.delivered, LEASE_S).offenders
    assert (offender["received_ns"], offender["reader"], offender["key"]) == (1050, 1, 1)
    assert offender["before"] == {
        "reader": 0,
        "batch": 1010,
        "slot": 0,
        "partition": 0,
        "place": 0,
        "received_ns": 1010,
    }


def test_a_lease_cannot_have_begun_before_the_message_was_sent() -> None:
    """Nothing is known of the call's beginning; message 2 was sent at 2."""
    index = typed(KEYS, [got(2, 1000), got(2, 1010, reader=1)])
    assert leases.not_early(index, index.delivered, 1.008e-6).violations == 0
    assert leases.not_early(index, index.delivered, 1.009e-6).violations == 1


def test_a_client_that_fetches_ahead_may_have_begun_the_lease_long_before_its_call() -> None:
    index = history(1010, 1050)
    finding = leases.not_early(index, index.delivered, LEASE_S, buffered=True)
    assert (finding.violations, finding.unknown) == (0, 1)
    assert leases.in_time(index, index.delivered, LEASE_S, buffered=True).violations == 1


@pytest.mark.parametrize("action", [Action.RELEASE, Action.REJECT, Action.EXTEND])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_what_somebody_asked_for_is_left_out(action: Action, outcome: Outcome) -> None:
    settles = [settle(got(0, 1010), action, 1015, outcome=int(outcome))]
    for again_ns in (1050, 9000):
        index = history(1010, again_ns, settles)
        for finding in (
            leases.not_early(index, index.delivered, LEASE_S),
            leases.in_time(index, index.delivered, LEASE_S),
            leases.not_late(index, index.delivered, LEASE_S, 1e-8, drained=False),
        ):
            assert finding.violations == 0, finding.property


def test_a_redelivery_after_its_acknowledgement_is_no_matter_of_leases() -> None:
    acknowledged = [settle(got(0, 1010), Action.ACKNOWLEDGE, 1048)]  # answered at 1049
    for again_ns, early in ((1049, 1), (1050, 0)):
        index = history(1010, again_ns, acknowledged)
        assert leases.not_early(index, index.delivered, LEASE_S).violations == early
    unanswered = [settle(got(0, 1010), Action.ACKNOWLEDGE, 1020, outcome=int(Outcome.UNKNOWN))]
    index = history(1010, 1050, unanswered)
    assert leases.not_early(index, index.delivered, LEASE_S).violations == 1


@pytest.mark.parametrize(("again_ns", "late"), [(1110, 0), (1120, 0), (1121, 1), (9000, 1)])
def test_a_redelivery_is_late_beyond_the_tolerance(again_ns: int, late: int) -> None:
    settles = [
        settle(got(1, 1000), Action.ACKNOWLEDGE, 1001),
        settle(got(0, again_ns, reader=1), Action.ACKNOWLEDGE, again_ns),
    ]
    index = history(1010, again_ns, settles)
    finding = leases.not_late(index, index.delivered, LEASE_S, 1e-8, drained=True)
    assert (finding.observations, finding.violations, finding.unknown) == (1, late, 0)
    assert [offender["received_ns"] for offender in finding.offenders] == [again_ns] * late


@pytest.mark.parametrize(
    ("settles", "drained", "max_deliveries", "expected"),
    [
        ([], True, None, (1, 1, 0)),
        ([], False, None, (0, 0, 1)),
        ([], True, 1, (0, 0, 0)),
        ([], True, 2, (1, 1, 0)),
        ([settle(got(0, 10), Action.ACKNOWLEDGE, 15)], True, None, (0, 0, 0)),
        ([settle(got(0, 10), Action.ACKNOWLEDGE, 15, outcome=int(Outcome.UNKNOWN))], True, None, (0, 0, 1)),
        ([settle(got(0, 10), Action.REJECT, 15)], True, None, (0, 0, 0)),
    ],
    ids=["drained", "not drained", "last delivery", "last but one", "acknowledged", "fate unknown", "rejected"],
)
def test_what_nobody_settled_must_come_again(
    settles: list[dict[str, int]], drained: bool, max_deliveries: int | None, expected: tuple[int, int, int]
) -> None:
    index = typed([1], [got(0, 10)], settles)
    finding = leases.not_late(index, index.delivered, LEASE_S, 1e-8, drained=drained, max_deliveries=max_deliveries)
    assert (finding.observations, finding.violations, finding.unknown + finding.open) == expected
    assert [offender["kind"] for offender in finding.offenders] == ["never again"] * expected[1]


def test_a_clean_history_is_silent() -> None:
    deliveries = [got(seq, 10 + seq, delivery_count=1) for seq in range(3)]
    index = typed(KEYS, deliveries, [settle(row, Action.ACKNOWLEDGE, 20) for row in deliveries])
    for finding in (
        leases.not_early(index, index.delivered, LEASE_S),
        leases.in_time(index, index.delivered, LEASE_S),
        leases.not_late(index, index.delivered, LEASE_S, 1e-8, drained=True),
        delivery_counts.counted(index, index.delivered, all_seen=True),
        arrivals.delivered_all_the_same(index, index.delivered),
    ):
        assert (finding.violations, finding.unknown, finding.offenders) == (0, 0, ()), finding.property


@pytest.mark.parametrize(
    ("numbers", "all_seen", "wrong"),
    [
        ([1, 2, 3], True, []),
        ([2, 1, 3], True, []),
        ([1, 1, 2], True, [1, 2]),
        ([1, 1, 3], True, [1]),
        ([2, 2, 3], True, [0]),
        ([1, 3, 4], True, [1, 2]),
        ([1, 3, 4], False, []),
        ([1, 3, 3], False, [2]),
        ([-1, 1, 2], False, [0]),
    ],
)
def test_the_nth_delivery_carries_the_number_n(numbers: list[int], all_seen: bool, wrong: list[int]) -> None:
    rows = [got(0, 10 + at, delivery_count=number) for at, number in enumerate(numbers)]
    index = typed(KEYS, [*rows, got(1, 20, delivery_count=1), got(2, 21, delivery_count=1)])
    finding = delivery_counts.counted(index, index.delivered, all_seen=all_seen)
    assert (finding.observations, finding.violations) == (5, len(wrong))
    assert [offender["received_ns"] for offender in finding.offenders] == [10 + at for at in wrong]
    assert [offender["delivery_count"] for offender in finding.offenders] == [numbers[at] for at in wrong]


def test_a_broker_that_does_not_count_is_not_judged() -> None:
    index = typed(KEYS, [got(0, 10), got(0, 11, delivery_count=2), got(1, 12, delivery_count=2)])
    finding = delivery_counts.counted(index, index.delivered, all_seen=True)
    assert (finding.observations, finding.violations, finding.unknown) == (1, 1, 2)
    assert finding.offenders[0]["seq"] == 1


def test_rejected_and_delivered_all_the_same() -> None:
    index = typed(KEYS, [got(0, 10), got(1, 11), got(2, 12)], s1=Outcome.REJECTED, s2=Outcome.UNKNOWN)
    finding = arrivals.delivered_all_the_same(index, index.delivered)
    assert (finding.observations, finding.violations, finding.unknown) == (2, 1, 1)
    assert (finding.offenders[0]["seq"], finding.offenders[0]["received_ns"]) == (1, 11)
    index = typed(KEYS, [got(0, 10), got(7, 11)], s1=Outcome.REJECTED)
    assert arrivals.delivered_all_the_same(index, index.delivered).violations == 0


def test_findings_say_what_they_were_held_against() -> None:
    index = history(1010, 1110)
    early = leases.not_early(index, index.delivered, 2e-9)
    lapsed = leases.in_time(index, index.delivered, 2e-9)
    late = leases.not_late(index, index.delivered, 2e-9, 3e-9, drained=False)
    assert early.note == "lease 2e-09 s"
    assert lapsed.note == "came again because it was not acknowledged in time (legal)"
    assert late.note == "within 3e-09 s after a lease of 2e-09 s"
    assert [offender["received_ns"] for offender in lapsed.offenders] == [1110]
    assert delivery_counts.counted(index, index.delivered, all_seen=True).note == ""
    unsure = delivery_counts.counted(index, index.delivered, all_seen=False)
    assert unsure.note == "some deliveries may not have been written down"


def test_only_what_was_delivered_can_come_again() -> None:
    index = typed([1, 2, 3], [got(0, 10)])
    finding = leases.not_late(index, index.delivered, LEASE_S, 1e-8, drained=True, max_deliveries=2)
    assert (finding.observations, [offender["seq"] for offender in finding.offenders]) == (1, [0])


def test_of_two_deliveries_the_second_carries_two() -> None:
    index = typed(KEYS, [got(0, 10, delivery_count=1), got(0, 11, delivery_count=1)])
    (offender,) = delivery_counts.counted(index, index.delivered, all_seen=True).offenders
    assert (offender["received_ns"], offender["delivery_count"], offender["seen"]) == (11, 1, 2)
