"""Consumers acknowledge batches one by one, together where they can, or ahead; producers stamp ahead."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from brokerbench.brokers import registry
from brokerbench.brokers.protocols import Producer
from brokerbench.brokers.types import (
    Batch,
    ChannelSpec,
    ConsumerSettings,
    Endpoint,
    Indices,
    ProducerSettings,
    Received,
    SendReceipt,
    Settlements,
)
from brokerbench.scenarios import history
from brokerbench.scenarios.clients.recording import RecordingConsumer, RecordingProducer, take_until
from brokerbench.scenarios.history import saved_history, stamp


class _Bundled:
    """A consumer that counts what is asked of it."""

    def __init__(self, inner: object) -> None:
        self.inner = inner
        self.together: list[int] = []

    def receive(self, max_messages: int, wait_s: float) -> Received:
        return self.inner.receive(max_messages, wait_s)  # type: ignore[attr-defined, no-any-return]

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        return self.inner.acknowledge(received, indices)  # type: ignore[attr-defined, no-any-return]

    def acknowledge_all(self, batches: Sequence[Received]) -> list[Settlements]:
        self.together.append(len(batches))
        return [self.acknowledge(received) for received in batches]

    def close(self) -> None: ...


@pytest.mark.parametrize("bundled", [False, True])
def test_every_batch_is_settled_and_written_down(tmp_path: Path, bundled: bool) -> None:
    endpoint = Endpoint("noop", f"noop://{tmp_path}")
    broker = registry.connect("noop", endpoint)
    broker.create_channel(ChannelSpec("channel"))
    broker.producer("channel", ProducerSettings()).send(Batch([b"x"] * 30))
    with history.Writer(tmp_path, "part", 1) as writer:
        consumer = RecordingConsumer(broker, "channel", writer, number=7)
        if bundled:
            consumer.consumer = _Bundled(consumer.consumer)
        batches = [consumer.take(10, 0.0).bare() for _ in range(3)]
        assert [len(batch) for batch in batches] == [10, 10, 10]
        assert not any(len(batch.received.payloads) for batch in batches)
        consumer.acknowledge_all(batches[:1])
        consumer.acknowledge_all(batches[1:])
        consumer.acknowledge_all([])
        if bundled:
            assert consumer.consumer.together == [2]  # type: ignore[attr-defined]
    acknowledgements = saved_history.load(tmp_path).acknowledgements
    assert acknowledgements["batch"].tolist() == np.repeat([0, 1, 2], 10).tolist()
    assert acknowledgements["slot"].tolist() == [*range(10)] * 3
    broker.delete_channel("channel")


class _Pipelined:
    """A consumer whose answers come one call late."""

    def __init__(self, inner: object) -> None:
        self.inner = inner
        self.late: list[Settlements] = []

    def receive(self, max_messages: int, wait_s: float) -> Received:
        return self.inner.receive(max_messages, wait_s)  # type: ignore[attr-defined, no-any-return]

    def receive_and_acknowledge(self, max_messages: int, wait_s: float) -> Received:
        received = self.receive(max_messages, wait_s)
        if len(received):
            self.late.append(self.inner.acknowledge(received))  # type: ignore[attr-defined]
        return received

    def answers(self, timeout_s: float | None = None) -> list[Settlements]:
        kept = 1 if timeout_s is None else 0
        told, self.late = self.late[: len(self.late) - kept], self.late[len(self.late) - kept :]
        return told

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        raise AssertionError("it is acknowledged already")

    def close(self) -> None: ...


def test_late_answers_are_written_down_for_the_batch_that_they_are_about(tmp_path: Path) -> None:
    broker = registry.connect("noop", Endpoint("noop", f"noop://{tmp_path}"))
    broker.create_channel(ChannelSpec("channel"))
    broker.producer("channel", ProducerSettings()).send(Batch([b"x"] * 25))
    with history.Writer(tmp_path, "part", 1) as writer:
        consumer = RecordingConsumer(broker, "channel", writer, number=7)
        assert not consumer.can_pipeline
        with pytest.raises(TypeError):
            consumer.take_ahead(10, 0.0)
        consumer.settle(1.0)
        consumer.consumer = _Pipelined(consumer.consumer)
        assert consumer.can_pipeline
        assert [len(consumer.take_ahead(10, 0.0)) for _ in range(4)] == [10, 10, 5, 0]
        consumer.settle(1.0)
    written = saved_history.load(tmp_path)
    assert (
        written.deliveries["batch"].tolist()
        == written.acknowledgements["batch"].tolist()
        == [0] * 10 + [1] * 10 + [2] * 5
    )
    assert (written.acknowledgements["asked_ns"] == written.deliveries["received_ns"]).all()
    broker.delete_channel("channel")


class _Breaks:
    """A producer whose second send fails."""

    def __init__(self, inner: Producer) -> None:
        self._inner, self._calls = inner, 0

    def send(self, batch: Batch) -> SendReceipt:
        self._calls += 1
        if self._calls == 2:
            raise OSError("gone")
        return self._inner.send(batch)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


@pytest.mark.parametrize("breaks", [False, True])
def test_what_was_stamped_ahead_is_written_down_as_far_as_it_was_handed_over(tmp_path: Path, breaks: bool) -> None:
    broker = registry.connect("noop", Endpoint("noop", f"noop://{tmp_path}"))
    broker.create_channel(ChannelSpec("channel"))
    due_ns, keys = np.arange(100, 110, dtype=np.int64), np.arange(10, dtype=np.int64)
    breaking: Any = SimpleNamespace(
        producer=lambda *given: _Breaks(broker.producer(*given)), declaration=broker.declaration
    )
    with history.Writer(tmp_path, "part", 1) as writer:
        producer = RecordingProducer(
            breaking if breaks else broker, "channel", writer, number=3, run=1, seed=1, size=64
        )
        with (
            pytest.raises(OSError, match="gone") if breaks else nullcontext(),
            producer.stamped_ahead(keys, due_ns) as send,
        ):
            send(2)
            send(5)
        producer.flush()
        producer.send([7])
    found = saved_history.load(tmp_path)
    # Numbers stay without gaps.
    assert found.sends["seq"].tolist() == [*range(8)]
    assert found.sends["key"].tolist() == [*range(7), 7]
    assert found.sends["intended_ns"][:7].tolist() == [*range(100, 107)]
    assert (np.flatnonzero(np.diff(found.sends["sent_ns"])) + 1).tolist() == [2, 7]
    arrived = [0, 1, 7] if breaks else [*range(8)]
    received = broker.consumer("channel", ConsumerSettings()).receive(10, 0.0)
    stamps = stamp.read(received.payloads, 1)
    assert stamps.seq.tolist() == arrived
    for name, column in (("key", stamps.key), ("checksum", stamps.checksum)):
        assert column.tolist() == found.sends[name][arrived].tolist()
    assert stamps.due_ns[:-1].tolist() == found.sends["intended_ns"][arrived[:-1]].tolist()
    broker.delete_channel("channel")


def test_taking_ends_with_the_count_or_with_the_patience() -> None:
    asked: list[tuple[int, float]] = []

    def take(most: int, wait_s: float) -> range:
        asked.append((most, wait_s))
        return range(min(most, 30))

    assert [len(batch) for batch in take_until(take, 70, 60.0)] == [30, 30, 10]
    assert [most for most, _ in asked] == [70, 40, 10]
    assert all(wait_s <= 1.0 for _, wait_s in asked)
    assert list(take_until(take, 0, 60.0)) == []
    assert list(take_until(lambda most, wait_s: [], 5, 0.02)) == []


@pytest.mark.parametrize(("renewed", "most"), [(True, 5), (False, 3)])
def test_batches_renew_the_patience_if_wanted(monkeypatch: pytest.MonkeyPatch, renewed: bool, most: int) -> None:
    now = iter(range(0, 1000, 20))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    batches = iter([[1]] * 5)
    assert len(list(take_until(lambda most, wait_s: next(batches, []), None, 70.0, renewed=renewed))) == most
