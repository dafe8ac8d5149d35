"""Columns of confluent-kafka's message objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, Message

from brokerbench.brokers.types import NO_TIME, UNKNOWN_COUNT, IntColumn, Received, constant

_TIME = itemgetter(1)
"""Of ``(type, milliseconds)``."""
_COUNT: Callable[[Message], int] = Message.delivery_count  # type: ignore[assignment]
"""None outside of share groups alone."""


def without_errors(messages: list[Message]) -> tuple[list[Message], list[KafkaError]]:
    """The messages proper, and the errors that came among them."""
    if not any(map(Message.error, messages)):
        return messages, []
    good = [message for message in messages if message.error() is None]
    return good, [error for message in messages if (error := message.error()) is not None]


def columns(
    messages: Sequence[Message], received_ns: int, *, details: bool, counted: bool = False, handle: Any = None
) -> Received:
    """One call per message and column, made by ``map``; about 0.2 us a message and no object of ours.

    Without ``details`` keys, attributes and times are left out; deliveries are ``counted`` in share groups alone.
    """
    count = len(messages)
    payloads: list[Any] = list(map(Message.value, messages))
    return Received(
        payloads=payloads if all(payloads) else [payload or b"" for payload in payloads],
        keys=list(map(Message.key, messages)) if details else (),
        partitions=np.fromiter(map(Message.partition, messages), np.int32, count),
        places=np.fromiter(map(Message.offset, messages), np.int64, count),
        received_ns=received_ns,
        broker_epoch_ns=_times_ns(messages) if details else constant(NO_TIME, count, np.int64),
        delivery_counts=(
            np.fromiter(map(_COUNT, messages), np.int32, count) if counted else constant(UNKNOWN_COUNT, count, np.int32)
        ),
        attributes=_attributes(messages) if details and any(map(Message.headers, messages)) else None,
        handle=handle,
    )


def _times_ns(messages: Sequence[Message]) -> IntColumn:
    times_ms = np.fromiter(map(_TIME, map(Message.timestamp, messages)), np.int64, len(messages))
    return np.where(times_ms < 0, NO_TIME, times_ms * 1_000_000)


def _attributes(messages: Sequence[Message]) -> list[Mapping[str, str]]:
    """Of a name that occurs twice, the last."""
    headers: list[Any] = list(map(Message.headers, messages))
    return [{name: (value or b"").decode(errors="replace") for name, value in pairs or ()} for pairs in headers]
