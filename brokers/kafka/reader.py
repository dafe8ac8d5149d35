"""Receiving from a topic, and reading it again outside any group."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaException

from brokerbench.brokers.contract import ThreadGuard, check_count
from brokerbench.brokers.kafka.client import (
    INTERRUPTIBLE_S,
    LOGGER,
    client_config,
    close_quietly,
    require_passing,
    translated,
)
from brokerbench.brokers.kafka.client_choice import new_consumer
from brokerbench.brokers.kafka.client_protocols import ConsumerClient, OnRevoked
from brokerbench.brokers.types import Endpoint, Received

FETCH_AGAIN_MS = 10
"""Milliseconds until the client fetches again after its queue was full. In the default, a second, it may run empty."""


def receive_within(client: ConsumerClient, max_messages: int, wait_s: float, details: bool = True) -> Received:
    """At most ``max_messages``, as soon as there is one; empty after ``wait_s``.

    Raises for an error, unless messages came along with it: librdkafka repeats one that lasts, so that the next call
    raises it.
    """
    check_count(max_messages)
    deadline = time.monotonic() + wait_s
    while True:
        received, errors = client.receive(
            max_messages, min(INTERRUPTIBLE_S, max(0.0, deadline - time.monotonic())), details
        )
        if not len(received):
            require_passing(errors)
        if len(received) or time.monotonic() >= deadline:
            return received


def started_consumer(
    config: Mapping[str, Any],
    channel: str,
    begin: Callable[[ConsumerClient], None],
    on_revoked: OnRevoked | None = None,
) -> ConsumerClient:
    """A client that has begun. Raises KafkaException, and then leaves no client behind."""
    made = new_consumer(config, channel, LOGGER, on_revoked)
    try:
        begin(made)
    except KafkaException:
        close_quietly(made)
        raise
    return made


class KafkaReader:
    """Reads partitions by assignment: joins no group, commits nothing. See ``brokerbench.brokers.protocols.Reader``."""

    def __init__(self, endpoint: Endpoint, channel: str, offsets: Mapping[int, int]) -> None:
        """``offsets``: {partition: where to begin}."""
        config = client_config(
            endpoint,
            # librdkafka asks for a name; it does not reach the broker, as no group is joined.
            group_id=f"{channel}:reader-{uuid.uuid4()}",
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            auto_offset_reset="earliest",
            fetch_queue_backoff_ms=FETCH_AGAIN_MS,
        )
        self._guard = ThreadGuard("the reader")
        try:
            self._client = started_consumer(config, channel, lambda client: client.assign(offsets))
        except KafkaException as failure:
            raise translated(failure, f"read {channel} again") from None

    def read(self, max_messages: int, wait_s: float) -> Received:
        with self._guard:
            return receive_within(self._client, max_messages, wait_s)

    def close(self) -> None:
        if self._guard.close():
            close_quietly(self._client)
