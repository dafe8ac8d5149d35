"""The retention scenario as ``run`` plays it: lies about what is kept are refuted, and honest brokers are not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brokerbench.brokers.faulty import Fault, FaultName, Faulty
from brokerbench.brokers.memory.broker import Memory, Space
from brokerbench.brokers.memory.declaration import DECLARATION
from brokerbench.brokers.protocols import Broker, Producer
from brokerbench.brokers.settling import Outcomes
from brokerbench.brokers.types import Batch, Outcome, Position, ProducerSettings, SendReceipt, Settlements
from brokerbench.scenarios import retention
from brokerbench.scenarios.history import History, stamp
from brokerbench.scenarios.verdicts import Finding, Verdict, judge
from tests.scenarios import harness

RUN = 77
AGE_S = 1.5
SHORT = {"age_s": AGE_S, "sending_s": 0.6, "give_back_after_s": 0.2, "grace_s": 2.0, "held": 150, "burst": 50}


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker of this process needs no patience."""
    for name, value in (("_LOOK_S", 0.3), ("_SWEEP_S", 0.1), ("_SETTLED_AFTER_S", 0.5), ("_READ_S", 1.0)):
        monkeypatch.setattr(retention, name, value)


def run(connect: Callable[[], Broker], directory: Path) -> tuple[dict[str, Finding], History]:
    found, _, history = harness.run(retention, connect, directory, **SHORT)
    return found, history


def verdicts(found: Mapping[str, Finding]) -> dict[str, Verdict]:
    return {name: judge(DECLARATION.of(name), finding).verdict for name, finding in found.items()}


def refuted(found: Mapping[str, Finding]) -> set[str]:
    return {name for name, verdict in verdicts(found).items() if verdict is Verdict.REFUTED}


def test_an_honest_broker_is_confirmed(tmp_path: Path) -> None:
    found, history = run(harness.memory(), tmp_path)
    assert {name: str(verdict) for name, verdict in verdicts(found).items() if verdict is not Verdict.CONFIRMED} == {
        "retention.overshoot_large_segment": "not testable here"
    }
    assert all(mark["proven"] for mark in history.events("read"))
    assert [mark["stage"] for mark in history.events("read", role="read")] == ["before"] * 4 + ["after"]
    reads = len(list(history.events("read", role="read", stage="before")))
    messages = int((history.sends["producer"] == 5).sum())
    assert messages == 6 * 50
    # Each of the role's messages is looked for at each read; so are the fresh ones of earlier reads.
    assert found["retention.not_early"].observations == 300 + reads * messages + reads * (reads + 1) // 2
    assert found["delivery.intact"].observations == len(history.deliveries["seq"])


@pytest.mark.parametrize(
    ("fault", "rate", "name"),
    [
        (FaultName.UNREADABLE_EARLY, 0.02, "retention.not_early"),
        (FaultName.READABLE_LATE, 0.02, "retention.by_age"),
        (FaultName.NEWEST_REMOVED, 1.0, "retention.by_size"),
        (FaultName.NEWEST_REMOVED, 0.002, "retention.by_size"),
        (FaultName.REPLAY_ALTERED, 0.02, "delivery.intact"),
    ],
)
def test_a_lie_is_refuted_with_its_offenders(fault: FaultName, rate: float, name: str, tmp_path: Path) -> None:
    connect = harness.faulty(Fault(fault, rate, 4))
    found, _ = run(connect, tmp_path)
    # An altered message was not read again as it was acknowledged.
    also = {"retention.acknowledged_kept"} if fault is FaultName.REPLAY_ALTERED else set()
    assert refuted(found) == {name} | also
    broker = connect()
    assert isinstance(broker, Faulty)
    payloads = [offender.payload for offender in broker.offenders[fault]]
    stamps = stamp.read(payloads, RUN)
    hit = set(zip(stamps.producer.tolist(), stamps.seq.tolist(), strict=True))
    named = [(offender["producer"], offender["seq"]) for offender in found[name].offenders]
    assert named
    assert set(named) <= hit
    if found[name].violations <= len(named):
        assert len(set(named)) == len(hit)


