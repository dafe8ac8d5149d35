"""The replay scenario from end to end: silent on the reference, seeing each fault, trying where nothing can replay."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brokerbench.brokers.declarations import ProfileDeclaration
from brokerbench.brokers.faulty import Fault, FaultName
from brokerbench.brokers.memory.broker import Memory, MemoryConsumer, MemoryProducer, MemoryReader, Space
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import ChannelSpec, ConsumerSettings, ProducerSettings, Received, ReplayStart
from brokerbench.scenarios import replay
from brokerbench.scenarios.verdicts import Verdict, judge
from tests.scenarios import harness

SMALL: dict[str, Any] = {
    "messages": 600,
    "beside": 300,
    "look_s": 0.3,
    "patience_s": 10.0,
    "quiet_s": 1.0,
    "lease_s": 2.0,
}


class QueueConsumer:
    """Deliveries without positions."""

    def __init__(self, inner: MemoryConsumer) -> None:
        self._inner = inner
        self.acknowledge, self.close = inner.acknowledge, inner.close

    def receive(self, max_messages: int, wait_s: float) -> Received:
        received = self._inner.receive(max_messages, wait_s)
        count = len(received)
        return replace(received, partitions=np.full(count, -1, np.int32), places=np.full(count, -1, np.int64))


class Queue:
    """A broker that deletes what is acknowledged: no reader, no bounds, one group whatever its name."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    @classmethod
    def connect(cls, endpoint: Any) -> Queue:
        raise NotImplementedError

    def declaration(self) -> ProfileDeclaration:
        whole = self._memory.declaration()
        return replace(whole, limits=replace(whole.limits, has_positions=False, has_partitions=False))

    def server_version(self) -> str:
        return "queue"

    def create_channel(self, spec: ChannelSpec) -> None:
        self._memory.create_channel(spec)

    def delete_channel(self, name: str) -> None:
        self._memory.delete_channel(name)

    def list_channels(self, prefix: str) -> list[str]:
        return self._memory.list_channels(prefix)

    def producer(self, channel: str, settings: ProducerSettings) -> MemoryProducer:
        return self._memory.producer(channel, settings)

    def consumer(self, channel: str, settings: ConsumerSettings) -> QueueConsumer:
        return QueueConsumer(self._memory.consumer(channel, replace(settings, group="all")))

    def backlog(self, channel: str, group: str) -> int:
        return self._memory.backlog(channel, "all")

    def close(self) -> None:
        self._memory.close()


def queue() -> Callable[[], Broker]:
    space = Space()
    return lambda: Queue(Memory(space))


def test_the_reference_keeps_every_promise(tmp_path: Path) -> None:
    found, metrics, _ = harness.run(replay, harness.memory(), tmp_path, **SMALL)
    declaration = harness.memory()().declaration()
    verdicts = {name: judge(declaration.of(name), finding).verdict for name, finding in found.items()}
    assert set(verdicts.values()) == {Verdict.CONFIRMED}, verdicts
    assert found["replay.time_offset"].samples == (0.0, 0.0, 0.0)
    # Three whole replays, three shares of one, and three beside the group with all that was sent meanwhile.
    assert found["replay.complete"].observations > 3 * 600 + 3 * 900
    assert {(metric.name, metric.labels["mode"]) for metric in metrics} == {
        (name, mode)
        for name in ("replay_rate", "replay_first_message")
        for mode in ("from_beginning", "from_position", "from_time")
    }


def test_without_replay_the_attempts_are_made_and_fail(tmp_path: Path) -> None:
    found, _, seen = harness.run(replay, queue(), tmp_path, **SMALL)
    for mode in ("from_beginning", "from_position", "from_time", "independent_reader"):
        finding = found[f"replay.{mode}"]
        assert finding.observations == finding.violations > 0
        assert finding.offenders
    for name in ("replay.complete", "replay.intact", "replay.order", "replay.time_offset"):
        assert "no operation" in found[name].not_testable
    assert found["delivery.no_loss"].observations == 900
    assert not found["delivery.no_loss"].violations
    assert len(list(seen.events("attempt"))) == 3 + 2 + 3


@pytest.mark.parametrize(
    ("fault", "properties"),
    [
        (FaultName.REPLAY_GAP, {"replay.complete", "replay.independent_reader"}),
        (FaultName.REPLAY_REORDER, {"replay.order"}),
        (FaultName.REPLAY_ALTERED, {"replay.intact"}),
        (FaultName.LOSE, {"delivery.no_loss", "replay.independent_reader"}),
        (FaultName.DUPLICATE, {"delivery.no_duplicate", "replay.independent_reader"}),
        (FaultName.DUPLICATE_AFTER_LEASE, {"delivery.no_duplicate", "replay.independent_reader"}),
        (FaultName.CORRUPT, {"delivery.intact"}),
        (FaultName.PHANTOM, {"delivery.no_phantom"}),
        (FaultName.UNKNOWN_OUTCOME, set()),
    ],
)
def test_a_fault_is_seen_and_no_other_is_claimed(fault: FaultName, properties: set[str], tmp_path: Path) -> None:
    found, _, _ = harness.run(replay, harness.faulty(Fault(fault, 0.05)), tmp_path, **SMALL)
    assert {name for name, finding in found.items() if finding.violations} == properties
    for name in properties:
        assert found[name].offenders or name == "replay.independent_reader"


class EndsEarly:
    """A reader that brings this many messages and then no more, though the broker says that it keeps them."""

    def __init__(self, inner: MemoryReader, most: int) -> None:
        self._inner, self._left = inner, most

    def read(self, max_messages: int, wait_s: float) -> Received:
        received = self._inner.read(min(max_messages, self._left) or 1, wait_s if self._left else 0.0)
        if not self._left:
            time.sleep(wait_s)
            return Received.empty(time.monotonic_ns())
        self._left -= len(received)
        return received

    def close(self) -> None:
        self._inner.close()


class ReadsAPart(Memory):
    most = 180

    def reader(self, channel: str, start: ReplayStart) -> EndsEarly:  # type: ignore[override]
        return EndsEarly(super().reader(channel, start), self.most)


class ReadsNothing(ReadsAPart):
    most = 0


@pytest.mark.parametrize("kind", [ReadsAPart, ReadsNothing])
def test_a_reader_that_ends_for_ever_is_no_replay(kind: type[ReadsAPart], tmp_path: Path) -> None:
    space = Space()
    found, _, _ = harness.run(replay, lambda: kind(space), tmp_path, **{**SMALL, "attempts": 1})
    declaration = harness.memory()().declaration()
    refuted = {name for name in found if judge(declaration.of(name), found[name]).verdict is Verdict.REFUTED}
    expected = {"replay.complete", "replay.independent_reader"}
    if kind is ReadsNothing:
        expected |= {"replay.from_beginning", "replay.from_position", "replay.from_time"}
    assert refuted == expected


class OneCursor(Memory):
    """All groups share the messages, whatever their names."""

    def consumer(self, channel: str, settings: ConsumerSettings) -> MemoryConsumer:
        return super().consumer(channel, replace(settings, group="all"))

    def backlog(self, channel: str, group: str) -> int:
        return super().backlog(channel, "all")


def test_groups_that_share_a_cursor_are_not_independent(tmp_path: Path) -> None:
    space = Space()
    found, _, _ = harness.run(replay, lambda: OneCursor(space), tmp_path, **SMALL)
    assert {name for name in found if found[name].violations} == {"replay.independent_reader"}
