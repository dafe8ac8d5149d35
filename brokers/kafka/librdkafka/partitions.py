"""librdkafka's lists of partitions, each with an offset and an error."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import c_char_p, c_int, c_int32, c_int64, c_size_t, c_void_p
from typing import Any

from confluent_kafka import KafkaError

from brokerbench.brokers.kafka.librdkafka.library import function


class Partition(ctypes.Structure):
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


class List(ctypes.Structure):
    """``rd_kafka_topic_partition_list_t``."""

    _fields_ = (("count", c_int), ("size", c_int), ("partitions", ctypes.POINTER(Partition)))


Partitions = ctypes.POINTER(List)

_list_new = function("topic_partition_list_new", Partitions, c_int)
_list_add = function("topic_partition_list_add", ctypes.POINTER(Partition), Partitions, c_char_p, c_int32)
list_destroy = function("topic_partition_list_destroy", None, Partitions)

_ALL, _NO_OFFSET = -1, -1001
SUBSCRIBED = {_ALL: _NO_OFFSET}
"""Offsets of a topic for a member of a group: the group gives it partitions."""


class PartitionList:
    """{partition: offset} of a topic as a list of the library, freed at the end of ``with``."""

    def __init__(self, topic: bytes, offsets: Mapping[int, int]) -> None:
        self._list = _list_new(len(offsets))
        for partition, offset in offsets.items():
            _list_add(self._list, topic, partition).contents.offset = offset

    def __enter__(self) -> Any:
        return self._list

    def __exit__(self, *_: object) -> None:
        list_destroy(self._list)


def answers(partitions: Any) -> dict[int, KafkaError | None]:
    """{partition: its error}."""
    return {each.partition: KafkaError(each.error) if each.error else None for each in entries(partitions)}


def entries(partitions: Any) -> list[Any]:
    found: list[Any] = partitions.contents.partitions[: partitions.contents.count]
    return found