class Stalling(Memory):
    """Its bounds are answered at once; then the harness stands still for ``stall_s``, once for each channel."""

    after_s, stall_s = AGE_S + 0.2, 1.0

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        self._began: dict[str, float] = {}
        self._stalled: set[str] = set()

    def bounds(self, channel: str) -> tuple[Position, Position]:
        began = self._began.setdefault(channel, time.monotonic())
        if channel.endswith("-unread") and channel not in self._stalled and time.monotonic() > began + self.after_s:
            self._stalled.add(channel)
            time.sleep(self.stall_s)
        return super().bounds(channel)


def test_a_harness_that_stands_still_refutes_no_broker(tmp_path: Path) -> None:
    """Messages went in the second before the next look: they may have gone at once, or up to a second late."""
    space = Space()
    found, _ = run(lambda: Stalling(space), tmp_path)
    assert refuted(found) == set()
    overshoot = found["retention.overshoot"]
    assert max(overshoot.samples) > 0.5 > max(overshoot.sample_lows)
    assert verdicts(found)["retention.overshoot"] is Verdict.INCONCLUSIVE


class RefusingProducer:
    """Refuses every 20th message, and does not keep it."""

    def __init__(self, inner: Producer) -> None:
        self._inner, self._tickets, self._refused, self._next = inner, [0][:0], [0][:0], 0

    def send(self, batch: Batch) -> SendReceipt:
        receipt = SendReceipt(self._next, len(batch))
        taken = [at for at in range(len(batch)) if (self._next + at) % 20 != 3]
        self._refused += [self._next + at for at in range(len(batch)) if at not in taken]
        self._tickets += [self._next + at for at in taken]
        self._next += len(batch)
        keys = None if batch.keys is None else [batch.keys[at] for at in taken]
        self._inner.send(Batch([batch.payloads[at] for at in taken], keys))
        return receipt

    def poll(self) -> Settlements:
        return self._with_refusals(self._inner.poll())

    def flush(self, timeout_s: float) -> Settlements:
        return self._with_refusals(self._inner.flush(timeout_s))

    def close(self) -> Settlements:
        return self._with_refusals(self._inner.close())

    def _with_refusals(self, settled: Settlements) -> Settlements:
        refused, self._refused = self._refused, []
        no_place = np.full(len(refused), -1)
        mine = np.array([self._tickets[ticket] for ticket in settled.tickets.tolist()], np.int64)
        no = Outcomes(np.array(refused, np.int64), no_place, no_place, Outcome.REJECTED).settlements()
        return Settlements.concat([replace(settled, tickets=mine), no])


class Refusing(Memory):
    def producer(self, channel: str, settings: ProducerSettings) -> Any:
        return RefusingProducer(super().producer(channel, settings))


def test_honest_refusals_refute_nothing(tmp_path: Path) -> None:
    space = Space()
    found, history = run(lambda: Refusing(space), tmp_path)
    assert int((history.send_outcomes["outcome"] == Outcome.REJECTED).sum()) > 300
    assert all(mark["proven"] for mark in history.events("read"))
    unsure = {name for name, verdict in verdicts(found).items() if verdict is not Verdict.CONFIRMED}
    assert unsure == {"retention.overshoot_large_segment", "retention.size_excess"}
    assert verdicts(found)["retention.size_excess"] is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("fault", [FaultName.UNKNOWN_OUTCOME, FaultName.UNKNOWN_AND_LOSE])
def test_sends_of_unknown_fate_refute_nothing(fault: FaultName, tmp_path: Path) -> None:
    found, _ = run(harness.faulty(Fault(fault, 0.05, 4)), tmp_path)
    assert refuted(found) == set()
    low, high = found["retention.size_excess"].sample_lows[0], found["retention.size_excess"].samples[0]
    assert low < 0 < high
    assert verdicts(found)["retention.size_excess"] is Verdict.INCONCLUSIVE


def test_a_read_that_comes_too_late_leaves_the_last_part_of_the_limit_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_READ_AT", (0.5,))
    found, _ = run(harness.memory(), tmp_path)
    assert (found["retention.not_early"].violations, found["retention.not_early"].open) == (0, 300)
    assert verdicts(found)["retention.not_early"] is Verdict.INCONCLUSIVE
