"""A librdkafka share consumer (KIP-932) whose messages come as columns."""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Mapping
from ctypes import c_char_p, c_int, c_size_t, c_void_p
from itertools import repeat
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from brokerbench.brokers.kafka.client_protocols import MESSAGE, OnAcknowledged, Part
from brokerbench.brokers.kafka.librdkafka.foreign_memory import Addresses, offsets_of
from brokerbench.brokers.kafka.librdkafka.library import function, log_line, new_client, require, require_none
from brokerbench.brokers.kafka.librdkafka.messages import columns, without_errors
from brokerbench.brokers.kafka.librdkafka.partitions import (
    SUBSCRIBED,
    Partition,
    PartitionList,
    Partitions,
    answers,
    list_destroy,
)
from brokerbench.brokers.types import IntColumn, Received, SmallIntColumn

_OnLine = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_char_p, c_char_p)
_OnAnswer = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int, c_void_p)

_conf_set_log_cb = function("conf_set_log_cb", None, c_void_p, _OnLine)
_consumer_new = function("share_consumer_new", c_void_p, c_void_p, c_char_p, c_size_t)
_set_log_queue = function("share_set_log_queue", c_void_p, c_void_p, c_void_p)
_set_commit_cb = function("share_set_acknowledgement_commit_cb", c_void_p, c_void_p, _OnAnswer, c_void_p)
_subscribe = function("share_subscribe", c_int, c_void_p, Partitions)
_poll = function("share_poll", c_void_p, c_void_p, c_int, c_void_p)
_messages_count = function("messages_count", c_size_t, c_void_p)
_messages_destroy = function("messages_destroy", None, c_void_p)
_acknowledge = function("share_acknowledge_type", c_int, c_void_p, c_void_p, c_int, quick=True)
_commit_async = function("share_commit_async", c_void_p, c_void_p)
_commit_sync = function("share_commit_sync", c_void_p, c_void_p, c_int, c_void_p)
_answer_count = function("share_partition_offsets_list_count", c_size_t, c_void_p)
_answer_get = function("share_partition_offsets_list_get", c_void_p, c_void_p, c_size_t)
_answer_partition = function("share_partition_offsets_partition", ctypes.POINTER(Partition), c_void_p)
_answer_offsets = function("share_partition_offsets_offsets", c_void_p, c_void_p)
_answer_offsets_count = function("share_partition_offsets_offsets_cnt", c_size_t, c_void_p)
_consumer_close = function("share_consumer_close", c_void_p, c_void_p)
_destroy = function("share_destroy", c_void_p, c_void_p)


class ColumnPoll:
    """The messages of one poll, which stay in the library's memory until ``free``. ``addresses``: of each."""

    def __init__(self) -> None:
        self.handle = c_void_p()
        self.seen = False
        self._forget()

    def _forget(self) -> None:
        self.addresses, self.errors = np.empty(0, np.uint64), list[KafkaError]()
        self._messages, self.open = np.empty(0, MESSAGE), np.empty(0, np.bool_)
        self._copies: Received | None = None

    def __len__(self) -> int:
        return len(self.addresses)

    def look(self) -> None:
        """Find the messages behind ``handle``."""
        self.addresses, self._messages, self.errors = without_errors(_addresses(self.handle.value))
        self.open, self._copies = np.full(len(self), True), None
        self.seen = True

    def columns(self, rows: slice, received_ns: int, details: bool) -> Received:
        if self._copies is None:
            # Of all rows at once, though a call may ask for few: NumPy takes as long for few.
            self._copies = columns(self.addresses, self._messages, 0, details=details, counted=details)
        whole = self._copies
        return Received(
            whole.payloads[rows],
            whole.keys[rows],
            whole.partitions[rows],
            whole.places[rows],
            received_ns,
            whole.broker_epoch_ns[rows],
            whole.delivery_counts[rows],
            attributes=None if whole.attributes is None else whole.attributes[rows],
            handle=Part(self, rows.start),
        )

    def free(self) -> None:
        self.seen = True
        self._forget()
        handle, self.handle = self.handle, c_void_p()
        _messages_destroy(handle)


