"""An experiment on the reference broker, recorded as the scenarios record theirs, by the same actors.

* ``deliver``: producers send to one channel, consumers of one group take, fail some once as a careful worker would
  (the failed one and what must not overtake it go back), acknowledge the rest, until a proven drain; then the channel
  is read again.
* ``line``: the same with one consumer, and nothing fails.
* ``lapse``: all consumers take what they can and die; when their leases have ended others come.
* ``keep``: nobody consumes; the channel is read once before its age limit, and once after it.

All is done by one thread, in turns that depend on nothing but the seed: a fault hits the same messages every time.
Waiting is told, not done: the broker's clock jumps, and so do the times in what was recorded after the jump.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from brokers.faulty import Fault, FaultName, Faulty, Offender
from brokers.memory import Memory, Space, steady_epoch_ns
from brokers.types import ChannelSpec, ConsumerSettings, FromBeginning, Retention
from scenarios import history
from scenarios.actors import Replayer, Sender, Taken, Taker
from scenarios.history import Columns, History, Writer
from scenarios.stamp import INTACT

CHANNEL = "c"
GROUP = "g"
RUN = 1
LEASE_S = 3600.0
"""Far longer than any experiment takes: leases end when the clock jumps."""
LIMIT_S = 7200.0
_EARLY_LOOK, _LATE_LOOK = 0.75, 1.5
_FAILS_EVERY = 20
_TAKE = 500
_READ = 1000
_READER = 100
"""Numbers of readers begin here."""

Mask = npt.NDArray[np.bool_]
Failing = Callable[[Taken], Mask]


class Story(StrEnum):
    DELIVER = "deliver"
    LINE = "line"
    LAPSE = "lapse"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Size:
    """``keys`` of each producer: no two producers share one."""

    messages: int
    seed: int = 1
    producers: int = 4
    keys: int = 100
    consumers: int = 3
    partitions: int = 4
    size: int = 64


@dataclass(frozen=True, slots=True)
class Played:
    history: History
    offenders: Mapping[FaultName, Sequence[Offender]]


class Clock:
    """Epoch time of the broker, and how far it has jumped."""

    def __init__(self) -> None:
        self.skipped_ns = 0

    def __call__(self) -> int:
        return steady_epoch_ns() + self.skipped_ns

    def skip(self, seconds: float) -> None:
        self.skipped_ns += int(seconds * 1e9)


class Stage:
    """Writes a history in parts, one for each time between two jumps of the clock."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory, self._clock = directory, clock
        self._parts: list[tuple[Path, int]] = []
        self.writer = self._open()

    def jump(self, seconds: float) -> None:
        """Actors that go on after a jump must be given the new ``writer``."""
        self.writer.close()
        self._clock.skip(seconds)
        self.writer = self._open()

    def close(self) -> History:
        self.writer.close()
        return joined([shifted(history.load(path), by_ns) for path, by_ns in self._parts])

    def _open(self) -> Writer:
        path = self._directory / str(len(self._parts))
        self._parts.append((path, self._clock.skipped_ns))
        return Writer(path, "selftest", RUN)


def shifted(part: History, by_ns: int) -> History:
    """The same, so much later by the clock of this host. (The broker's own times come from the broker.)"""
    if not by_ns:
        return part

    def later(columns: Columns) -> Columns:
        return {
            name: column + by_ns if name.endswith("_ns") and "epoch" not in name else column
            for name, column in columns.items()
        }

    def moved(mark: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value + by_ns if name in ("at_ns", "began_ns") else value for name, value in mark.items()}

    marks = [moved(mark) for mark in part.marks]
    return History(later(part.sends), later(part.settled), later(part.deliveries), later(part.settles), marks)


def joined(parts: Sequence[History]) -> History:
    if len(parts) == 1:
        return parts[0]

    def both(tables: Sequence[Columns]) -> Columns:
        return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}

    return History(
        both([part.sends for part in parts]),
        both([part.settled for part in parts]),
        both([part.deliveries for part in parts]),
        both([part.settles for part in parts]),
        [mark for part in parts for mark in part.marks],
    )


def play(story: Story, size: Size, faults: Sequence[Fault]) -> Played:
    """The whole history of one experiment, and what the faults really hit."""
    clock = Clock()
    broker = Faulty(Memory(Space(clock)), faults)
    with tempfile.TemporaryDirectory(prefix="brokerbench-selftest-") as directory:
        stage = Stage(Path(directory), clock)
        _PLAYS[story](broker, size, stage)
        return Played(stage.close(), broker.offenders)


def _deliver(broker: Faulty, size: Size, stage: Stage) -> None:
    takers = _begin(broker, size, stage, alone=False)
    for send in _senders(broker, size, stage.writer):
        send()
        _turn(takers, _failing)
    _end(broker, stage.writer, takers, _failing)


def _line(broker: Faulty, size: Size, stage: Stage) -> None:
    takers = _begin(broker, replace(size, consumers=1), stage, alone=True)
    for send in _senders(broker, size, stage.writer):
        send()
        _turn(takers, _none_fails)
    _end(broker, stage.writer, takers, _none_fails)


