"""Taking messages from a librdkafka consumer as columns, and reading a topic again outside any group."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from brokers.errors import ChannelMissing, Misuse
from brokers.kafka_client import REQUEST_TIMEOUT_S, OneThread, client_config, close_quietly, error_of, translated
from brokers.types import (
    NO_TIME,
    UNKNOWN_COUNT,
    Endpoint,
    FromBeginning,
    FromPosition,
    FromTime,
    IntColumn,
    Position,
    Received,
    ReplayStart,
    constant,
)

# Conditions that librdkafka mends by itself and only tells of.
_PASSING = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._MAX_POLL_EXCEEDED,
        KafkaError._PARTITION_EOF,
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REBALANCE_IN_PROGRESS,
    }
)

_TIME = itemgetter(1)
"""Of ``(type, milliseconds)``."""
_COUNT: Callable[[Message], int] = Message.delivery_count  # type: ignore[assignment]
"""None outside of share groups alone."""


def take(client: Client, max_messages: int, wait_s: float) -> list[Message]:
    """At most ``max_messages``, as soon as there is one; empty after ``wait_s``.

    ``consume(500, 1.0)`` alone waits the whole second whenever fewer than 500 come (measured median
    503 ms), so where the client holds none, the first is awaited alone (2 ms), and what it holds then joins it.
    """
    if max_messages < 1:
        raise Misuse(f"max_messages is {max_messages}")
    deadline = time.monotonic() + wait_s
    while True:
        try:
            messages = client.consume(max_messages, 0)
            if not messages:
                messages = client.consume(1, max(0.0, deadline - time.monotonic()))
                if messages and max_messages > 1:
                    messages += client.consume(max_messages - 1, 0)
        except KafkaException as failure:
            raise translated(failure, "receive") from None
        good = without_errors(messages)
        if good or time.monotonic() >= deadline:
            return good


def without_errors(messages: list[Message]) -> list[Message]:
    """The messages proper; raises for an error among them, unless messages came along with it.

    librdkafka repeats an error that lasts, so that the next call raises it.
    """
    if not any(map(Message.error, messages)):
        return messages
    good = [message for message in messages if message.error() is None]
    if not good:
        for message in messages:
            error = message.error()
            if error is not None and (error.fatal() or error.code() not in _PASSING):
                raise error_of(error, "receive")
    return good


def columns(
    messages: Sequence[Message],
    *,
    received_ns: int | None = None,
    delivery_counts: bool = False,
    details: bool = True,
    handle: Any = None,
) -> Received:
    """One call per message and column, made by ``map``; about 0.2 us a message and no object of ours.

    Of the ``details`` times are the dearest column, 0.08 us, because the client makes a tuple for each; keys and
    headers are 0.02 each. ``received_ns``: now, if not given.
    """
    received_ns = received_ns or time.monotonic_ns()
    count = len(messages)
    if not count:
        return Received.empty(received_ns)
    payloads: list[Any] = list(map(Message.value, messages))
    if delivery_counts:
        counts = np.fromiter(map(_COUNT, messages), np.int32, count)
    else:
        counts = constant(UNKNOWN_COUNT, count, np.int32)
    return Received(
        payloads=payloads if all(payloads) else [payload or b"" for payload in payloads],
        keys=list(map(Message.key, messages)) if details else (),
        partitions=np.fromiter(map(Message.partition, messages), np.int32, count),
        places=np.fromiter(map(Message.offset, messages), np.int64, count),
        received_ns=received_ns,
        broker_epoch_ns=_times_ns(messages) if details else constant(NO_TIME, count, np.int64),
        delivery_counts=counts,
        attributes=_attributes(messages) if details and any(map(Message.headers, messages)) else None,
        handle=handle,
    )


def _times_ns(messages: Sequence[Message]) -> IntColumn:
    return np.fromiter(map(_TIME, map(Message.timestamp, messages)), np.int64, len(messages)) * 1_000_000


def _attributes(messages: Sequence[Message]) -> list[Mapping[str, str]]:
    headers: list[Any] = list(map(Message.headers, messages))
    return [{name: (value or b"").decode(errors="replace") for name, value in pairs or ()} for pairs in headers]


class KafkaReader:
    """Reads partitions by assignment: joins no group, commits nothing. See ``brokers.protocols.Reader``."""

    def __init__(self, endpoint: Endpoint, channel: str, start: ReplayStart, bounds: tuple[Position, Position]) -> None:
        config = client_config(
            endpoint,
            # librdkafka wants a name; nothing of it reaches the broker, as no group is joined.
            group_id=f"{channel}:reader-{uuid.uuid4()}",
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            auto_offset_reset="earliest",
        )
        self._alone = OneThread("the reader")
        self._client: Client | None = None
        client = Client(config)
        try:
            client.assign(_start_offsets(client, channel, start, bounds))
        except KafkaException as failure:
            client.close()
            raise translated(failure, f"read {channel} again") from None
        except Misuse:
            client.close()
            raise
        self._client = client

    def read(self, max_messages: int, wait_s: float) -> Received:
        with self._alone:
            if self._client is None:
                raise Misuse("the reader is closed")
            return columns(take(self._client, max_messages, wait_s))

    def close(self) -> None:
        with self._alone:
            if self._client is not None:
                client, self._client = self._client, None
                close_quietly(client)


def _start_offsets(
    client: Client, channel: str, start: ReplayStart, bounds: tuple[Position, Position]
) -> list[TopicPartition]:
    low, high = bounds
    match start:
        case FromBeginning():
            return [TopicPartition(channel, partition, place) for partition, place in low.places.items()]
        case FromPosition(position):
            unknown = set(position.places) - set(low.places)
            if unknown:
                raise ChannelMissing(f"{channel} has no partition {min(unknown)}")
            return [TopicPartition(channel, partition, place) for partition, place in position.places.items()]
        case FromTime(epoch_ns):
            epoch_ms = -(-epoch_ns // 1_000_000)
            asked = [TopicPartition(channel, partition, epoch_ms) for partition in low.places]
            found = client.offsets_for_times(asked, REQUEST_TIMEOUT_S)
            # No message that young yet: what was the end before we asked, so that none slips through.
            return [
                TopicPartition(channel, entry.partition, entry.offset)
                if entry.offset >= 0
                else TopicPartition(channel, entry.partition, high.places[entry.partition])
                for entry in found
            ]
