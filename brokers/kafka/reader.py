"""Taking messages from a topic, and reading it again outside any group."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaException

from brokerbench.brokers.contract import check_count
from brokerbench.brokers.errors import Misuse
from brokerbench.brokers.kafka.client import (
    INTERRUPTIBLE_S,
    LOGGER,
    OneThread,
    client_config,
    close_quietly,
    require_passing,
    translated,
)
from brokerbench.brokers.kafka.librdkafka.consumer import ColumnConsumer, Lost
from brokerbench.brokers.types import Endpoint, Received

FETCH_AGAIN_MS = 10
"""When the local queue was full. The default waits a second, in which a fast consumer has emptied it."""


def take(client: ColumnConsumer, max_messages: int, wait_s: float, details: bool = True) -> Received:
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


def consumer(
    config: Mapping[str, Any], channel: str, begin: Callable[[ColumnConsumer], None], lost: Lost | None = None
) -> ColumnConsumer:
    """One that has begun. Raises KafkaException, and leaves none behind."""
    made = ColumnConsumer(config, channel, LOGGER, lost)
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
            # librdkafka wants a name; nothing of it reaches the broker, as no group is joined.
            group_id=f"{channel}:reader-{uuid.uuid4()}",
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            auto_offset_reset="earliest",
            fetch_queue_backoff_ms=FETCH_AGAIN_MS,
        )
        self._alone = OneThread("the reader")
        try:
            self._client: ColumnConsumer | None = consumer(config, channel, lambda made: made.assign(offsets))
        except KafkaException as failure:
            raise translated(failure, f"read {channel} again") from None

    def read(self, max_messages: int, wait_s: float) -> Received:
        with self._alone:
            if self._client is None:
                raise Misuse("the reader is closed")
            return take(self._client, max_messages, wait_s)

    def close(self) -> None:
        with self._alone:
            if self._client is not None:
                client, self._client = self._client, None
                close_quietly(client)
