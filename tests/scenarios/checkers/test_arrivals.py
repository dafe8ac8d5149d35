"""Loss, phantoms, corruption, duplicates: each checker sees what it is there to see, and is silent else."""

from __future__ import annotations

import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers import arrivals
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.history import Action
from brokerbench.scenarios.history.stamp import CORRUPT, FOREIGN
from tests.scenarios.checkers.histories import got, settle, typed


def test_nothing_is_lost() -> None:
    index = typed([1, 1, 1], [got(0, 10), got(1, 11), got(2, 12)])
    finding = arrivals.lost(index, index.delivered, drained=True)
    assert (finding.observations, finding.violations, finding.unknown) == (3, 0, 0)


def test_a_loss_counts_after_a_drain() -> None:
    index = typed([1, 1, 7], [got(0, 10), got(1, 11)])
    finding = arrivals.lost(index, index.delivered, drained=True)
    assert (finding.observations, finding.violations) == (3, 1)
    assert finding.offenders[0]["seq"] == 2
    assert finding.offenders[0]["key"] == 7


def test_without_a_drain_nothing_is_lost_beyond_what_was_read() -> None:
    index = typed([1, 1, 1, 1], [got(0, 10), got(2, 11)])
    finding = arrivals.lost(index, index.delivered, drained=False, in_order=True)
    assert (finding.observations, finding.violations, finding.open) == (3, 1, 1)
    assert finding.offenders[0]["seq"] == 1


def test_where_consumers_share_a_partition_a_gap_is_no_loss() -> None:
    index = typed([1, 1, 1, 1], [got(0, 10), got(2, 11)])
    finding = arrivals.lost(index, index.delivered, drained=False)
    assert (finding.observations, finding.violations, finding.open) == (2, 0, 2)


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.REJECTED])
def test_only_acknowledged_sends_are_required(outcome: Outcome) -> None:
    index = typed([1, 1], [got(0, 10)], s1=outcome)
    finding = arrivals.lost(index, index.delivered, drained=True)
    assert (finding.observations, finding.violations) == (1, 0)
    assert finding.unknown == (outcome is Outcome.UNKNOWN)


def test_an_unidentified_delivery_could_be_the_missing_one() -> None:
    index = typed([1, 1], [got(0, 10), got(-1, 11, place=-1, status=FOREIGN)])
    finding = arrivals.lost(index, index.delivered, drained=True)
    assert (finding.violations, finding.open) == (0, 1)


def test_a_drain_proven_before_the_last_send_proves_nothing() -> None:
    drained = {"event": "drained", "channel": "c", "at_ns": 1}
    assert not typed([1, 1, 1], [], marks=[drained]).drained()
    assert typed([1, 1, 1], [], marks=[{**drained, "at_ns": 3}]).drained()


def test_intact() -> None:
    index = typed([1, 1], [got(0, 10), got(1, 11)])
    assert arrivals.altered(index, index.delivered).observations == 2
    assert not arrivals.altered(index, index.delivered).violations


@pytest.mark.parametrize(
    "damage", [{"status": CORRUPT, "seq": 99}, {"status": FOREIGN, "seq": -1}, {"checksum": 5}, {"size": 65}]
)
def test_damage_is_corruption_of_the_message_at_that_place(damage: dict[str, int]) -> None:
    index = typed([1, 1], [got(0, 10), {**got(1, 11), **damage}])
    finding = arrivals.altered(index, index.delivered)
    assert (finding.observations, finding.violations) == (2, 1)
    assert finding.offenders[0]["seq"] == 1
    assert not arrivals.phantoms(index, index.delivered).violations
    assert not arrivals.lost(index, index.delivered, drained=True).violations


@pytest.mark.parametrize(
    "foreign", [{"seq": 5, "place": 5}, {"producer": 3}, {"seq": -1, "place": -1, "status": FOREIGN}]
)
def test_what_nobody_sent_is_a_phantom(foreign: dict[str, int]) -> None:
    index = typed([1, 1], [got(0, 10), {**got(1, 11), **foreign}])
    finding = arrivals.phantoms(index, index.delivered)
    assert (finding.observations, finding.violations) == (2, 1)
    assert finding.offenders[0]["kind"] == "never sent"


def test_rejected_and_delivered() -> None:
    index = typed([1, 1, 1], [got(0, 10), got(1, 11), got(2, 12)], s1=Outcome.REJECTED, s2=Outcome.UNKNOWN)
    finding = arrivals.phantoms(index, index.delivered)
    assert finding.violations == 1
    assert finding.offenders[0]["kind"] == "rejected"
    assert finding.offenders[0]["seq"] == 1


def test_delivered_again_after_its_acknowledgement() -> None:
    first = got(0, 10)
    index = typed([1], [first, got(0, 30)], [settle(first, Action.ACKNOWLEDGE, 15)])
    finding = arrivals.delivered_again(index, index.delivered)
    assert (finding.observations, finding.violations) == (1, 1)
    assert finding.offenders[0]["acknowledged_ns"] == 16


@pytest.mark.parametrize(
    "settles",
    [
        [],
        [settle(got(0, 10), Action.RELEASE, 15)],
        [settle(got(0, 10), Action.ACKNOWLEDGE, 15, outcome=int(Outcome.UNKNOWN))],
        [settle(got(0, 10), Action.ACKNOWLEDGE, 40)],
    ],
    ids=["never settled", "released", "fate unknown", "acknowledged later"],
)
def test_a_redelivery_of_what_was_not_acknowledged_is_legal(settles: list[dict[str, int]]) -> None:
    index = typed([1], [got(0, 10), got(0, 30)], settles)
    finding = arrivals.delivered_again(index, index.delivered)
    assert (finding.violations, finding.unknown) == (0, 0)
    assert finding.note.startswith("1 redeliveries")


def test_a_delivery_that_may_have_been_on_its_way_is_not_claimed() -> None:
    """Reader 1 asked at some time before 30, and did nothing before: perhaps it asked before the acknowledgement."""
    first = got(0, 10)
    index = typed([1], [first, got(0, 30, reader=1)], [settle(first, Action.ACKNOWLEDGE, 15)])
    finding = arrivals.delivered_again(index, index.delivered)
    assert (finding.violations, finding.unknown) == (0, 1)
    # With an earlier delivery after the acknowledgement the call must have begun later.
    index = typed([1, 1], [first, got(1, 20, reader=1), got(0, 30, reader=1)], [settle(first, Action.ACKNOWLEDGE, 15)])
    assert arrivals.delivered_again(index, index.delivered).violations == 1


def test_sends_with_gaps_are_refused() -> None:
    index = typed([1, 1, 1], [])
    history = index.history
    history.sends["seq"][1] = 7
    with pytest.raises(ValueError, match="without gaps"):
        channel_index.of_channel(history, "c")
