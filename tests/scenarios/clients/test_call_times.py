"""An adapter's times lie within the harness's calls, or the cell fails with a message that says so."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brokerbench.brokers import registry
from brokerbench.brokers.types import (
    Batch,
    ChannelSpec,
    ConsumerSettings,
    Endpoint,
    Outcome,
    ProducerSettings,
    Received,
    Settlements,
)
from brokerbench.scenarios.clients.call_times import TOLERANCE_NS, AdapterClock, CallTimes, SentTimes
from brokerbench.scenarios.clients.recording import RecordingConsumer, RecordingProducer
from brokerbench.scenarios.history import Writer, saved_history

EARLY, LATE = -50_000_000, 50_000_000


class _Shifted:
    """A client whose times are wrong by ``by_ns``."""

    def __init__(self, inner: Any, by_ns: int) -> None:
        self._inner, self._by_ns = inner, by_ns

    def receive(self, *given: Any) -> Received:
        received = self._inner.receive(*given)
        return replace(received, received_ns=received.received_ns + self._by_ns)

    def acknowledge(self, *given: Any) -> Settlements:
        return self._moved(self._inner.acknowledge(*given))

    def poll(self) -> Settlements:
        return self._moved(self._inner.poll())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _moved(self, settled: Settlements) -> Settlements:
        return replace(settled, settled_ns=settled.settled_ns + self._by_ns)


@pytest.fixture
def broker(tmp_path: Path) -> Any:
    found = registry.connect("memory", Endpoint("memory", f"memory://{tmp_path}"))
    found.create_channel(ChannelSpec("c"))
    return found


@pytest.mark.parametrize(("by_ns", "words"), [(EARLY, "too early"), (LATE, "too late")])
def test_a_time_outside_of_its_call_fails_with_profile_call_and_times(
    tmp_path: Path, broker: Any, by_ns: int, words: str
) -> None:
    broker.producer("c", ProducerSettings()).send(Batch([b"x"]))
    with Writer(tmp_path, "w", run=1) as writer:
        consumer = RecordingConsumer(broker, "c", writer, number=0)
        inner = consumer.consumer
        consumer.consumer = _Shifted(inner, by_ns)  # type: ignore[assignment]
        with pytest.raises(AdapterClock, match=rf"memory.*consumer\.receive returned received_ns.*{words}"):
            consumer.take(1, 1.0)
        broker.producer("c", ProducerSettings()).send(Batch([b"y"]))
        consumer.consumer = inner
        batch = consumer.take(1, 1.0)
        consumer.consumer = _Shifted(inner, by_ns)  # type: ignore[assignment]
        with pytest.raises(AdapterClock, match=rf"consumer\.acknowledge returned settled_ns.*{words}"):
            consumer.acknowledge(batch)
        producer = RecordingProducer(broker, "c", writer, number=0, run=1, seed=1, size=64)
        producer._producer = _Shifted(producer._producer, by_ns)
        with pytest.raises(AdapterClock, match=rf"producer\.poll returned settled_ns.*{words}"):
            producer.send([1])


def test_a_coarse_clock_is_moved_to_the_nearer_end(tmp_path: Path, broker: Any) -> None:
    broker.producer("c", ProducerSettings()).send(Batch([b"x"]))
    with Writer(tmp_path, "w", run=1) as writer:
        consumer = RecordingConsumer(broker, "c", writer, number=0, settings=ConsumerSettings(details=False))
        consumer.consumer = _Shifted(consumer.consumer, -TOLERANCE_NS // 2)  # type: ignore[assignment]
        before_ns = time.monotonic_ns()
        batch = consumer.take(1, 1.0)
        settled = consumer.acknowledge(batch)
    assert before_ns <= batch.received.received_ns <= int(settled.settled_ns[0])
    deliveries = saved_history.load(tmp_path).deliveries
    assert before_ns <= deliveries["asked_ns"][0] <= deliveries["received_ns"][0]
    assert deliveries["broker_key"].tolist() == [-3], "not asked for"


def test_settlements_that_arrived_between_calls_are_as_old_as_their_sends_at_most() -> None:
    times, now_ns = CallTimes("p"), time.monotonic_ns()
    sent = SentTimes()
    for ticket, at_ns in ((0, now_ns - 30_000_000), (5, now_ns - 29_900_000), (9, now_ns - 10_000_000)):
        sent.sent(ticket, at_ns)
    assert [now_ns - sent.of(ticket) for ticket in (0, 8, 9, 50)] == [30_000_000, 30_000_000, 10_000_000, 10_000_000]
    assert sent.of(-1) == 0
    between = Settlements.uniform(9, 2, Outcome.ACKNOWLEDGED, now_ns - 5_000_000)
    assert times.settled("poll", between, sent.of(9)) is between
    with pytest.raises(AdapterClock, match="10 ms too early"):
        times.settled("poll", replace(between, settled_ns=np.array([now_ns, now_ns - 20_000_000])), sent.of(9))
    none = Settlements.empty()
    assert times.settled("poll", none, now_ns) is none
