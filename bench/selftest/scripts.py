"""Scripts of experiments on the reference broker, recorded by the same clients as the scenarios.

* ``deliver``: producers send to one channel; consumers of one group take, fail some messages once as a careful worker
  would (the failed one and those that must not overtake it go back), and acknowledge the rest, until a proven drain;
  then the channel is read again.
* ``line``: the same with one consumer, and nothing fails.
* ``lapse``: all consumers take all they can and die; when their leases have ended, other consumers take.
* ``crash``: half of the messages are consumed when the broker crashes; then the rest.
* ``fail``: some messages always fail; after two deliveries they go to a channel of dead letters, which is consumed too.
* ``repeat``: like ``line``, but one in 20 messages is sent twice, under one identity.
* ``keep``: without consumers; the channel is read once before its age limit, and once after it.
* ``exceed``: without consumers; twice as much is sent as the channel keeps by its size, which is read then.

One thread does everything, in turns that depend on the seed only: a fault hits the same messages every time. Nothing
waits: the clock jumps (``simulation``).
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
from brokerbench.brokers.types import (
    ChannelSpec,
    ConsumerSettings,
    DeadLetterPolicy,
    FromBeginning,
    Position,
    Retention,
)
from brokerbench.scenarios.clients import channels, drains
from brokerbench.scenarios.clients.recording import RecordedBatch, RecordingConsumer, RecordingProducer, RecordingReader
from brokerbench.scenarios.history.stamp import INTACT

GROUP = "g"
LEASE_S = 3600.0
"""Far longer than any experiment: leases end only when the clock jumps."""
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
"""First number of readers."""

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
    EXCEED = "exceed"


@dataclass(frozen=True, slots=True)
class Size:
    """``keys`` is the number of each producer: no two producers share a key."""

    messages: int
    seed: int = 1
    producers: int = 4
    keys: int = 100
    consumers: int = 3
    partitions: int = 4
    size: int = 64


def play(script: Script, size: Size, faults: Sequence[Fault]) -> Played:
    """The history of one experiment, and the messages that the faults hit."""
    return record(lambda simulation: _PLAYS[script](simulation, size), faults)


def _deliver(simulation: Simulation, size: Size) -> None:
    _consume_meanwhile(simulation, size, _begin(simulation, size, alone=False), partial(_fail_until, deliveries=1))


def _line(simulation: Simulation, size: Size) -> None:
    consumers = _begin(simulation, replace(size, consumers=1), alone=True)
    _consume_meanwhile(simulation, size, consumers, _none_fails)


def _lapse(simulation: Simulation, size: Size) -> None:
    consumers = _begin(simulation, size, alone=False, lapses=True)
    for send in _sends(simulation, size):
        send()
    for dying in consumers:
        dying.take(_TAKE, 0.0)
        dying.close()
    simulation.clock.jump(LEASE_S)
    _end(simulation, _consumers(simulation, size, first=size.consumers), _none_fails)


def _crash(simulation: Simulation, size: Size) -> None:
    consumers = _begin(simulation, size, alone=False)
    sends = _sends(simulation, size)
    for at, send in enumerate(sends):
        send()
        if at < len(sends) // 2:
            _turn(consumers, _none_fails)
    simulation.broker.crash()
    _end(simulation, consumers, _none_fails)


def _fail(simulation: Simulation, size: Size) -> None:
    channels.create(simulation.broker, ChannelSpec(LETTERS, lease_s=LEASE_S), simulation.writer)
    consumers = _begin(simulation, size, alone=False, dead_letter=DeadLetterPolicy(LETTERS, MAX_DELIVERIES))
    _consume_meanwhile(simulation, size, consumers, partial(_fail_until, deliveries=MAX_DELIVERIES))
    _drain(simulation, [consumer(simulation, _READER + 50, LETTERS)], _none_fails, LETTERS)


def _repeat(simulation: Simulation, size: Size) -> None:
    consumers = _begin(simulation, replace(size, consumers=1), alone=True, window_s=DEDUPLICATION_WINDOW_S)
    _consume_meanwhile(simulation, size, consumers, _none_fails, repeating=True)


def _consume_meanwhile(
    simulation: Simulation,
    size: Size,
    consumers: Sequence[RecordingConsumer],
    failing: Failing,
    *,
    repeating: bool = False,
) -> None:
    """After each send all consumers take and settle; at the end the channel is drained and read again."""
    for send in _sends(simulation, size, repeating=repeating):
        send()
        _turn(consumers, failing)
    _end(simulation, consumers, failing)


def _begin(
    simulation: Simulation,
    size: Size,
    *,
    alone: bool,
    lapses: bool = False,
    dead_letter: DeadLetterPolicy | None = None,
    window_s: float | None = None,
) -> list[RecordingConsumer]:
    """The mark states the promises of this channel: a repeat within ``window_s`` is swallowed."""
    spec = ChannelSpec(CHANNEL, partitions=size.partitions, lease_s=LEASE_S, dead_letter=dead_letter)
    channels.create(simulation.broker, spec, simulation.writer)
    promised = {"alone": alone, "lapses": lapses, "letters": dead_letter is not None, "window_s": window_s}
    simulation.writer.mark("phase", channel=CHANNEL, lease_s=LEASE_S, **promised)
    return _consumers(simulation, size, first=0)


def producer(simulation: Simulation, number: int, *, seed: int, size: int) -> RecordingProducer:
    broker, writer = simulation.broker, simulation.writer
    return RecordingProducer(broker, CHANNEL, writer, number=number, run=RUN, seed=seed, size=size)


def consumer(simulation: Simulation, number: int, channel: str) -> RecordingConsumer:
    settings = ConsumerSettings(group=GROUP, name=f"consumer-{number}")
    return RecordingConsumer(simulation.broker, channel, simulation.writer, number=number, settings=settings)


def _consumers(simulation: Simulation, size: Size, first: int) -> list[RecordingConsumer]:
    return [consumer(simulation, number, CHANNEL) for number in range(first, first + size.consumers)]


def _end(simulation: Simulation, consumers: Sequence[RecordingConsumer], failing: Failing) -> None:
    _drain(simulation, consumers, failing, CHANNEL)
    read_again(simulation, _READER)


def _drain(simulation: Simulation, consumers: Sequence[RecordingConsumer], failing: Failing, channel: str) -> None:
    """Until the backlog is empty, and a lease longer.

    The rest waits for the end of a lease: of a dead consumer, or of a lost answer.
    """
    quiet_s = 0.0
    for _ in range(_MOST_JUMPS):
        quiet_s = 0.0 if _take_all(consumers, failing) else quiet_s + LEASE_S
        if not simulation.broker.backlog(channel, GROUP):
            simulation.writer.mark("drained", channel=channel, group=GROUP)
            simulation.clock.jump(LEASE_S)
            _take_all(consumers, failing)
            return
        simulation.clock.jump(LEASE_S)
    drains.mark_failed(
        simulation.writer,
        channel,
        GROUP,
        waited_s=_MOST_JUMPS * LEASE_S,
        left=simulation.broker.backlog(channel, GROUP),
        unsettled=0,
        quiet_s=quiet_s,
        lease_s=LEASE_S,
    )


def _take_all(consumers: Sequence[RecordingConsumer], failing: Failing) -> bool:
    """Take until nothing comes. Returns whether anything came."""
    came = False
    while _turn(consumers, failing):
        came = True
    return came


def _keep(simulation: Simulation, size: Size) -> None:
    limit = Retention(max_age_s=LIMIT_S)
    spec = ChannelSpec(CHANNEL, partitions=size.partitions, lease_s=LEASE_S, retention=limit)
    channels.create(simulation.broker, spec, simulation.writer)
    simulation.writer.mark("kept", channel=CHANNEL, age_s=LIMIT_S)
    for send in _sends(simulation, size):
        send()
    simulation.clock.jump(_EARLY_LOOK * LIMIT_S)
    read_again(simulation, _READER)
    simulation.clock.jump((_LATE_LOOK - _EARLY_LOOK) * LIMIT_S)
    read_again(simulation, _READER + 1)


def _exceed(simulation: Simulation, size: Size) -> None:
    create_limited(simulation, size.partitions, size.messages // 2)
    for send in _sends(simulation, size):
        send()
    read_again(simulation, _READER)


def create_limited(simulation: Simulation, partitions: int, messages: int) -> None:
    """A channel that keeps this many messages; the mark says so."""
    limit = Retention(max_messages=messages)
    spec = ChannelSpec(CHANNEL, partitions=partitions, lease_s=LEASE_S, retention=limit)
    channels.create(simulation.broker, spec, simulation.writer)
    simulation.writer.mark("limited", channel=CHANNEL, messages=messages)


_PLAYS: Mapping[Script, Callable[[Simulation, Size], None]] = {
    Script.DELIVER: _deliver,
    Script.LINE: _line,
    Script.LAPSE: _lapse,
    Script.CRASH: _crash,
    Script.FAIL: _fail,
    Script.REPEAT: _repeat,
    Script.KEEP: _keep,
    Script.EXCEED: _exceed,
}


def _sends(simulation: Simulation, size: Size, *, repeating: bool = False) -> list[Callable[[], object]]:
    """The producers' sends in turns, one batch each; at the end each producer waits for its open sends."""
    rng = np.random.default_rng(size.seed)
    producers = [producer(simulation, number, seed=size.seed, size=size.size) for number in range(size.producers)]
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
        turns.append(partial(producers[number].send, keys, identities=identities))
    return [*turns, *(one.flush for one in producers)]


