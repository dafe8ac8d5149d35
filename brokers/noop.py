"""A profile that does nothing: a run on it measures the cost of the harness itself.

``poll`` settles every send. Consumers of the same process get sent batches by reference, each message once, in
order of sending; there is no copy, no lock beyond the deque's own, no lease and no second delivery. Beyond
``CAPACITY`` unconsumed messages the oldest are dropped, so that a run that only publishes does not grow. Groups are
ignored: each message goes to the first consumer that asks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Self

import numpy as np

from brokerbench.brokers.contract import ThreadGuard, check, check_count
from brokerbench.brokers.declarations import PROPERTIES, Declaration, Limits, ProfileDeclaration, Provider, Support
from brokerbench.brokers.errors import ChannelMissing, Refused
from brokerbench.brokers.settling import Outcomes
from brokerbench.brokers.types import (
    NO_PARTITION,
    NO_PLACE,
    NO_TIME,
    UNKNOWN_COUNT,
    AckGranularity,
    Batch,
    ChannelSpec,
    ConsumerSettings,
    Durability,
    Endpoint,
    Indices,
    IntColumn,
    Outcome,
    ProducerSettings,
    Received,
    Resolution,
    SendReceipt,
    Settlements,
    SmallIntColumn,
)

CAPACITY = 262_144
"""Messages kept for consumers, per channel."""
_IDLE_S = 0.0002
"""Pause between looks at an empty channel."""


class _Channel:
    """A deque of batches by reference. Producers append on the right, consumers take on the left."""

    __slots__ = ("batches", "sent", "taken")

    def __init__(self) -> None:
        self.batches: deque[Batch] = deque()
        self.sent = 0
        self.taken = 0

    def put(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.sent += len(batch)
        while self.sent - self.taken > CAPACITY:
            if (oldest := self.take()) is None:
                break
            self.taken += len(oldest)

    def take(self) -> Batch | None:
        try:
            return self.batches.popleft()
        except IndexError:
            return None


_SPACES: dict[str, dict[str, _Channel]] = {}
"""Channels by endpoint address: connections to one address share them."""


class Noop:
    """See the module's docstring. ``address``: any text, e.g. ``noop://bench``."""

    def __init__(self, address: str) -> None:
        self._channels = _SPACES.setdefault(address, {})

    @classmethod
    def connect(cls, endpoint: Endpoint) -> Self:
        return cls(endpoint.address)

    def declaration(self) -> ProfileDeclaration:
        return DECLARATION

    def server_version(self) -> str:
        return "noop"

    def create_channel(self, spec: ChannelSpec) -> None:
        if spec.name in self._channels:
            raise Refused(f"channel {spec.name!r} exists")
        self._channels[spec.name] = _Channel()

    def delete_channel(self, name: str) -> None:
        self._channels.pop(name, None)

    def list_channels(self, prefix: str) -> list[str]:
        return sorted(name for name in self._channels if name.startswith(prefix))

    def producer(self, channel: str, settings: ProducerSettings) -> NoopProducer:
        return NoopProducer(self._channel(channel))

    def consumer(self, channel: str, settings: ConsumerSettings) -> NoopConsumer:
        return NoopConsumer(self._channel(channel))

    def backlog(self, channel: str, group: str) -> int:
        """Messages that no consumer took."""
        return sum(map(len, tuple(self._channel(channel).batches)))

    def close(self) -> None:
        """Nothing is open."""

    def _channel(self, name: str) -> _Channel:
        try:
            return self._channels[name]
        except KeyError:
            raise ChannelMissing(name) from None


