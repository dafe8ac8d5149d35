"""A ``ConsumerClient`` on confluent-kafka's ``Consumer``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from brokerbench.brokers.kafka.client_protocols import OnRevoked
from brokerbench.brokers.kafka.plain.messages import columns, without_errors
from brokerbench.brokers.types import Received


class PlainConsumer:
    """One message object for each message that is received."""

    def __init__(
        self, config: Mapping[str, Any], topic: str, logger: logging.Logger, on_revoked: OnRevoked | None = None
    ) -> None:
        self._topic, self._on_revoked = topic, on_revoked
        self._client = Consumer({**config, "logger": logger})
        self._inside = threading.Lock()
        self._closed = False

    def subscribe(self) -> None:
        self._client.subscribe([self._topic], on_revoke=self._revoked, on_lost=self._revoked)

    def assign(self, offsets: Mapping[int, int]) -> None:
        self._client.assign(self._partitions(offsets))

    def receive(self, most: int, wait_s: float, details: bool) -> tuple[Received, list[KafkaError]]:
        # The library waits until it has as many as it was asked for, or for the whole time (``consume(500, 1.0)``:
        # median 503 ms). So where it holds none, the first is awaited alone (2 ms), and those that it holds join it.
        messages = self._client.consume(most, 0)
        if not messages:
            messages = self._client.consume(1, wait_s)
            if messages and most > 1:
                messages += self._client.consume(most - 1, 0)
        received_ns = time.monotonic_ns()
        good, errors = without_errors(messages)
        if not good:
            return Received.empty(received_ns), errors
        return columns(good, received_ns, details=details, handle={}), errors

    def seek(self, partition: int, offset: int) -> None:
        self._client.seek(TopicPartition(self._topic, partition, offset))

    def commit(self, offsets: Mapping[int, int]) -> dict[int, KafkaError | None]:
        with self._inside:
            if self._closed:
                raise KafkaException(KafkaError(KafkaError._DESTROY))
            answers = self._client.commit(offsets=self._partitions(offsets), asynchronous=False)
            return {each.partition: each.error for each in answers or ()}

    def close(self) -> None:
        # The client leaves the group and frees its memory in one call, which must not happen beside a commit.
        with self._inside:
            if not self._closed:
                self._closed = True
                self._client.close()

    def _partitions(self, offsets: Mapping[int, int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()]

    def _revoked(self, _client: Consumer, partitions: list[TopicPartition]) -> None:
        if self._on_revoked is not None:
            self._on_revoked([each.partition for each in partitions])
