"""The reference: the exact meaning of the interface, in process.

A channel is one log in order of arrival; a hash of the key gives the partition, which numbers its own places. Each
group owns a cursor into the log and settles message by message. Order per key is strict: while a message of a
key is delivered and unsettled, or waits for redelivery, its group gets no later message of that key, except in the
same ``receive``. Leases, retention and times of arrival use one clock that tests can replace. A message with the
``dedup_id`` of one that arrived less than ``DEDUPLICATION_WINDOW_S`` ago is acknowledged with the place of the first,
and not kept.

All connections of this process to one address share a ``Space``; one lock guards it, and a condition wakes waiting
consumers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Condition
from typing import Self

import numpy as np

from brokerbench.brokers.contract import Opened, ThreadGuard, check, check_count
from brokerbench.brokers.declarations import ProfileDeclaration
from brokerbench.brokers.errors import ChannelMissing, Misuse, Refused, Unsupported
from brokerbench.brokers.memory.declaration import DECLARATION
from brokerbench.brokers.memory.log import Group, Log
from brokerbench.brokers.settling import Outcomes
from brokerbench.brokers.types import (
    NO_PLACE,
    UNKNOWN_COUNT,
    Batch,
    ChannelSpec,
    ConsumerSettings,
    Endpoint,
    FromBeginning,
    FromPosition,
    FromTime,
    Indices,
    Outcome,
    Position,
    ProducerSettings,
    Received,
    ReplayStart,
    SendReceipt,
    Settlements,
)

_EPOCH_AT_START_NS = time.time_ns() - time.monotonic_ns()


def steady_epoch_ns() -> int:
    """Epoch time that never jumps: the wall clock at import, continued by the monotonic clock."""
    return _EPOCH_AT_START_NS + time.monotonic_ns()


class Space:
    """The channels behind one address. ``clock`` answers epoch nanoseconds and never goes back."""

    def __init__(self, clock: Callable[[], int] = steady_epoch_ns) -> None:
        self.clock = clock
        self.changed = Condition()
        self.logs: dict[str, Log] = {}

    def log(self, channel: str) -> Log:
        """Call with ``changed`` held, as everything on a log and its groups."""
        try:
            return self.logs[channel]
        except KeyError:
            raise ChannelMissing(channel) from None

    def expire(self, log: Log) -> None:
        """Bring a log to the present: apply retention, then end leases."""
        now_ns = self.clock()
        log.trim(now_ns)
        for group in log.groups.values():
            self.add_dead_letters(log, group.expire(now_ns))

    def add_dead_letters(self, log: Log, dead: Sequence[int]) -> None:
        """Copy these to the channel of dead letters, if it has one."""
        policy = log.spec.dead_letter
        if policy is not None and dead:
            target = self.log(policy.channel)
            now_ns = self.clock()
            for seq in dead:
                at = seq - log.base
                target.append(log.payloads[at], log.keys[at], log.attributes[at], now_ns)
            self.changed.notify_all()


_SPACES: dict[str, Space] = {}


class Memory:
    """A connection to a ``Space``. ``address``: any text, e.g. ``memory://tests``."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._opened = Opened()

    @classmethod
    def connect(cls, endpoint: Endpoint) -> Self:
        return cls(_SPACES.setdefault(endpoint.address, Space()))

    def declaration(self) -> ProfileDeclaration:
        return DECLARATION

    def server_version(self) -> str:
        return "memory"

    def create_channel(self, spec: ChannelSpec) -> None:
        if spec.partitions < 1 or spec.lease_s <= 0:
            raise Misuse("a channel needs at least one partition and a lease above 0 s")
        limit = spec.retention
        if limit is not None and (limit.segment_bytes is not None or limit.segment_ms is not None):
            raise Unsupported("segments", "the memory broker has none: it removes single messages")
        with self.space.changed:
            if spec.name in self.space.logs:
                raise Refused(f"channel {spec.name!r} exists")
            if spec.dead_letter is not None:
                self.space.log(spec.dead_letter.channel)
            self.space.logs[spec.name] = Log(spec)

    def delete_channel(self, name: str) -> None:
        with self.space.changed:
            self.space.logs.pop(name, None)
            self.space.changed.notify_all()

    def list_channels(self, prefix: str) -> list[str]:
        with self.space.changed:
            return sorted(name for name in self.space.logs if name.startswith(prefix))

    def producer(self, channel: str, settings: ProducerSettings) -> MemoryProducer:
        with self.space.changed:
            self.space.log(channel)
        return self._opened.add(MemoryProducer(self.space, channel))

    def consumer(self, channel: str, settings: ConsumerSettings) -> MemoryConsumer:
        with self.space.changed:
            self.space.log(channel).group(settings.group)
        return self._opened.add(MemoryConsumer(self.space, channel, settings.group))

    def reader(self, channel: str, start: ReplayStart) -> MemoryReader:
        with self.space.changed:
            self.space.log(channel)
        return self._opened.add(MemoryReader(self.space, channel, start))

    def bounds(self, channel: str) -> tuple[Position, Position]:
        with self.space.changed:
            log = self.space.log(channel)
            self.space.expire(log)
            ends = dict(enumerate(log.ends))
            # Backwards, so that the first place of each partition is the one that stays.
            firsts = ends | dict(zip(reversed(log.partitions), reversed(log.places), strict=True))
            return Position(firsts), Position(ends)

    def enforce_retention(self, channel: str) -> int:
        """Every operation applies removals first; this applies them now."""
        with self.space.changed:
            log = self.space.log(channel)
            before = log.base
            self.space.expire(log)
            return log.base - before

    def backlog(self, channel: str, group: str) -> int:
        with self.space.changed:
            log = self.space.log(channel)
            self.space.expire(log)
            known = log.groups.get(group)
            return log.end - log.base if known is None else known.backlog()

    def close(self) -> None:
        self._opened.close()


