"""An experiment on the reference broker, recorded as the scenarios record theirs, by the same actors.

* ``deliver``: producers send to one channel, consumers of one group take, fail some once as a careful worker would
  (the failed one and what must not overtake it go back), acknowledge the rest, until a proven drain; then the channel
  is read again.
* ``line``: the same with one consumer, and nothing fails.
* ``lapse``: all consumers take what they can and die; when their leases have ended others come.
* ``crash``: half of the messages are consumed when the broker crashes; then the rest.
* ``fail``: some messages fail always; after two deliveries they go to a channel of dead letters, which is consumed too.
* ``repeat``: like ``line``, but one in so many messages is sent twice, under one identity.
* ``keep``: nobody consumes; the channel is read once before its age limit, and once after it.

All is done by one thread, in turns that depend on nothing but the seed: a fault hits the same messages every time.
Nobody waits: the clock jumps (``scene``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

import numpy as np
import numpy.typing as npt

from brokerbench.bench.selftest.simulation import CHANNEL, RUN, Played, Simulation, record
from brokerbench.brokers.faulty import Fault
from brokerbench.brokers.memory.log import DEDUPLICATION_WINDOW_S
from brokerbench.brokers.types import ChannelSpec, ConsumerSettings, DeadLetterPolicy, FromBeginning, Retention
from brokerbench.scenarios.clients.recording import RecordedBatch, RecordingConsumer, RecordingProducer, RecordingReader
from brokerbench.scenarios.history.stamp import INTACT

GROUP = "g"
LEASE_S = 3600.0
"""Far longer than any experiment takes: leases end when the clock jumps."""
LIMIT_S = 7200.0
_EARLY_LOOK, _LATE_LOOK = 0.75, 1.5
_FAILS_EVERY = 20
_REPEATS_EVERY, _REPEATS_AFTER = 20, 7
_TAKE = 500
_MOST_JUMPS = 10
LETTERS = "d"
MAX_DELIVERIES = 2
_READ = 1000
_READER = 100
"""Numbers of readers begin here."""

Mask = npt.NDArray[np.bool_]
Failing = Callable[[RecordedBatch], Mask]


class Script(StrEnum):
    DELIVER = "deliver"
    LINE = "line"
    LAPSE = "lapse"
    CRASH = "crash"
    FAIL = "fail"
    REPEAT = "repeat"
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


def play(story: Script, size: Size, faults: Sequence[Fault]) -> Played:
    """The whole history of one experiment, and what the faults really hit."""
    return record(lambda scene: _PLAYS[story](scene, size), faults)


def _deliver(scene: Simulation, size: Size) -> None:
    takers = _begin(scene, size, alone=False)
    for send in _senders(scene, size):
        send()
        _turn(takers, _failing)
    _end(scene, takers, _failing)


def _line(scene: Simulation, size: Size) -> None:
    takers = _begin(scene, replace(size, consumers=1), alone=True)
    for send in _senders(scene, size):
        send()
        _turn(takers, _none_fails)
    _end(scene, takers, _none_fails)


def _lapse(scene: Simulation, size: Size) -> None:
    takers = _begin(scene, size, alone=False, lapses=True)
    for send in _senders(scene, size):
        send()
    for taker in takers:
        taker.take(_TAKE, 0.0)
        taker.close()
    scene.clock.jump(LEASE_S)
    takers = _takers(scene, size, first=size.consumers)
    _end(scene, takers, _none_fails)


def _crash(scene: Simulation, size: Size) -> None:
    takers = _begin(scene, size, alone=False)
    senders = _senders(scene, size)
    for at, send in enumerate(senders):
        send()
        if at < len(senders) // 2:
            _turn(takers, _none_fails)
    scene.broker.crash()
    _end(scene, takers, _none_fails)


def _fail(scene: Simulation, size: Size) -> None:
    scene.broker.create_channel(ChannelSpec(LETTERS, lease_s=LEASE_S))
    takers = _begin(scene, size, alone=False, dead_letter=DeadLetterPolicy(LETTERS, MAX_DELIVERIES))
    for send in _senders(scene, size):
        send()
        _turn(takers, _always_failing)
    _end(scene, takers, _always_failing)
    (reader,) = _takers(scene, replace(size, consumers=1), first=_READER + 50, channel=LETTERS)
    _drain(scene, [reader], _none_fails, LETTERS)


def _repeat(scene: Simulation, size: Size) -> None:
    takers = _begin(scene, replace(size, consumers=1), alone=True, window_s=DEDUPLICATION_WINDOW_S)
    for send in _senders(scene, size, repeating=True):
        send()
        _turn(takers, _none_fails)
    _end(scene, takers, _none_fails)


def _begin(
    scene: Simulation,
    size: Size,
    *,
    alone: bool,
    lapses: bool = False,
    dead_letter: DeadLetterPolicy | None = None,
    window_s: float | None = None,
) -> list[RecordingConsumer]:
    """What is promised of this channel stands in the mark: a repeat within ``window_s`` is swallowed."""
    spec = ChannelSpec(CHANNEL, partitions=size.partitions, lease_s=LEASE_S, dead_letter=dead_letter)
    scene.broker.create_channel(spec)
    scene.writer.mark(
        "phase",
        channel=CHANNEL,
        lease_s=LEASE_S,
        alone=alone,
        lapses=lapses,
        letters=dead_letter is not None,
        window_s=window_s,
    )
    return _takers(scene, size, first=0)


def _takers(scene: Simulation, size: Size, first: int, channel: str = CHANNEL) -> list[RecordingConsumer]:
    return [
        RecordingConsumer(
            scene.broker,
            channel,
            scene.writer,
            number=number,
            settings=ConsumerSettings(group=GROUP, name=f"consumer-{number}"),
        )
        for number in range(first, first + size.consumers)
    ]


def _end(scene: Simulation, takers: Sequence[RecordingConsumer], failing: Failing) -> None:
    _drain(scene, takers, failing, CHANNEL)
    read_again(scene, _READER)


def _drain(scene: Simulation, takers: Sequence[RecordingConsumer], failing: Failing, channel: str) -> None:
    """Until nothing is left. What does not come waits for the end of a lease, of one that died or whom nobody heard."""
    for _ in range(_MOST_JUMPS):
        while _turn(takers, failing):
            pass
        if not scene.broker.backlog(channel, GROUP):
            scene.writer.mark("drained", channel=channel, group=GROUP)
            return
        scene.clock.jump(LEASE_S)


def _keep(scene: Simulation, size: Size) -> None:
    limit = Retention(max_age_s=LIMIT_S)
    scene.broker.create_channel(ChannelSpec(CHANNEL, partitions=size.partitions, lease_s=LEASE_S, retention=limit))
    scene.writer.mark("kept", channel=CHANNEL, age_s=LIMIT_S)
    for send in _senders(scene, size):
        send()
    scene.clock.jump(_EARLY_LOOK * LIMIT_S)
    read_again(scene, _READER)
    scene.clock.jump((_LATE_LOOK - _EARLY_LOOK) * LIMIT_S)
    read_again(scene, _READER + 1)


_PLAYS: Mapping[Script, Callable[[Simulation, Size], None]] = {
    Script.DELIVER: _deliver,
    Script.LINE: _line,
    Script.LAPSE: _lapse,
    Script.CRASH: _crash,
    Script.FAIL: _fail,
    Script.REPEAT: _repeat,
    Script.KEEP: _keep,
}


def _senders(scene: Simulation, size: Size, *, repeating: bool = False) -> list[Callable[[], object]]:
    """Sends in turns, each of one batch; the last ones also wait for what is still open."""
    rng = np.random.default_rng(size.seed)
    senders = [
        RecordingProducer(scene.broker, CHANNEL, scene.writer, number=number, run=RUN, seed=size.seed, size=size.size)
        for number in range(size.producers)
    ]
    batch = max(10, min(400, size.messages // (8 * size.producers)))
    turns: list[Callable[[], object]] = []
    for at, first in enumerate(range(0, size.messages, batch)):
        number = at % size.producers
        count = min(batch, size.messages - first)
        keys = rng.integers(0, size.keys, count) * size.producers + number
        identities = None
        if repeating:
            again = np.flatnonzero(np.arange(count) % _REPEATS_EVERY == _REPEATS_AFTER)
            numbers = np.arange(first, first + count)
            numbers[again], keys[again] = numbers[again - _REPEATS_AFTER], keys[again - _REPEATS_AFTER]
            identities = numbers.tolist()
        turns.append(partial(senders[number].send, keys, identities=identities))
    return [*turns, *(sender.flush for sender in senders)]


def _turn(takers: Sequence[RecordingConsumer], failing: Failing) -> int:
    """All take, then all settle: what one has in hand, the others must not get. Returns how many they got."""
    taken = [(taker, taker.take(_TAKE, 0.0)) for taker in takers]
    for taker, batch in taken:
        if len(batch):
            settle(taker, batch, failing(batch))
    return sum(len(batch) for _, batch in taken)


def _none_fails(batch: RecordedBatch) -> Mask:
    return np.zeros(len(batch), bool)


def _failing(batch: RecordedBatch) -> Mask:
    """Those that fail: one in so many, at their first delivery."""
    return _fail_until(batch, 1)


def _always_failing(batch: RecordedBatch) -> Mask:
    return _fail_until(batch, MAX_DELIVERIES)


def _fail_until(batch: RecordedBatch, deliveries: int) -> Mask:
    stamps = batch.stamps
    chosen = (stamps.status == INTACT) & ((stamps.seq * 7 + stamps.producer) % _FAILS_EVERY == 0)
    failing: Mask = chosen & (batch.received.delivery_counts <= deliveries)
    return failing


def settle(taker: RecordingConsumer, batch: RecordedBatch, failing: Mask, first: int = 0) -> None:
    """From slot ``first`` on, give back what fails and the later ones of its key in this batch; acknowledge others."""
    back = failing.copy()
    keys = batch.stamps.key
    for at in np.flatnonzero(failing).tolist():
        back[at:] |= keys[at:] == keys[at]
    slots = np.arange(first, len(batch))
    for settling, chosen in ((taker.release, slots[back[first:]]), (taker.acknowledge, slots[~back[first:]])):
        if len(chosen):
            settling(batch, chosen)


def read_again(scene: Simulation, number: int) -> None:
    began_ns = time.monotonic_ns()
    _, end = scene.broker.bounds(CHANNEL)
    replayer = RecordingReader(scene.broker, CHANNEL, FromBeginning(), scene.writer, number=number)
    while len(replayer.read(_READ, 0.0)):
        pass
    replayer.close()
    last = {str(partition): place - 1 for partition, place in end.places.items()}
    scene.writer.mark(
        "attempt",
        channel=CHANNEL,
        mode="from_beginning",
        reader=number,
        outcome="read",
        began_ns=began_ns,
        last=last,
    )
