"""Columns of messages that lie in the library's memory."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_int16, c_int64, c_size_t, c_void_p
from itertools import count, repeat
from typing import Any

import numpy as np
from confluent_kafka import KafkaError

from brokerbench.brokers.kafka.client_protocols import Messages
from brokerbench.brokers.kafka.librdkafka.foreign_memory import Addresses, bytes_at, messages_at
from brokerbench.brokers.kafka.librdkafka.library import function, text
from brokerbench.brokers.types import NO_TIME, UNKNOWN_COUNT, IntColumn, Received, SmallIntColumn, constant

_timestamp = function("message_timestamp", c_int64, c_void_p, c_void_p, quick=True)
_delivery_count = function("message_delivery_count", c_int16, c_void_p, quick=True)
_message_headers = function("message_headers", c_int, c_void_p, c_void_p, quick=True)
_header_get_all = function("header_get_all", c_int, c_void_p, c_size_t, c_void_p, c_void_p, c_void_p, quick=True)


def without_errors(addresses: Addresses) -> tuple[Addresses, Messages, list[KafkaError]]:
    """Addresses and structures of the messages proper, and the errors that came among them."""
    messages = messages_at(addresses)
    if not np.count_nonzero(messages["error"]):
        return addresses, messages, []
    good = messages["error"] == 0
    failed = messages[~good]
    texts = bytes_at(failed["payload"], failed["size"])
    errors = [KafkaError(int(code), text(why)) for code, why in zip(failed["error"], texts, strict=True)]
    return addresses[good], messages[good], errors


def columns(
    addresses: Addresses,
    messages: Messages,
    received_ns: int,
    *,
    details: bool,
    counted: bool = False,
    handle: Any = None,
) -> Received:
    """Copies of the messages at ``addresses``, none of them an error. The messages can be freed afterwards.

    Without ``details`` keys, attributes and times are left out; deliveries are ``counted`` in share groups alone.
    """
    each = addresses.tolist() if details or counted else []
    size = len(messages)
    return Received(
        payloads=bytes_at(messages["payload"], messages["size"]),
        keys=_keys(messages) if details else (),
        partitions=messages["partition"].copy(),
        places=messages["offset"].copy(),
        received_ns=received_ns,
        broker_epoch_ns=_times_ns(each) if details else constant(NO_TIME, size, np.int64),
        delivery_counts=_counts(each) if counted else constant(UNKNOWN_COUNT, size, np.int32),
        attributes=_attributes(each) if details else None,
        handle=handle,
    )


def _keys(messages: Messages) -> list[bytes | None]:
    keys: list[bytes | None] = list(bytes_at(messages["key"], messages["key_size"]))
    for row in np.flatnonzero(messages["key"] == 0).tolist():
        keys[row] = None
    return keys


def _times_ns(addresses: list[int]) -> IntColumn:
    times_ms = np.fromiter(map(_timestamp, addresses, repeat(None)), np.int64, len(addresses))
    return np.where(times_ms < 0, NO_TIME, times_ms * 1_000_000)


def _counts(addresses: list[int]) -> SmallIntColumn:
    return np.fromiter(map(_delivery_count, addresses), np.int32, len(addresses))


def _attributes(addresses: list[int]) -> list[dict[str, str]] | None:
    """None where no message has any."""
    headers = c_void_p()
    without = list(map(_message_headers, addresses, repeat(ctypes.byref(headers))))
    return None if all(without) else list(map(_headers, addresses))


def _headers(address: int) -> dict[str, str]:
    """Of a name that occurs twice, the last."""
    headers, found = c_void_p(), dict[str, str]()
    if _message_headers(address, ctypes.byref(headers)) != 0:
        return found
    name, value, size = c_char_p(), c_void_p(), c_size_t()
    for at in count():
        if _header_get_all(headers, at, *map(ctypes.byref, (name, value, size))) != 0:
            break
        found[text(name.value)] = text(ctypes.string_at(value.value or 0, size.value))
    return found