class MemoryProducer:
    """Every send is settled by the time it returns."""

    def __init__(self, space: Space, channel: str) -> None:
        self._space = space
        self._channel = channel
        self._guard = ThreadGuard("a memory producer")
        self._next_ticket = 0
        self._settled: list[Settlements] = []

    def send(self, batch: Batch) -> SendReceipt:
        with self._guard:
            check(batch)
            count = len(batch)
            keys: Sequence[bytes | None] = batch.keys if batch.keys is not None else [None] * count
            attributes = batch.attributes if batch.attributes is not None else [None] * count
            identities: Sequence[str | None] = batch.dedup_ids if batch.dedup_ids is not None else [None] * count
            partitions, places = np.empty(count, np.int32), np.empty(count, np.int64)
            with self._space.changed:
                log = self._space.log(self._channel)
                now_ns = self._space.clock()
                for at in range(count):
                    partitions[at], places[at] = log.append(
                        batch.payloads[at], keys[at], attributes[at], now_ns, identities[at]
                    )
                log.trim(now_ns)
                self._space.changed.notify_all()
            first = self._next_ticket
            self._next_ticket += count
            self._settled.append(
                Outcomes(np.arange(first, first + count), partitions, places, Outcome.ACKNOWLEDGED).settlements()
            )
            return SendReceipt(first, count)

    def poll(self) -> Settlements:
        with self._guard:
            settled, self._settled = self._settled, []
            return Settlements.concat(settled)

    def flush(self, timeout_s: float) -> Settlements:
        return self.poll()

    def close(self) -> Settlements:
        return Settlements.concat(self._settled) if self._guard.close() else Settlements.empty()