def _addresses(handle: int | None) -> Addresses:
    """In ``rd_kafka_messages_t`` the pointers follow the count: see ``probe.SHARE_VERSION``."""
    count = _messages_count(handle)
    if handle is None or not count:
        return np.empty(0, np.uint64)
    raw = ctypes.string_at(handle + ctypes.sizeof(c_size_t), count * ctypes.sizeof(c_void_p))
    addresses: Addresses = np.frombuffer(raw, np.uint64)
    offsets_of(addresses)
    return addresses


class ColumnShareConsumer:
    """A ``ShareClient`` whose polls stay in the library's memory and are copied as columns."""

    def __init__(self, config: Mapping[str, Any], topic: str, logger: logging.Logger) -> None:
        self._logger = logger
        self._heard: OnAcknowledged | None = None
        self._failure: BaseException | None = None
        self._closed = False
        # Kept alive here, as the library holds no reference to them.
        self._on_line, self._on_answer = _OnLine(self._line), _OnAnswer(self._answer)
        config = {**config, "share.acknowledgement.mode": "explicit"}
        self._client = new_client(_consumer_new, config, 0, lambda conf: _conf_set_log_cb(conf, self._on_line))
        self._handle = c_void_p(self._client)
        # Lines come from within the calls, too: a queue of their own would need a handle that is not given out.
        require_none(_set_log_queue(self._client, None))
        try:
            with PartitionList(topic.encode(), SUBSCRIBED) as partitions:
                require(_subscribe(self._client, partitions))
        except KafkaException:
            self.close()
            raise

    def new_poll(self) -> ColumnPoll:
        return ColumnPoll()

    def listen(self, heard: OnAcknowledged) -> None:
        """Each call of ``heard`` costs 15 us."""
        self._heard = heard
        require_none(_set_commit_cb(self._client, self._on_answer, None))

    def poll(self, poll: ColumnPoll, wait_s: float) -> None:
        """Messages of a call that was interrupted are found by the next call with the same ``poll``."""
        if not poll.handle.value:
            require_none(_poll(self._client, math.ceil(wait_s * 1000), ctypes.byref(poll.handle)))
        if poll.handle.value:
            poll.look()

    def acknowledge(self, poll: ColumnPoll, rows: slice | IntColumn, how: int) -> SmallIntColumn:
        addresses = poll.addresses[rows]
        # Values of C's own types, as numbers would be converted once a message, which takes 0.06 us.
        told = map(_acknowledge, repeat(self._handle), addresses.tolist(), repeat(c_int(how)))
        errors = np.fromiter(told, np.int32, len(addresses))
        poll.open[rows] = poll.open[rows] & (errors != 0)
        return errors

    def commit_async(self) -> None:
        require_none(_commit_async(self._client))

    def commit_sync(self, timeout_s: float) -> dict[int, KafkaError | None]:
        partitions = Partitions()
        require_none(_commit_sync(self._client, math.ceil(timeout_s * 1000), ctypes.byref(partitions)))
        if not partitions:
            return {}
        try:
            return answers(partitions)
        finally:
            list_destroy(partitions)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        error = _consumer_close(self._client)
        require_none(_destroy(self._client))
        self.raise_failure()
        require_none(error)

    def _line(self, handle: int, level: int, facility: bytes, line: bytes) -> None:
        try:
            log_line(self._logger, handle, level, facility, line)
        except BaseException as failure:
            self._failure = failure

    def _answer(self, _handle: int, found: int, code: int, _opaque: int) -> None:
        try:
            assert self._heard is not None
            error = KafkaError(code) if code else None
            for at in range(_answer_count(found)):
                entry = _answer_get(found, at)
                size = _answer_offsets_count(entry) * np.dtype(np.int64).itemsize
                offsets = np.frombuffer(ctypes.string_at(_answer_offsets(entry), size), np.int64)
                self._heard(_answer_partition(entry).contents.partition, offsets, error)
        except BaseException as failure:
            self._failure = failure

    def raise_failure(self) -> None:
        """An error raised while the library called back, for instance by Ctrl-C, is kept for this call.

        Python may see Ctrl-C one step before the error can be kept; then it is printed, and lost.
        """
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
