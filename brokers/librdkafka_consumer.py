"""A librdkafka consumer whose messages come as columns. See ``librdkafka``."""

from __future__ import annotations

import ctypes
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_char_p, c_int, c_int32, c_int64, c_size_t, c_ssize_t, c_void_p
from itertools import count, repeat
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from brokers.librdkafka import (
    CONSUMER,
    Addresses,
    Log,
    Messages,
    address,
    bytes_at,
    client,
    code_of,
    destroy,
    event_destroy,
    function,
    messages_at,
    queue_destroy,
    queue_new,
    queue_poll,
    text,
)
from brokers.types import NO_TIME, UNKNOWN_COUNT, IntColumn, Received, constant


class _Partition(ctypes.Structure):
    """``rd_kafka_topic_partition_t``."""

    _fields_ = (
        ("topic", c_char_p),
        ("partition", c_int32),
        ("offset", c_int64),
        ("metadata", c_void_p),
        ("metadata_size", c_size_t),
        ("opaque", c_void_p),
        ("error", c_int),
        ("private", c_void_p),
    )


class _List(ctypes.Structure):
    """``rd_kafka_topic_partition_list_t``."""

    _fields_ = (("count", c_int), ("size", c_int), ("partitions", ctypes.POINTER(_Partition)))


_Partitions = ctypes.POINTER(_List)
_OnRebalance = ctypes.CFUNCTYPE(None, c_void_p, c_int, _Partitions, c_void_p)

_conf_set_rebalance_cb = function("conf_set_rebalance_cb", None, c_void_p, _OnRebalance)
_list_new = function("topic_partition_list_new", _Partitions, c_int)
_list_add = function("topic_partition_list_add", ctypes.POINTER(_Partition), _Partitions, c_char_p, c_int32)
_list_destroy = function("topic_partition_list_destroy", None, _Partitions)
_poll_set_consumer = function("poll_set_consumer", c_int, c_void_p)
_queue_get_consumer = function("queue_get_consumer", c_void_p, c_void_p)
_subscribe = function("subscribe", c_int, c_void_p, _Partitions)
_assign = function("assign", c_int, c_void_p, _Partitions)
_incremental_assign = function("incremental_assign", c_void_p, c_void_p, _Partitions)
_incremental_unassign = function("incremental_unassign", c_void_p, c_void_p, _Partitions)
_rebalance_protocol = function("rebalance_protocol", c_char_p, c_void_p)
_consume = function("consume_batch_queue", c_ssize_t, c_void_p, c_int, c_void_p, c_size_t)
_message_destroy = function("message_destroy", None, c_void_p, quick=True)
_message_timestamp = function("message_timestamp", c_int64, c_void_p, c_void_p, quick=True)
_message_headers = function("message_headers", c_int, c_void_p, c_void_p, quick=True)
_header_get_all = function("header_get_all", c_int, c_void_p, c_size_t, c_void_p, c_void_p, c_void_p, quick=True)
_seek_partitions = function("seek_partitions", c_void_p, c_void_p, _Partitions, c_int)
_commit = function("commit", c_int, c_void_p, _Partitions, c_int)
_consumer_close = function("consumer_close", c_int, c_void_p)

_ALL_PARTITIONS, _NO_OFFSET = -1, -1001
_FOR_EVER = -1
_LINES_NS = 1_000_000_000
"""How long log lines of a busy consumer may wait."""
Lost = Callable[[Sequence[int]], None]


