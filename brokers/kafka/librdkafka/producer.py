"""A librdkafka producer that takes messages as columns, and reports as columns."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping, Sequence
from ctypes import c_char_p, c_int, c_int32, c_size_t, c_ssize_t, c_void_p
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from brokerbench.brokers.kafka.client_protocols import MESSAGE, Messages
from brokerbench.brokers.kafka.librdkafka import library
from brokerbench.brokers.kafka.librdkafka.foreign_memory import MessageBuffer, address, joined, messages_at
from brokerbench.brokers.types import IntColumn, SmallIntColumn

_ANY_PARTITION = -1
_COPY = 0x2
_QUEUED_AND_IN_FLIGHT = 0x1 | 0x2
_WAKE_MS = 1


class _Piece(ctypes.Structure):
    _fields_ = (("at", c_char_p), ("size", c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (("name", c_char_p), ("value", c_char_p), ("size", c_ssize_t))


class _Value(ctypes.Union):
    _fields_ = (
        ("handle", c_void_p),
        ("number", c_int),
        ("memory", _Piece),
        ("header", _Header),
        ("padding", ctypes.c_char * 64),
    )


class _Argument(ctypes.Structure):
    """``rd_kafka_vu_t``: one of the arguments of ``produceva``."""

    _fields_ = (("kind", c_int), ("value", _Value))


_TOPIC, _PAYLOAD, _KEY, _NUMBER, _FLAGS, _HEADER = 2, 4, 5, 6, 7, 9
"""Kinds of arguments."""

_topic_new = library.function("topic_new", c_void_p, c_void_p, c_char_p, c_void_p)
_topic_destroy = library.function("topic_destroy", None, c_void_p)
_queue_get_main = library.function("queue_get_main", c_void_p, c_void_p)
_event_type = library.function("event_type", c_int, c_void_p, quick=True)
_event_message_count = library.function("event_message_count", c_size_t, c_void_p, quick=True)
_event_message_array = library.function("event_message_array", c_size_t, c_void_p, c_void_p, c_size_t)
_event_error_string = library.function("event_error_string", c_char_p, c_void_p, quick=True)
_produce_batch = library.function("produce_batch", c_int, c_void_p, c_int32, c_int, c_void_p, c_int)
_produceva = library.function("produceva", c_void_p, c_void_p, c_void_p, c_size_t)
_flush = library.function("flush", c_int, c_void_p, c_int)
_purge = library.function("purge", c_int, c_void_p, c_int)


class ColumnProducer:
    """A ``ProducerClient`` that hands over a batch with one call and takes reports as events of many messages."""

    def __init__(self, config: Mapping[str, Any], topic: str, logger: logging.Logger) -> None:
        self._client = library.new_client(
            library.new_producer, config, library.REPORT_EVENT | library.LOG_EVENT | library.ERROR_EVENT
        )
        self._buffer = MessageBuffer()
        self._queue: int = _queue_get_main(self._client)
        self._log = library.ClientLog(self._client, self._queue, logger)
        self._topic: int | None = _topic_new(self._client, topic.encode(), None)
        if self._topic is None:
            self.close()
            raise KafkaException(
                KafkaError(KafkaError._INVALID_ARG, f"no topic can be called {topic!r} with this configuration")
            )

    def produce(self, payloads: Sequence[bytes], keys: Sequence[bytes] | None, numbers: IntColumn) -> SmallIntColumn:
        messages = self._buffer.of(len(payloads))
        # These names keep the bytes in their place until the library has copied them, which it does before it returns.
        _bodies, messages["payload"], messages["size"] = joined(payloads)
        _names, messages["key"], messages["key_size"] = (None, 0, 0) if keys is None else joined(keys)
        messages["number"] = numbers
        _produce_batch(self._topic, _ANY_PARTITION, _COPY, self._buffer.address, len(messages))
        errors: SmallIntColumn = messages["error"].copy()
        return errors

    def produce_with_headers(self, payload: bytes, key: bytes | None, headers: Mapping[str, str], number: int) -> int:
        arguments = [
            _Argument(_TOPIC, _Value(handle=self._topic)),
            _Argument(_PAYLOAD, _Value(memory=_Piece(payload, len(payload)))),
            _Argument(_NUMBER, _Value(handle=number)),
            _Argument(_FLAGS, _Value(number=_COPY)),
        ]
        if key is not None:
            arguments.append(_Argument(_KEY, _Value(memory=_Piece(key, len(key)))))
        for name, value in headers.items():
            raw = value.encode()
            arguments.append(_Argument(_HEADER, _Value(header=_Header(name.encode(), raw, len(raw)))))
        error = library.error_from(_produceva(self._client, (_Argument * len(arguments))(*arguments), len(arguments)))
        return 0 if error is None else error.code()

    def reports(self, wait_s: float) -> Messages:
        wait_ms = int(wait_s * 1000)
        while (event := library.queue_poll(self._queue, wait_ms)) is not None:
            try:
                kind = _event_type(event)
                if kind == library.REPORT_EVENT:
                    addresses = np.empty(_event_message_count(event), np.uint64)
                    count = _event_message_array(event, address(addresses), len(addresses))
                    return messages_at(addresses[:count])
                if kind == library.LOG_EVENT:
                    self._log.hand_over(event)
                elif kind == library.ERROR_EVENT:
                    self._log.error(library.text(_event_error_string(event)))
            finally:
                library.event_destroy(event)
            wait_ms = 0
        return np.empty(0, MESSAGE)

    def hurry(self) -> None:
        _flush(self._client, _WAKE_MS)

    def purge(self) -> None:
        _purge(self._client, _QUEUED_AND_IN_FLIGHT)

    def close(self) -> None:
        while len(self.reports(0)):
            """The last log lines come with them."""
        if self._topic is not None:
            _topic_destroy(self._topic)
        library.queue_destroy(self._queue)
        library.destroy(self._client)