class NoopProducer:
    """Settles all sends at each ``poll``."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._guard = ThreadGuard("a noop producer")
        self._next_ticket = 0
        self._settled = 0

    def send(self, batch: Batch) -> SendReceipt:
        with self._guard:
            check(batch)
            self._channel.put(batch)
            receipt = SendReceipt(self._next_ticket, len(batch))
            self._next_ticket += len(batch)
            return receipt

    def poll(self) -> Settlements:
        with self._guard:
            return self._settle()

    def flush(self, timeout_s: float) -> Settlements:
        return self.poll()

    def close(self) -> Settlements:
        return self._settle() if self._guard.close() else Settlements.empty()

    def _settle(self) -> Settlements:
        first, self._settled = self._settled, self._next_ticket
        return Settlements.uniform(first, self._next_ticket - first, Outcome.ACKNOWLEDGED, time.monotonic_ns())


class NoopConsumer:
    """Takes whole batches where they fit."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._guard = ThreadGuard("a noop consumer")

    def receive(self, max_messages: int, wait_s: float) -> Received:
        with self._guard:
            check_count(max_messages)
            deadline_ns = time.monotonic_ns() + int(wait_s * 1e9)
            while (batch := self._channel.take()) is None:
                if time.monotonic_ns() >= deadline_ns:
                    return Received.empty(time.monotonic_ns())
                time.sleep(_IDLE_S)
            batch = self._fit(batch, max_messages)
            self._channel.taken += len(batch)
            return _received(batch)

    def _fit(self, batch: Batch, size: int) -> Batch:
        """``size`` messages, or all if fewer are at hand; the surplus of a batch goes back."""
        parts, missing = [batch], size - len(batch)
        while missing > 0 and (more := self._channel.take()) is not None:
            parts.append(more)
            missing -= len(more)
        if missing < 0:
            last = parts.pop()
            keep = len(last) + missing
            self._channel.batches.appendleft(_slice(last, keep, len(last)))
            parts.append(_slice(last, 0, keep))
        if len(parts) == 1:
            return parts[0]
        payloads = [payload for part in parts for payload in part.payloads]
        keys = None
        if any(part.keys for part in parts):
            keys = [key for part in parts for key in (part.keys or [b""] * len(part))]
        return Batch(payloads, keys)

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        with self._guard:
            return Outcomes.of(received, indices, Outcome.ACKNOWLEDGED).settlements()

    def close(self) -> None:
        self._guard.close()


def _slice(batch: Batch, start: int, stop: int) -> Batch:
    return Batch(batch.payloads[start:stop], None if batch.keys is None else batch.keys[start:stop])


@lru_cache(maxsize=64)
def _columns(count: int) -> tuple[SmallIntColumn, IntColumn, IntColumn, SmallIntColumn, Sequence[None]]:
    """Columns of "none" values, made once per length (read-only, as they are shared)."""
    partitions = np.full(count, NO_PARTITION, np.int32)
    places = np.full(count, NO_PLACE, np.int64)
    times = np.full(count, NO_TIME, np.int64)
    counts = np.full(count, UNKNOWN_COUNT, np.int32)
    for column in (partitions, places, times, counts):
        column.flags.writeable = False
    return partitions, places, times, counts, (None,) * count


def _received(batch: Batch) -> Received:
    partitions, places, times, counts, no_keys = _columns(len(batch))
    keys = no_keys if batch.keys is None else batch.keys
    return Received(batch.payloads, keys, partitions, places, time.monotonic_ns(), times, counts)


_NOTHING = Declaration(Support.UNDECLARED, Provider.NOBODY, "derived: noop is no broker and promises nothing")

DECLARATION = ProfileDeclaration(
    profile="noop",
    product="noop",
    summary="Does nothing: prices the harness itself.",
    limits=Limits(
        max_message_bytes=None,
        max_request_messages=None,
        max_request_bytes=None,
        ack_granularity=AckGranularity.MESSAGE,
        settle_resolution=Resolution.REQUEST,
        broker_clock=None,
        broker_clock_resolution_ns=0,
        has_positions=False,
        has_partitions=False,
        lease_min_s=None,
        lease_max_s=None,
        lease_is_per_channel=False,
        retention_min_age_s=None,
        retention_max_age_s=None,
        max_unsettled_batches=None,
        max_receive_messages=None,
        payload_encoding="bytes",
        drain_proof="the deque of the process is empty",
        buffers_ahead=False,
        has_groups=False,
    ),
    durability=dict.fromkeys(Durability, "no choice: nothing is kept"),
    properties=dict.fromkeys(PROPERTIES, _NOTHING),
)
