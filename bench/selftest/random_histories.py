"""Histories that keep all promises, however wild: no checker may find anything in them.

Each is drawn from a seed: the numbers of producers, consumers, keys and partitions, and each next action. Several
producers share keys. Consumers hold several batches, settle in parts and out of order, fail, settle after their lease
has ended, or die with what they hold; others come. Producers come and go. Some sends are answered with
"unknown", or never. Readers read the channel in the middle and at the end.

The experiments meet the conditions of the checkers: whenever the clock jumps, no deliverable message waits, and a
consumer that fails a message releases those that must not overtake it. Some channels have dead letters, or deduplicate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

import numpy as np

from brokerbench.bench.selftest import checks, scripts
from brokerbench.bench.selftest.scripts import (
    GROUP,
    LEASE_S,
    LETTERS,
    LIMIT_S,
    MAX_DELIVERIES,
    create_limited,
    read_again,
    settle,
)
from brokerbench.bench.selftest.simulation import CHANNEL, Simulation, record
from brokerbench.brokers.faulty import Fault, FaultName
from brokerbench.brokers.memory.log import DEDUPLICATION_WINDOW_S
from brokerbench.brokers.types import ChannelSpec, DeadLetterPolicy, Outcome, Retention
from brokerbench.scenarios.clients import channels
from brokerbench.scenarios.clients.recording import RecordedBatch, RecordingConsumer, RecordingProducer
from brokerbench.scenarios.history import History, select

_KEPT_SHARE = 0.2
_LIMITED_SHARE = 0.5
"""Of kept channels: limited by size, not by age."""
_LETTERS_SHARE, _REPEATS_SHARE = 0.3, 0.3
_LAPSING_SHARE = 0.5
_ALL = 100_000
_MOST_HELD = 3
_CHUNK = 20


@dataclass(frozen=True, slots=True)
class Alarm:
    """A finding where there must be none. The same seed reproduces it."""

    seed: int
    checker: str
    violations: int


def alarms(seed: int) -> list[Alarm]:
    found = checks.alarms(checks.answers(history(seed), CHANNEL))
    return [Alarm(seed, name, violations) for name, violations in found.items()]


def search(histories: int, pool: Executor, tell: Callable[[float, str], None]) -> list[Alarm]:
    """Alarms in the histories of the seeds from 0 on."""
    chunks = [range(first, min(first + _CHUNK, histories)) for first in range(0, histories, _CHUNK)]
    found: list[Alarm] = []
    for at, some in enumerate(pool.map(_all_alarms, chunks), 1):
        found += some
        tell(at / len(chunks), "clean histories")
    return found


def _all_alarms(seeds: Sequence[int]) -> list[Alarm]:
    return [alarm for seed in seeds for alarm in alarms(seed)]


def history(seed: int) -> History:
    """The history of one seed. Its faults are legal: a broker may leave an outcome unknown, or refuse a message."""
    rng = np.random.default_rng(seed)
    kind = rng.random()
    lapses = bool(kind < _LAPSING_SHARE)
    letters = bool(rng.random() < _LETTERS_SHARE)
    act = _keep if kind > 1 - _KEPT_SHARE else partial(_consume, lapses=lapses, letters=letters)
    names = [FaultName.UNKNOWN_OUTCOME]
    if lapses:
        # A lost acknowledgement is a lapse too: the message is redelivered when its lease has ended.
        names.append(FaultName.LOSE_ACKNOWLEDGEMENT)
    if not letters:
        # It would lose dead letters too, whose outcome is known.
        names += [FaultName.UNKNOWN_AND_LOSE, FaultName.REFUSE]
    legal = [Fault(name, float(rng.choice([0.0, 0.05, 0.2])), seed) for name in names]
    return _unanswered(record(lambda simulation: act(_World(simulation, rng)), legal).history, rng)


def _unanswered(played: History, rng: np.random.Generator) -> History:
    """Drop the answers of half of the sends of unknown outcome, as if their producer had died."""
    unknown = played.send_outcomes["outcome"] == Outcome.UNKNOWN
    return replace(played, send_outcomes=select(played.send_outcomes, ~(unknown & (rng.random(len(unknown)) < 0.5))))


@dataclass(slots=True)
class _Holder:
    """A consumer and the batches that it holds, with the number of messages acknowledged at the head of each."""

    consumer: RecordingConsumer
    held: list[tuple[RecordedBatch, int]] = field(default_factory=list)


class _World:
    """Producers, consumers and parameters of one history."""

    def __init__(self, simulation: Simulation, rng: np.random.Generator) -> None:
        self.simulation, self.rng = simulation, rng
        self.keys, self.partitions = int(rng.integers(1, 60)), int(rng.integers(1, 6))
        self.to_send = int(rng.integers(20, 400))
        self.size = int(rng.choice([48, 64, 200]))
        self._numbers, self._readers = count(), count()
        self.producers: list[RecordingProducer] = []
        self.holders: list[_Holder] = []
        self.window_s: float | None = None
        """Deduplication window; None where messages have no identity."""

    def one(self, of: Sequence[_Holder]) -> _Holder:
        return of[int(self.rng.integers(len(of)))]

    def producer(self) -> RecordingProducer:
        return scripts.producer(self.simulation, next(self._numbers), seed=1, size=self.size)

    def consumer(self, channel: str = CHANNEL) -> _Holder:
        return _Holder(scripts.consumer(self.simulation, next(self._readers), channel))

    def read(self) -> None:
        read_again(self.simulation, next(self._readers))


def _consume(world: _World, *, lapses: bool, letters: bool) -> None:
    simulation, rng = world.simulation, world.rng
    if letters:
        channels.create(simulation.broker, ChannelSpec(LETTERS, lease_s=LEASE_S), simulation.writer)
    dead_letter = DeadLetterPolicy(LETTERS, MAX_DELIVERIES) if letters else None
    spec = ChannelSpec(CHANNEL, partitions=world.partitions, lease_s=LEASE_S, dead_letter=dead_letter)
    channels.create(simulation.broker, spec, simulation.writer)
    world.window_s = DEDUPLICATION_WINDOW_S if rng.random() < _REPEATS_SHARE else None
    marked = {"lapses": lapses, "letters": letters, "window_s": world.window_s}
    simulation.writer.mark("phase", channel=CHANNEL, lease_s=LEASE_S, **marked)
    world.producers = [world.producer() for _ in range(rng.integers(1, 7))]
    world.holders = [world.consumer() for _ in range(rng.integers(1, 6))]
    actions = _ACTIONS if lapses else {act: weight for act, weight in _ACTIONS.items() if act not in _LAPSING}
    likely = rng.dirichlet(list(actions.values()))
    while world.to_send > 0:
        list(actions)[int(rng.choice(len(actions), p=likely))](world)
    while simulation.broker.backlog(CHANNEL, GROUP):
        _take_all(world)
        for holder in world.holders:
            while holder.held:
                _settle_one(world, holder)
        if lapses:
            _lapse(world)
    simulation.writer.mark("drained", channel=CHANNEL, group=GROUP)
    if letters:
        reader = world.consumer(LETTERS).consumer
        while simulation.broker.backlog(LETTERS, GROUP):
            reader.acknowledge(reader.take(_ALL, 0.0))
            if lapses:
                simulation.clock.jump(LEASE_S)
        simulation.writer.mark("drained", channel=LETTERS, group=GROUP)
    world.read()


def _keep(world: _World) -> None:
    simulation, rng = world.simulation, world.rng
    if rng.random() < _LIMITED_SHARE:
        create_limited(simulation, world.partitions, int(rng.integers(1, 2 * world.to_send)))
    else:
        limit = Retention(max_age_s=LIMIT_S)
        spec = ChannelSpec(CHANNEL, partitions=world.partitions, retention=limit)
        channels.create(simulation.broker, spec, simulation.writer)
        simulation.writer.mark("kept", channel=CHANNEL, age_s=LIMIT_S)
    world.producers = [world.producer() for _ in range(rng.integers(1, 7))]
    while world.to_send > 0:
        _send(world)
        if rng.random() < 0.3:
            simulation.clock.jump(float(rng.exponential(LIMIT_S / 4)))
        if rng.random() < 0.3:
            world.read()
    simulation.clock.jump(float(rng.uniform(0, 2 * LIMIT_S)))
    world.read()


def _send(world: _World) -> None:
    """Send new messages; with deduplication also some that this producer or another sent before."""
    rng = world.rng
    messages = int(rng.integers(1, 30))
    producer = world.producers[int(rng.integers(len(world.producers)))]
    keys, identities = rng.integers(0, world.keys, messages), None
    if world.window_s is not None:
        first = world.to_send
        identities = [first - at if rng.random() < 0.9 else first + int(rng.integers(30)) for at in range(messages)]
        keys = np.array(identities) % world.keys
    producer.send(keys, identities=identities)
    world.to_send -= messages


def _replace_producer(world: _World) -> None:
    world.producers[int(world.rng.integers(len(world.producers)))] = world.producer()


def _take(world: _World) -> None:
    holder = world.one(world.holders)
    if len(holder.held) < _MOST_HELD:
        _take_into(holder, int(world.rng.integers(1, 40)))


def _take_into(holder: _Holder, messages: int) -> None:
    taken = holder.consumer.take(messages, 0.0)
    if len(taken):
        holder.held.append((taken, 0))


def _take_all(world: _World) -> None:
    """Take all deliverable messages, with one consumer, so that keys are not split."""
    _take_into(world.one(world.holders), _ALL)


def _settle(world: _World) -> None:
    holding = [holder for holder in world.holders if holder.held]
    if holding:
        _settle_one(world, world.one(holding))


def _settle_one(world: _World, holder: _Holder) -> None:
    """Settle a batch, or acknowledge some more from its beginning."""
    rng = world.rng
    taken, done = holder.held.pop(int(rng.integers(len(holder.held))))
    if rng.random() < 0.3:
        until = int(rng.integers(done, len(taken) + 1))
        if until > done:
            holder.consumer.acknowledge(taken, range(done, until))
        if until < len(taken):
            holder.held.append((taken, until))
        return
    failing = rng.random(len(taken)) < rng.choice([0.0, 0.1, 0.5])
    settle(holder.consumer, taken, failing, done)


def _die(world: _World) -> None:
    at = int(world.rng.integers(len(world.holders)))
    world.holders[at].consumer.close()
    world.holders[at] = world.consumer()


def _lapse(world: _World) -> None:
    """All leases end. Some of their holders settle late."""
    _take_all(world)
    world.simulation.clock.jump(LEASE_S)
    _take_all(world)


_ACTIONS: Mapping[Callable[[_World], None], float] = {
    _send: 6.0,
    _take: 6.0,
    _settle: 6.0,
    _World.read: 0.2,
    _replace_producer: 0.3,
    _die: 0.5,
    _lapse: 0.5,
}
"""Mean weights of the actions; every history draws its own likelihoods."""
_LAPSING = (_die, _lapse)
