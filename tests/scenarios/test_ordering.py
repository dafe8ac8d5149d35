"""The ordering scenario from end to end: silent on the reference, and seeing each fault that it is there to see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from brokerbench.brokers.faulty import Fault, FaultName
from brokerbench.scenarios import ordering
from brokerbench.scenarios.verdicts import Verdict, judge
from tests.scenarios import harness

SMALL: dict[str, Any] = {"messages": 400, "patience_s": 10.0, "lease_s": 2.0}


def test_the_reference_keeps_every_promise(tmp_path: Path) -> None:
    found, metrics, seen = harness.run(ordering, harness.memory(), tmp_path, **SMALL)
    declaration = harness.memory()().declaration()
    verdicts = {name: judge(declaration.of(name), finding).verdict for name, finding in found.items()}
    assert set(verdicts.values()) == {Verdict.CONFIRMED}, verdicts
    assert found["ordering.channel"].observations == 399
    assert found["ordering.per_key.one_consumer"].observations == 380
    assert found["ordering.per_key.three_consumers"].observations == 760
    assert found["ordering.per_key.after_redelivery"].observations >= 80
    assert [metric.name for metric in metrics] == [
        "redelivery_delay",
        "consumer_lag_over_time",
        "backlog_age_over_time",
    ]
    assert len(list(seen.events("drained"))) == 5


def test_the_same_seed_sends_the_same(tmp_path: Path) -> None:
    keys = []
    for number in (1, 2):
        _, _, seen = harness.run(ordering, harness.memory(), tmp_path / str(number), **SMALL)
        keys.append([seen.sends["key"][seen.sends["producer"] == producer].tolist() for producer in (0, 100, 301)])
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("fault", "properties"),
    [
        (FaultName.LOSE, {"delivery.no_loss"}),
        (FaultName.DUPLICATE, {"delivery.no_duplicate"}),
        (FaultName.DUPLICATE_AFTER_LEASE, {"delivery.no_duplicate"}),
        (FaultName.CORRUPT, {"delivery.intact"}),
        (FaultName.PHANTOM, {"delivery.no_phantom"}),
        (FaultName.REJECT_BUT_DELIVER, {"delivery.no_phantom"}),
        (FaultName.UNKNOWN_OUTCOME, set()),
        (
            FaultName.REORDER_WITHIN_KEY,
            {
                "ordering.channel",
                "ordering.per_key.one_consumer",
                "ordering.per_key.three_consumers",
                "ordering.per_key.several_producers",
            },
        ),
        (FaultName.REORDER_ACROSS_REDELIVERY, {"ordering.per_key.after_redelivery"}),
    ],
)
def test_a_fault_is_seen(fault: FaultName, properties: set[str], tmp_path: Path) -> None:
    """And nothing else is claimed, but what follows from the fault (order within a key is compared in all phases)."""
    found, _, _ = harness.run(ordering, harness.faulty(Fault(fault, 0.1)), tmp_path, **SMALL)
    violated = {name for name, finding in found.items() if finding.violations}
    assert violated >= properties
    consequences = {"ordering.per_key.after_redelivery"} if fault is FaultName.REORDER_WITHIN_KEY else set()
    assert violated - properties <= consequences
    for name in properties:
        assert found[name].offenders


def test_messages_that_the_broker_keeps_and_never_gives_are_lost(tmp_path: Path) -> None:
    quick = {**SMALL, "messages": 200, "patience_s": 1.0, "lease_s": 1.0}
    found, _, seen = harness.run(ordering, harness.faulty(Fault(FaultName.WITHHOLD, 0.1)), tmp_path, **quick)
    lost = found["delivery.no_loss"]
    assert lost.violations > 50
    assert (lost.open, found["delivery.no_phantom"].violations) == (0, 0)
    assert "the broker says that" in lost.note
    assert all(mark["left"] and mark["quiet_s"] > 1.0 for mark in seen.events("timeout") if "left" in mark)
