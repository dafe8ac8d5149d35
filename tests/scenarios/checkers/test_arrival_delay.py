"""The time from a message's acknowledgement to its first delivery; messages that never came are open."""

from __future__ import annotations

from brokerbench.brokers.declarations import PROGRESS
from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers.arrival_delay import over, progress
from brokerbench.scenarios.verdicts import Finding, Verdict, judge
from tests.scenarios.checkers.histories import got, indexed, sends

S = 1_000_000_000


def test_each_acknowledged_message_waits_from_its_acknowledgement_to_its_first_delivery() -> None:
    sent, settled = sends([1, 1, 1, 1, 1], s3=Outcome.UNKNOWN, s4=Outcome.ACKNOWLEDGED)
    for row in settled:
        row["settled_ns"] = 2 * S
    rows = [got(0, 3 * S), got(0, 9 * S), got(1, 1 * S), got(3, 8 * S)]
    index = indexed(sent, settled, rows)
    found = progress(index, index.delivered)
    assert found == Finding("delivery.progress", 2, samples=(1.0, 0.0), open=2)
    assert judge(PROGRESS, found).verdict is Verdict.INCONCLUSIVE


def test_late_is_refuted_and_soon_is_confirmed() -> None:
    assert judge(PROGRESS, Finding("delivery.progress", 2, samples=(1.0, 10.0))).verdict is Verdict.CONFIRMED
    assert judge(PROGRESS, Finding("delivery.progress", 2, samples=(1.0, 10.1), open=1)).verdict is Verdict.REFUTED


def test_many_samples_become_few_of_the_same_range() -> None:
    parts = [Finding("delivery.progress", 500, samples=tuple(float(at) for at in range(500)), open=1)] * 2
    whole = over(parts)
    assert (whole.observations, whole.open, len(whole.samples)) == (1000, 2, 100)
    assert (whole.samples[0], whole.samples[-1]) == (0.0, 499.0)