def _turn(consumers: Sequence[RecordingConsumer], failing: Failing) -> int:
    """All take, then all settle: a message that one holds, the others must not get. Returns the number taken."""
    taken = [(one, one.take(_TAKE, 0.0)) for one in consumers]
    for one, batch in taken:
        if len(batch):
            settle(one, batch, failing(batch))
    return sum(len(batch) for _, batch in taken)


def _none_fails(batch: RecordedBatch) -> Mask:
    return np.zeros(len(batch), bool)


def _fail_until(batch: RecordedBatch, deliveries: int) -> Mask:
    """One in 20 messages, at its first ``deliveries``."""
    stamps = batch.stamps
    chosen = (stamps.status == INTACT) & ((stamps.seq * 7 + stamps.producer) % _FAILS_EVERY == 0)
    failing: Mask = chosen & (batch.received.delivery_counts <= deliveries)
    return failing


def settle(consumer: RecordingConsumer, batch: RecordedBatch, failing: Mask, first: int = 0) -> None:
    """From slot ``first`` on, release failing messages and later ones of their key in the batch; acknowledge others."""
    back = failing.copy()
    keys = batch.stamps.key
    for at in np.flatnonzero(failing).tolist():
        back[at:] |= keys[at:] == keys[at]
    slots = np.arange(first, len(batch))
    for settling, chosen in ((consumer.release, slots[back[first:]]), (consumer.acknowledge, slots[~back[first:]])):
        if len(chosen):
            settling(batch, chosen)


def read_again(simulation: Simulation, number: int) -> None:
    began_ns = time.monotonic_ns()
    begin, end = simulation.broker.bounds(CHANNEL)
    reader = RecordingReader(simulation.broker, CHANNEL, FromBeginning(), simulation.writer, number=number)
    while len(reader.read(_READ, 0.0)):
        pass
    reader.close()
    last = {str(partition): place - 1 for partition, place in end.places.items()}
    after, _ = simulation.broker.bounds(CHANNEL)
    told = {"first": _as_text(begin), "first_after": _as_text(after)}
    read = {"mode": "from_beginning", "reader": number, "outcome": "read", "began_ns": began_ns, "last": last}
    simulation.writer.mark("attempt", channel=CHANNEL, **read, **told)


def _as_text(position: Position) -> dict[str, int]:
    return {str(partition): place for partition, place in position.places.items()}