def _lapse(broker: Faulty, size: Size, stage: Stage) -> None:
    takers = _begin(broker, size, stage, alone=False)
    for send in _senders(broker, size, stage.writer):
        send()
    for taker in takers:
        taker.take(_TAKE, 0.0)
        taker.close()
    stage.jump(LEASE_S)
    takers = _takers(broker, size, stage.writer, first=size.consumers)
    _end(broker, stage.writer, takers, _none_fails)


def _begin(broker: Faulty, size: Size, stage: Stage, *, alone: bool) -> list[Taker]:
    broker.create_channel(ChannelSpec(CHANNEL, partitions=size.partitions, lease_s=LEASE_S))
    stage.writer.mark("phase", channel=CHANNEL, lease_s=LEASE_S, alone=alone)
    return _takers(broker, size, stage.writer, first=0)


def _takers(broker: Faulty, size: Size, writer: Writer, first: int) -> list[Taker]:
    return [
        Taker(
            broker,
            CHANNEL,
            writer,
            number=number,
            settings=ConsumerSettings(group=GROUP, name=f"consumer-{number}"),
        )
        for number in range(first, first + size.consumers)
    ]


def _end(broker: Faulty, writer: Writer, takers: Sequence[Taker], failing: Failing) -> None:
    while broker.backlog(CHANNEL, GROUP):
        _turn(takers, failing)
    writer.mark("drained", channel=CHANNEL, group=GROUP)
    _read_again(broker, writer, _READER)


def _keep(broker: Faulty, size: Size, stage: Stage) -> None:
    limit = Retention(max_age_s=LIMIT_S)
    broker.create_channel(ChannelSpec(CHANNEL, partitions=size.partitions, lease_s=LEASE_S, retention=limit))
    stage.writer.mark("kept", channel=CHANNEL, age_s=LIMIT_S)
    for send in _senders(broker, size, stage.writer):
        send()
    stage.jump(_EARLY_LOOK * LIMIT_S)
    _read_again(broker, stage.writer, _READER)
    stage.jump((_LATE_LOOK - _EARLY_LOOK) * LIMIT_S)
    _read_again(broker, stage.writer, _READER + 1)


_PLAYS: Mapping[Story, Callable[[Faulty, Size, Stage], None]] = {
    Story.DELIVER: _deliver,
    Story.LINE: _line,
    Story.LAPSE: _lapse,
    Story.KEEP: _keep,
}


def _senders(broker: Faulty, size: Size, writer: Writer) -> list[Callable[[], object]]:
    """Sends in turns, each of one batch; the last ones also wait for what is still open."""
    rng = np.random.default_rng(size.seed)
    senders = [
        Sender(broker, CHANNEL, writer, number=number, run=RUN, seed=size.seed, size=size.size)
        for number in range(size.producers)
    ]
    batch = max(10, min(500, size.messages // (8 * size.producers)))
    turns: list[Callable[[], object]] = []
    for at, first in enumerate(range(0, size.messages, batch)):
        number = at % size.producers
        count = min(batch, size.messages - first)
        keys = rng.integers(0, size.keys, count) * size.producers + number
        turns.append(partial(senders[number].send, keys))
    return [*turns, *(sender.flush for sender in senders)]


def _turn(takers: Sequence[Taker], failing: Failing) -> None:
    """All take, then all settle: what one has in hand, the others must not get."""
    taken = [(taker, taker.take(_TAKE, 0.0)) for taker in takers]
    for taker, batch in taken:
        if len(batch):
            settle(taker, batch, failing(batch))


def _none_fails(batch: Taken) -> Mask:
    return np.zeros(len(batch), bool)


def _failing(batch: Taken) -> Mask:
    """Those that fail: one in so many, at their first delivery."""
    stamps = batch.stamps
    first = batch.received.delivery_counts == 1
    failing: Mask = (stamps.status == INTACT) & first & ((stamps.seq * 7 + stamps.producer) % _FAILS_EVERY == 0)
    return failing


def settle(taker: Taker, batch: Taken, failing: Mask) -> None:
    """Give back what fails and the later ones of its key in this batch; acknowledge the rest."""
    back = failing.copy()
    keys = batch.stamps.key
    for at in np.flatnonzero(failing).tolist():
        back[at:] |= keys[at:] == keys[at]
    if back.any():
        taker.release(batch, np.flatnonzero(back))
    if not back.all():
        taker.acknowledge(batch, np.flatnonzero(~back))


def _read_again(broker: Faulty, writer: Writer, number: int) -> None:
    began_ns = time.monotonic_ns()
    _, end = broker.bounds(CHANNEL)
    replayer = Replayer(broker, CHANNEL, FromBeginning(), writer, number=number)
    while len(replayer.read(_READ, 0.0)):
        pass
    replayer.close()
    last = {str(partition): place - 1 for partition, place in end.places.items()}
    writer.mark(
        "attempt",
        channel=CHANNEL,
        mode="from_beginning",
        reader=number,
        outcome="read",
        began_ns=began_ns,
        last=last,
    )
