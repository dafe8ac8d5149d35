"""The proof that a group has everything: silence is none while the broker shows what was not acknowledged."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from brokerbench.brokers.memory.broker import Memory, Space
from brokerbench.brokers.protocols import Broker, Consumer
from brokerbench.brokers.types import ConsumerSettings, Indices, Position, Received, Settlements
from brokerbench.scenarios import ordering
from brokerbench.scenarios.clients import consumer_group
from tests.scenarios import harness

SMALL: dict[str, Any] = {"messages": 400, "patience_s": 10.0, "lease_s": 2.0}


class Stalling:
    """A consumer that gets a few messages, then nothing for some time, then the rest."""

    def __init__(self, inner: Consumer, stall_s: float) -> None:
        self._inner, self._stall_s = inner, stall_s
        self._until = 0.0

    def receive(self, max_messages: int, wait_s: float) -> Received:
        if time.monotonic() < self._until:
            time.sleep(min(wait_s, 0.05))
            return Received.empty(time.monotonic_ns())
        received = self._inner.receive(max_messages, wait_s)
        if len(received) and not self._until:
            self._until = time.monotonic() + self._stall_s
        return received

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        return self._inner.acknowledge(received, indices)

    def close(self) -> None:
        self._inner.close()


class Stalls:
    """The reference without its counts, so that bounds must prove a drain, or without those, too."""

    def __init__(self, space: Space, stall_s: float) -> None:
        self._inner, self._stall_s = Memory(space), stall_s

    def __getattr__(self, name: str) -> Any:
        if name in ("backlog", "bounds"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def consumer(self, channel: str, settings: ConsumerSettings) -> Stalling:
        return Stalling(self._inner.consumer(channel, settings), self._stall_s)


class StallsWithBounds(Stalls):
    def bounds(self, channel: str) -> tuple[Position, Position]:
        return self._inner.bounds(channel)


@pytest.mark.parametrize(
    ("kind", "proof"),
    [
        (StallsWithBounds, "every place between the channel's bounds was acknowledged"),
        (Stalls, "nothing came for 0.2 s, and nothing was unsettled"),
    ],
)
def test_a_slow_consumer_is_waited_for(
    kind: type[Stalls], proof: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that stalls here is the consumer, for longer than the silence that would have been a proof."""
    monkeypatch.setattr(consumer_group, "_QUIET_S", 0.2)
    space, stall_s = Space(), 1.5 if kind is StallsWithBounds else 0.0

    def connect() -> Broker:
        return kind(space, stall_s)  # type: ignore[return-value]

    found, _, seen = harness.run(ordering, connect, tmp_path, **SMALL)
    assert {mark["proof"] for mark in seen.events("drained")} == {proof}
    assert found["delivery.no_loss"].violations == 0
    assert not list(seen.events("timeout"))


def test_a_consumer_that_has_received_nothing_proves_nothing_by_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its assignment may take longer than the silence."""
    monkeypatch.setattr(consumer_group, "_QUIET_S", 0.2)
    group = consumer_group.ConsumerGroup(
        harness.context(ordering, lambda: Stalls(Space(), 0.0), tmp_path),  # type: ignore[arg-type, return-value]
        "channel",
        "group",
        first_reader=0,
        count=2,
        batch=10,
    )
    group.progress.readers.add(0)
    time.sleep(0.3)
    assert group._proof(Stalls(Space(), 0.0)) == ""  # type: ignore[arg-type]
    group.progress.readers.add(1)
    assert group._proof(Stalls(Space(), 0.0)) != ""  # type: ignore[arg-type]
