"""The four works of the suite, each in three steps: prepare (not timed), do (timed), verify (not timed).

Every message is stamped, recorded and verified: each message of a round must arrive once, unaltered. The time covers
the client library with this project's interface, stamps and history, in one process.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brokerbench.brokers.protocols import Broker, Replayable
from brokerbench.brokers.types import ConsumerSettings, FromBeginning, ProducerSettings
from brokerbench.scenarios.clients.recording import (
    RecordedBatch,
    RecordingConsumer,
    RecordingProducer,
    RecordingReader,
    take_until,
)
from brokerbench.scenarios.history import Writer
from brokerbench.scenarios.history.stamp import INTACT, Stamps

_RUN = 1
_KEYS = 1000
_WARM = 10
"""Messages that open connections and join the group before the clock starts."""
_PATIENCE_S = 60.0
_AHEAD_BYTES = 1 << 20
"""Bytes that a client may fetch before the timing: little beside a round."""


class NotVerified(AssertionError):
    """A message was lost, altered, or came twice: the round's time means nothing."""


@dataclass(frozen=True, slots=True)
class RoundLoad:
    """``messages`` of ``size`` bytes a round, in batches of ``batch``."""

    messages: int
    size: int
    batch: int


@dataclass(slots=True)
class TimedRound:
    """One round on a channel of its own. ``seen`` holds the stamps of received messages, ``got`` counts them."""

    load: RoundLoad
    broker: Broker
    channel: str
    sending: Writer
    receiving: Writer
    producer: RecordingProducer
    consumer: RecordingConsumer
    reader: RecordingReader | None = None
    seen: list[Stamps] = field(default_factory=list)
    got: int = 0

    def publish(self) -> None:
        """All messages of the load, settled."""
        for first in range(0, self.load.messages, self.load.batch):
            count = min(self.load.batch, self.load.messages - first)
            self.producer.send(np.arange(first, first + count) % _KEYS)
        self.producer.flush(_PATIENCE_S)

    def join(self) -> None:
        """Take the warm-up messages, so that joining the group is not timed."""
        self._collect(self._take, _WARM)

    def consume(self) -> None:
        """Take and acknowledge as many messages as were sent."""
        self._collect(self._take, _WARM + self.load.messages)

    def both(self) -> None:
        """Publish in a thread of its own, and consume."""
        with ThreadPoolExecutor(1, "publisher") as pool:
            publishing = pool.submit(self.publish)
            self.consume()
        publishing.result()

    def open_replay(self) -> None:
        """A reader from the beginning, beside the group that has consumed everything."""
        assert isinstance(self.broker, Replayable), "asked before"
        self.reader = RecordingReader(self.broker, self.channel, FromBeginning(), self.receiving, number=1)
        self.seen.clear()
        self.got = 0

    def replay(self) -> None:
        """Read again what was consumed, from the beginning."""
        assert self.reader is not None, "opened before"
        self._collect(self.reader.read, _WARM + self.load.messages)

    def _take(self, most: int, wait_s: float) -> RecordedBatch:
        taken = self.consumer.take(most, wait_s)
        if len(taken):
            self.consumer.acknowledge(taken)
        return taken

    def _collect(self, take: Callable[[int, float], RecordedBatch], count: int) -> None:
        """Take until ``count`` messages came in all, or none came for ``_PATIENCE_S``."""
        for taken in take_until(take, count - self.got, _PATIENCE_S, most=self.load.batch, renewed=True):
            self.seen.append(taken.stamps)
            self.got += len(taken)

    def verify(self) -> None:
        """Raises NotVerified unless each message was acknowledged, and arrived once and unaltered."""
        sent = _WARM + self.load.messages
        if self.producer.acknowledged != sent:
            raise NotVerified(f"of {sent} messages {self.producer.acknowledged} were acknowledged")
        status = np.concatenate([np.empty(0, np.int8), *(stamps.status for stamps in self.seen)])
        if altered := int((status != INTACT).sum()):
            raise NotVerified(f"{altered} of {len(status)} messages were altered, or never sent")
        seqs = np.concatenate([np.empty(0, np.int64), *(stamps.seq for stamps in self.seen)])
        times = np.bincount(seqs, minlength=sent)
        missing, again = int((times == 0).sum()), int((times > 1).sum())
        if missing or again:
            raise NotVerified(f"of {sent} messages {missing} did not come, {again} came more than once")

    def close(self) -> None:
        for actor in (self.producer, self.consumer, self.reader):
            if actor is not None:
                actor.close()
        self.sending.close()
        self.receiving.close()


def begin(broker: Broker, channel: str, load: RoundLoad, history: Path) -> TimedRound:
    """A round whose connections are open and whose group has its one member."""
    sending, receiving = Writer(history, "producer", _RUN), Writer(history, "consumer", _RUN)
    settings = ProducerSettings(max_in_flight=10 * load.batch)
    producer = RecordingProducer(
        broker, channel, sending, number=0, run=_RUN, seed=1, size=load.size, settings=settings
    )
    ahead = ConsumerSettings(prefetch_bytes=_AHEAD_BYTES)
    consumer = RecordingConsumer(broker, channel, receiving, number=0, settings=ahead)
    found = TimedRound(load, broker, channel, sending, receiving, producer, consumer)
    producer.send(np.arange(_WARM))
    producer.flush(_PATIENCE_S)
    found.join()
    return found


@dataclass(frozen=True, slots=True)
class TimedWork:
    """The timed step, and the steps before and after it."""

    prepare: Callable[[TimedRound], None]
    do: Callable[[TimedRound], None]
    finish: Callable[[TimedRound], None]


def _nothing(found: TimedRound) -> None:
    """No step: the round is ready, or complete."""


def _prepare_replay(found: TimedRound) -> None:
    found.publish()
    found.consume()
    found.verify()
    found.open_replay()


WORKS = {
    "publish": TimedWork(_nothing, TimedRound.publish, TimedRound.consume),
    "consume": TimedWork(TimedRound.publish, TimedRound.consume, _nothing),
    "both": TimedWork(_nothing, TimedRound.both, _nothing),
    "replay": TimedWork(_prepare_replay, TimedRound.replay, _nothing),
}