class ColumnConsumer:
    """Receives from one topic. Only ``commit`` may be called by a thread beside another call, and ``close`` beside it.

    Raises KafkaException for a configuration that the library refuses.
    """

    def __init__(self, config: Mapping[str, Any], topic: str, logger: logging.Logger, lost: Lost | None = None) -> None:
        """``lost`` hears which partitions the group takes away, from within ``receive`` and ``close``."""
        self._topic, self._lost = topic.encode(), lost
        self._failure: BaseException | None = None
        self._closed = False
        # Kept, as the library alone knows it otherwise.
        self._on_rebalance = _OnRebalance(self._rebalanced)
        self._client = client(CONSUMER, config, 0, lambda conf: _conf_set_rebalance_cb(conf, self._on_rebalance))
        self._lines: int = queue_new(self._client)
        self._log = Log(self._client, self._lines, logger)
        self._next_lines_ns = 0
        _poll_set_consumer(self._client)
        self._queue: int = _queue_get_consumer(self._client)
        self._inside = threading.Lock()
        self._make_room(1)

    def subscribe(self) -> None:
        """Join the group."""
        with _Offsets(self._topic, {_ALL_PARTITIONS: _NO_OFFSET}) as partitions:
            _require(_subscribe(self._client, partitions))

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read from {partition: offset}, as a member of no group."""
        with _Offsets(self._topic, offsets) as partitions:
            _require(_assign(self._client, partitions))

    def receive(self, most: int, wait_s: float, details: bool) -> tuple[Received, list[KafkaError]]:
        """At most ``most``, as soon as there is a message or an error; none after ``wait_s``.

        Without ``details`` there are no keys, attributes and times.
        """
        if len(self._addresses) < most:
            self._make_room(most)
        # The library waits until it has as many as it was asked for, or for the whole time. So where it holds none, the
        # first is awaited alone (2 ms), and what it holds then joins it.
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
            return _columns(addresses, received_ns, details) if got else (Received.empty(received_ns), [])
        finally:
            deque(map(_message_destroy, addresses.tolist()), maxlen=0)

    def _fill(self, at: int, most: int, wait_ms: int) -> int:
        got: int = _consume(self._queue, wait_ms, self._room + at * self._addresses.itemsize, most)
        return max(0, got)

    def _make_room(self, most: int) -> None:
        self._addresses: Addresses = np.empty(most, np.uint64)
        self._room = address(self._addresses)

    def seek(self, partition: int, offset: int) -> None:
        """Go on with this one; what was fetched and not received is forgotten. No broker is asked."""
        with _Offsets(self._topic, {partition: offset}) as partitions:
            _require(code_of(_seek_partitions(self._client, partitions, _FOR_EVER)))
            _require(partitions.contents.partitions[0].error)

    def commit(self, offsets: Mapping[int, int]) -> dict[int, KafkaError | None]:
        """{partition: the broker's answer}. Waits for it without end."""
        with self._inside, _Offsets(self._topic, offsets) as partitions:
            if self._closed:
                raise KafkaException(KafkaError(KafkaError._DESTROY))
            _require(_commit(self._client, partitions, 0))
            return {each.partition: KafkaError(each.error) if each.error else None for each in _each(partitions)}

    def close(self) -> None:
        """Leave the group. Waits without end for a broker that does not answer. Idempotent."""
        if self._closed:
            return
        error = _consumer_close(self._client)
        with self._inside:
            self._closed = True
            self._hand_over_lines()
            queue_destroy(self._queue)
            queue_destroy(self._lines)
            destroy(self._client)
        self._raise_failure()
        _require(error)

    def _hand_over_lines(self) -> None:
        while (event := queue_poll(self._lines, 0)) is not None:
            self._log.hand_over(event)
            event_destroy(event)

    def _rebalanced(self, handle: int, error: int, partitions: Any, _opaque: int) -> None:
        # What is raised here would be printed and forgotten: it is kept for whoever called the library.
        try:
            assigned = error == KafkaError._ASSIGN_PARTITIONS
            try:
                if not assigned and self._lost is not None:
                    self._lost([each.partition for each in _each(partitions)])
            finally:
                # In any case: the group waits for it.
                _require(_follow(handle, assigned, partitions))
        except BaseException as failure:
            self._failure = failure

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def _follow(handle: int, assigned: bool, partitions: Any) -> int:
    """Do as the group has decided; the error."""
    if _rebalance_protocol(handle) == b"COOPERATIVE":
        change = _incremental_assign if assigned else _incremental_unassign
        return code_of(change(handle, partitions))
    code: int = _assign(handle, partitions if assigned else None)
    return code


class _Offsets:
    """The library's list of partitions, for as long as it is needed."""

    def __init__(self, topic: bytes, offsets: Mapping[int, int]) -> None:
        self._list = _list_new(len(offsets))
        for partition, offset in offsets.items():
            _list_add(self._list, topic, partition).contents.offset = offset

    def __enter__(self) -> Any:
        return self._list

    def __exit__(self, *_: object) -> None:
        _list_destroy(self._list)


def _each(partitions: Any) -> list[Any]:
    found: list[Any] = partitions.contents.partitions[: partitions.contents.count]
    return found


def _require(code: int) -> None:
    if code:
        raise KafkaException(KafkaError(code))


def _columns(addresses: Addresses, received_ns: int, details: bool) -> tuple[Received, list[KafkaError]]:
    """Copies: the messages can be freed then."""
    messages, errors = messages_at(addresses), list[KafkaError]()
    if np.count_nonzero(messages["error"]):
        failed = messages[messages["error"] != 0]
        texts = bytes_at(failed["payload"], failed["size"])
        errors = [KafkaError(int(code), text(why)) for code, why in zip(failed["error"], texts, strict=True)]
        addresses, messages = addresses[messages["error"] == 0], messages[messages["error"] == 0]
    places = addresses.tolist() if details else []
    received = Received(
        payloads=bytes_at(messages["payload"], messages["size"]),
        keys=_keys(messages) if details else (),
        partitions=messages["partition"].copy(),
        places=messages["offset"].copy(),
        received_ns=received_ns,
        broker_epoch_ns=_times_ns(places) if details else constant(NO_TIME, len(messages), np.int64),
        delivery_counts=constant(UNKNOWN_COUNT, len(messages), np.int32),
        attributes=_attributes(places) if details else None,
        handle={},
    )
    return received, errors


def _keys(messages: Messages) -> list[bytes | None]:
    keys: list[bytes | None] = list(bytes_at(messages["key"], messages["key_size"]))
    for row in np.flatnonzero(messages["key"] == 0).tolist():
        keys[row] = None
    return keys


def _times_ns(places: list[int]) -> IntColumn:
    times_ms = np.fromiter(map(_message_timestamp, places, repeat(None)), np.int64, len(places))
    return np.where(times_ms < 0, NO_TIME, times_ms * 1_000_000)


def _attributes(places: list[int]) -> list[dict[str, str]] | None:
    """None where no message has any."""
    headers = c_void_p()
    without = list(map(_message_headers, places, repeat(ctypes.byref(headers))))
    return None if all(without) else list(map(_headers, places))


def _headers(place: int) -> dict[str, str]:
    """Of a name that occurs twice, the last."""
    headers, found = c_void_p(), dict[str, str]()
    if _message_headers(place, ctypes.byref(headers)) != 0:
        return found
    name, value, size = c_char_p(), c_void_p(), c_size_t()
    for at in count():
        if _header_get_all(headers, at, *map(ctypes.byref, (name, value, size))) != 0:
            break
        found[text(name.value)] = text(ctypes.string_at(value.value or 0, size.value))
    return found