class MemoryConsumer:
    """A member of a group. ``Received.handle`` is the pair of columns (seqs, lease tokens)."""

    def __init__(self, space: Space, channel: str, group: str) -> None:
        self._space = space
        self._channel = channel
        self._group = group
        self._guard = ThreadGuard("a memory consumer")

    def receive(self, max_messages: int, wait_s: float) -> Received:
        with self._guard, self._space.changed:
            check_count(max_messages)
            give_up_ns = time.monotonic_ns() + int(wait_s * 1e9)
            while True:
                log = self._space.log(self._channel)
                self._space.expire(log)
                group = log.group(self._group)
                now_ns = self._space.clock()
                if taken := group.take(max_messages, now_ns):
                    seqs, tokens = taken
                    counts = [group.deliveries[seq] for seq in seqs]
                    return _received(log, seqs, counts, (seqs, tokens))
                left_s = (give_up_ns - time.monotonic_ns()) / 1e9
                if left_s <= 0:
                    return Received.empty(time.monotonic_ns())
                lease_ns = group.next_deadline_ns()
                self._space.changed.wait(left_s if lease_ns is None else min(left_s, (lease_ns - now_ns) / 1e9))

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        return self._settle(received, indices, lambda group, seq, _now_ns: group.finish(seq))

    def release(self, received: Received, indices: Indices = None) -> Settlements:
        return self._settle(received, indices, lambda group, seq, _now_ns: group.release(seq))

    def reject(self, received: Received, indices: Indices = None) -> Settlements:
        return self._settle(received, indices, lambda group, seq, _now_ns: group.reject(seq))

    def extend(self, received: Received, lease_s: float, indices: Indices = None) -> Settlements:
        lease_ns = int(lease_s * 1e9)
        return self._settle(received, indices, lambda group, seq, now_ns: group.extend(seq, now_ns + lease_ns))

    def close(self) -> None:
        self._guard.close()

    def _settle(
        self, received: Received, indices: Indices, decide: Callable[[Group, int, int], list[int] | None]
    ) -> Settlements:
        """REJECTED for a delivery whose lease has ended: this consumer may no longer settle it."""
        with self._guard, self._space.changed:
            found = Outcomes.of(received, indices, Outcome.ACKNOWLEDGED)
            log = self._space.log(self._channel)
            self._space.expire(log)
            group = log.group(self._group)
            seqs, tokens = received.handle if len(received) else ((), ())
            lost: list[int] = []
            now_ns = self._space.clock()
            for row, index in enumerate(found.rows.tolist()):
                seq = seqs[index]
                if not group.holds(seq, tokens[index]):
                    lost.append(row)
                elif dead := decide(group, seq, now_ns):
                    self._space.add_dead_letters(log, dead)
            self._space.changed.notify_all()
            found.tell(lost, Outcome.REJECTED, "its lease has ended, or retention removed it")
            return found.settlements()


class MemoryReader:
    """Walks the log on its own; no group's position moves."""

    def __init__(self, space: Space, channel: str, start: ReplayStart) -> None:
        self._space = space
        self._channel = channel
        self._start = start
        self._guard = ThreadGuard("a memory reader")
        self._next_seq = 0

    def read(self, max_messages: int, wait_s: float) -> Received:
        with self._guard, self._space.changed:
            check_count(max_messages)
            give_up_ns = time.monotonic_ns() + int(wait_s * 1e9)
            while True:
                log = self._space.log(self._channel)
                self._space.expire(log)
                seq = max(self._next_seq, log.base)
                found: list[int] = []
                while seq < log.end and len(found) < max_messages:
                    if self._wanted(log, seq):
                        found.append(seq)
                    seq += 1
                self._next_seq = seq
                if found:
                    return _received(log, found, [UNKNOWN_COUNT] * len(found), None)
                left_s = (give_up_ns - time.monotonic_ns()) / 1e9
                if left_s <= 0:
                    return Received.empty(time.monotonic_ns())
                self._space.changed.wait(left_s)

    def _wanted(self, log: Log, seq: int) -> bool:
        at = seq - log.base
        match self._start:
            case FromBeginning():
                return True
            case FromTime(epoch_ns):
                return log.epochs_ns[at] >= epoch_ns
            case FromPosition(position):
                first = position.places.get(log.partitions[at], NO_PLACE)
                return first != NO_PLACE and log.places[at] >= first

    def close(self) -> None:
        self._guard.close()


def _received(log: Log, seqs: list[int], counts: list[int], handle: tuple[list[int], list[int]] | None) -> Received:
    rows = [seq - log.base for seq in seqs]
    attributes = [log.attributes[row] or {} for row in rows]
    return Received(
        [log.payloads[row] for row in rows],
        [log.keys[row] for row in rows],
        np.array([log.partitions[row] for row in rows], np.int32),
        np.array([log.places[row] for row in rows], np.int64),
        time.monotonic_ns(),
        np.array([log.epochs_ns[row] for row in rows], np.int64),
        np.array(counts, np.int32),
        attributes=attributes if any(attributes) else None,
        handle=handle,
    )
