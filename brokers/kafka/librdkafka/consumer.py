"""A librdkafka consumer whose messages come as columns."""

from __future__ import annotations

import ctypes
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from ctypes import c_char_p, c_int, c_size_t, c_ssize_t, c_void_p
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from brokerbench.brokers.kafka.client_protocols import OnRevoked
from brokerbench.brokers.kafka.librdkafka import library
from brokerbench.brokers.kafka.librdkafka.foreign_memory import Addresses, address
from brokerbench.brokers.kafka.librdkafka.messages import columns, without_errors
from brokerbench.brokers.kafka.librdkafka.partitions import SUBSCRIBED, PartitionList, Partitions, answers, entries
from brokerbench.brokers.types import Received

_OnRebalance = ctypes.CFUNCTYPE(None, c_void_p, c_int, Partitions, c_void_p)

_conf_set_rebalance_cb = library.function("conf_set_rebalance_cb", None, c_void_p, _OnRebalance)
_poll_set_consumer = library.function("poll_set_consumer", c_int, c_void_p)
_queue_get_consumer = library.function("queue_get_consumer", c_void_p, c_void_p)
_subscribe = library.function("subscribe", c_int, c_void_p, Partitions)
_assign = library.function("assign", c_int, c_void_p, Partitions)
_incremental_assign = library.function("incremental_assign", c_void_p, c_void_p, Partitions)
_incremental_unassign = library.function("incremental_unassign", c_void_p, c_void_p, Partitions)
_rebalance_protocol = library.function("rebalance_protocol", c_char_p, c_void_p)
_consume = library.function("consume_batch_queue", c_ssize_t, c_void_p, c_int, c_void_p, c_size_t)
_message_destroy = library.function("message_destroy", None, c_void_p, quick=True)
_seek_partitions = library.function("seek_partitions", c_void_p, c_void_p, Partitions, c_int)
_commit = library.function("commit", c_int, c_void_p, Partitions, c_int)
_consumer_close = library.function("consumer_close", c_int, c_void_p)

_FOR_EVER = -1
_LINES_NS = 1_000_000_000
"""How long log lines of a busy consumer may wait, in nanoseconds."""


class ColumnConsumer:
    """A ``ConsumerClient`` that copies whole batches out of the library's memory."""

    def __init__(
        self, config: Mapping[str, Any], topic: str, logger: logging.Logger, on_revoked: OnRevoked | None = None
    ) -> None:
        self._topic, self._on_revoked = topic.encode(), on_revoked
        self._failure: BaseException | None = None
        self._closed = False
        # Kept alive here, as the library holds no reference to it.
        self._on_rebalance = _OnRebalance(self._rebalanced)
        self._client = library.new_client(
            library.new_consumer,
            config,
            library.LOG_EVENT,
            lambda conf: _conf_set_rebalance_cb(conf, self._on_rebalance),
        )
        self._lines: int = library.queue_new(self._client)
        self._log = library.ClientLog(self._client, self._lines, logger)
        self._next_lines_ns = 0
        _poll_set_consumer(self._client)
        self._queue: int = _queue_get_consumer(self._client)
        self._inside = threading.Lock()
        self._make_buffer(1)

    def subscribe(self) -> None:
        with PartitionList(self._topic, SUBSCRIBED) as partitions:
            library.require(_subscribe(self._client, partitions))

    def assign(self, offsets: Mapping[int, int]) -> None:
        with PartitionList(self._topic, offsets) as partitions:
            library.require(_assign(self._client, partitions))

    def receive(self, most: int, wait_s: float, details: bool) -> tuple[Received, list[KafkaError]]:
        if len(self._addresses) < most:
            self._make_buffer(most)
        # The library waits until it has as many as it was asked for, or for the whole time. So where it holds none, the
        # first is awaited alone (2 ms), and those that it holds then join it.
        got = self._fill(0, most, 0)
        if not got:
            got = self._fill(0, 1, math.ceil(wait_s * 1000))
            if got and most > 1:
                got += self._fill(1, most - 1, 0)
        received_ns = time.monotonic_ns()
        if not got or received_ns >= self._next_lines_ns:
            self._next_lines_ns = received_ns + _LINES_NS
            self._hand_over_lines()
        addresses = self._addresses[:got]
        try:
            self._raise_failure()
            if not got:
                return Received.empty(received_ns), []
            addresses, messages, errors = without_errors(addresses)
            return columns(addresses, messages, received_ns, details=details, handle={}), errors
        finally:
            deque(map(_message_destroy, self._addresses[:got].tolist()), maxlen=0)

    def _fill(self, at: int, most: int, wait_ms: int) -> int:
        got: int = _consume(self._queue, wait_ms, self._buffer + at * self._addresses.itemsize, most)
        return max(0, got)

    def _make_buffer(self, most: int) -> None:
        self._addresses: Addresses = np.empty(most, np.uint64)
        self._buffer = address(self._addresses)

    def seek(self, partition: int, offset: int) -> None:
        with PartitionList(self._topic, {partition: offset}) as partitions:
            library.require_none(_seek_partitions(self._client, partitions, _FOR_EVER))
            library.require(partitions.contents.partitions[0].error)

    def commit(self, offsets: Mapping[int, int]) -> dict[int, KafkaError | None]:
        with self._inside, PartitionList(self._topic, offsets) as partitions:
            if self._closed:
                raise KafkaException(KafkaError(KafkaError._DESTROY))
            library.require(_commit(self._client, partitions, 0))
            return answers(partitions)

    def close(self) -> None:
        if self._closed:
            return
        error = _consumer_close(self._client)
        with self._inside:
            self._closed = True
            self._hand_over_lines()
            library.queue_destroy(self._queue)
            library.queue_destroy(self._lines)
            library.destroy(self._client)
        self._raise_failure()
        library.require(error)

    def _hand_over_lines(self) -> None:
        while (event := library.queue_poll(self._lines, 0)) is not None:
            self._log.hand_over(event)
            library.event_destroy(event)

    def _rebalanced(self, handle: int, error: int, partitions: Any, _opaque: int) -> None:
        # ctypes would print an error raised here and forget it: it is kept for the caller of the library.
        try:
            assigned = error == KafkaError._ASSIGN_PARTITIONS
            try:
                if not assigned and self._on_revoked is not None:
                    self._on_revoked([each.partition for each in entries(partitions)])
            finally:
                # Also after an error: the group waits for this.
                _follow(handle, assigned, partitions)
        except BaseException as failure:
            self._failure = failure

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def _follow(handle: int, assigned: bool, partitions: Any) -> None:
    """Take or give up these partitions, as the group has decided."""
    if _rebalance_protocol(handle) == b"COOPERATIVE":
        change = _incremental_assign if assigned else _incremental_unassign
        library.require_none(change(handle, partitions))
    else:
        library.require(_assign(handle, partitions if assigned else None))
