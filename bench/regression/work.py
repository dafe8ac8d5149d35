"""The four works of the suite, each in three steps: prepare (not timed), do (timed), verify (not timed).

Every message is stamped, written to a history and looked for: each of a round's must come once, as it was sent. What is
timed is the client library with this project's interface, stamps and history, in one process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
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
"""What a client may fetch before the clock starts: little beside a round."""


class NotVerified(AssertionError):
    """A message was lost, altered, or came twice: the round's time means nothing."""


@dataclass(frozen=True, slots=True)
class Load:
    """``messages`` of ``size`` bytes a round, in batches of ``batch``."""

    messages: int
    size: int
    batch: int


@dataclass(slots=True)
class Round:
    """One round on a channel of its own. ``seen`` holds the stamps of what came, ``got`` counts them."""

    load: Load
    broker: Broker
    channel: str
    sending: Writer
    receiving: Writer
    sender: RecordingProducer
    taker: RecordingConsumer
    replayer: RecordingReader | None = None
    seen: list[Stamps] = field(default_factory=list)
    got: int = 0

    def publish(self) -> None:
        """All messages of the load, settled."""
        for first in range(0, self.load.messages, self.load.batch):
            count = min(self.load.batch, self.load.messages - first)
            self.sender.send(np.arange(first, first + count) % _KEYS)
        self.sender.flush(_PATIENCE_S)

    def join(self) -> None:
        """Take the messages sent to warm up, so that joining the group is not timed."""
        self._collect(self._take, _WARM)

    def consume(self) -> None:
        """Take and acknowledge until as many came as were sent."""
        self._collect(self._take, _WARM + self.load.messages)

    def both(self) -> None:
        """Publish in a thread of its own, and consume."""
        failed: list[BaseException] = []

        def publish() -> None:
            try:
                self.publish()
            except BaseException as problem:
                failed.append(problem)

        thread = threading.Thread(target=publish, name="publisher")
        thread.start()
        try:
            self.consume()
        finally:
            thread.join()
        if failed:
            raise failed[0]

    def open_replay(self) -> None:
        """A reader from the beginning, beside the group that has consumed everything."""
        assert isinstance(self.broker, Replayable), "asked before"
        self.replayer = RecordingReader(self.broker, self.channel, FromBeginning(), self.receiving, number=1)
        self.seen.clear()
        self.got = 0

    def replay(self) -> None:
        """Read again what was consumed, from the beginning."""
        replayer = self.replayer
        assert replayer is not None, "opened before"
        self._collect(replayer.read, _WARM + self.load.messages)

    def _take(self, most: int, wait_s: float) -> RecordedBatch:
        taken = self.taker.take(most, wait_s)
        if len(taken):
            self.taker.acknowledge(taken)
        return taken

    def _collect(self, take: Callable[[int, float], RecordedBatch], count: int) -> None:
        """Until ``count`` messages came in all, or none for a long time: a loss is never only impatience."""
        for taken in take_until(take, count - self.got, _PATIENCE_S, most=self.load.batch, renewed=True):
            self.seen.append(taken.stamps)
            self.got += len(taken)

    def verify(self) -> None:
        """Each message that was sent was acknowledged, and came once and as it was sent. Raises NotVerified."""
        sent = _WARM + self.load.messages
        if self.sender.acknowledged != sent:
            raise NotVerified(f"of {sent} messages {self.sender.acknowledged} were acknowledged")
        status = np.concatenate([np.empty(0, np.int8), *(stamps.status for stamps in self.seen)])
        if altered := int((status != INTACT).sum()):
            raise NotVerified(f"{altered} of {len(status)} messages were altered, or never sent")
        seqs = np.concatenate([np.empty(0, np.int64), *(stamps.seq for stamps in self.seen)])
        times = np.bincount(seqs, minlength=sent)
        missing, again = int((times == 0).sum()), int((times > 1).sum())
        if missing or again:
            raise NotVerified(f"of {sent} messages {missing} did not come, {again} came more than once")

    def close(self) -> None:
        for actor in (self.sender, self.taker, self.replayer):
            if actor is not None:
                actor.close()
        self.sending.close()
        self.receiving.close()


def begin(broker: Broker, channel: str, load: Load, history: Path) -> Round:
    """A round whose connections are open and whose group has its one member."""
    sending, receiving = Writer(history, "sender", _RUN), Writer(history, "taker", _RUN)
    settings = ProducerSettings(max_in_flight=10 * load.batch)
    sender = RecordingProducer(broker, channel, sending, number=0, run=_RUN, seed=1, size=load.size, settings=settings)
    taker = RecordingConsumer(
        broker, channel, receiving, number=0, settings=ConsumerSettings(prefetch_bytes=_AHEAD_BYTES)
    )
    found = Round(load, broker, channel, sending, receiving, sender, taker)
    sender.send(np.arange(_WARM))
    sender.flush(_PATIENCE_S)
    found.join()
    return found


@dataclass(frozen=True, slots=True)
class Work:
    """What is timed, with what comes before and after it."""

    prepare: Callable[[Round], None]
    do: Callable[[Round], None]
    finish: Callable[[Round], None]


def _nothing(found: Round) -> None:
    """The round is ready as it began, or complete as it is."""


def _prepare_replay(found: Round) -> None:
    found.publish()
    found.consume()
    found.verify()
    found.open_replay()


WORKS = {
    "publish": Work(_nothing, Round.publish, Round.consume),
    "consume": Work(Round.publish, Round.consume, _nothing),
    "both": Work(_nothing, Round.both, _nothing),
    "replay": Work(_prepare_replay, Round.replay, _nothing),
}
