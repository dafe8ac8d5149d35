"""Memory that C and NumPy share, and a broker that the library plays itself."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaException
from hypothesis import given
from hypothesis import strategies as st

from brokerbench.brokers.kafka.client_protocols import MESSAGE
from brokerbench.brokers.kafka.librdkafka import partitions as librdkafka_partitions
from brokerbench.brokers.kafka.librdkafka import producer as librdkafka_producer
from brokerbench.brokers.kafka.librdkafka.consumer import ColumnConsumer
from brokerbench.brokers.kafka.librdkafka.foreign_memory import Addresses, bytes_at, joined, messages_at, offsets_of
from brokerbench.brokers.kafka.librdkafka.producer import ColumnProducer
from brokerbench.brokers.kafka.librdkafka.share_consumer import ColumnShareConsumer
from brokerbench.brokers.rows import Rows

LOGGER = logging.getLogger("test")


def held(payloads: Sequence[bytes]) -> tuple[list[Any], Addresses, Addresses]:
    """The payloads somewhere in memory: what keeps them there, where, and how long each is."""
    kept = [ctypes.create_string_buffer(payload, max(1, len(payload))) for payload in payloads]
    addresses = np.array([ctypes.addressof(each) for each in kept], np.uint64)
    return kept, addresses, np.array(list(map(len, payloads)), np.uint64)


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_bytes_come_from_memory_as_they_lie_there(payloads: list[bytes]) -> None:
    _kept, addresses, sizes = held(payloads)
    assert list(bytes_at(addresses, sizes)) == payloads


@pytest.mark.parametrize("sizes", [(0, 5, 7), (3, 3, 300), (1, 1 << 14), (2, (1 << 14) + 1)])
def test_bytes_of_a_few_sizes_come_in_their_order(sizes: tuple[int, ...]) -> None:
    payloads = [bytes([at % 256]) * sizes[at % 5 % len(sizes)] for at in range(100)]
    _kept, addresses, lengths = held(payloads)
    assert list(bytes_at(addresses, lengths)) == payloads


@pytest.mark.parametrize("size", [1, 1 << 14, (1 << 14) + 1, 1 << 20])
def test_bytes_of_one_size_come_whole(size: int) -> None:
    payloads = [bytes([at]) * (size - 1) + b"\0" for at in range(3)]
    _kept, addresses, sizes = held(payloads)
    assert list(bytes_at(addresses, sizes)) == payloads


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20))
def test_what_is_joined_is_found_again(payloads: list[bytes]) -> None:
    _whole, addresses, sizes = joined(payloads)
    assert list(bytes_at(addresses, np.asarray(sizes))) == payloads


def test_rows_are_joined_already() -> None:
    matrix = np.arange(60, dtype=np.uint8).reshape(6, 10)
    every_second = Rows(matrix)[::2]
    _whole, addresses, size = joined(every_second)
    assert list(bytes_at(addresses, np.full(3, size, np.uint64))) == list(every_second)


def test_messages_come_from_memory_as_columns() -> None:
    there = np.zeros(4, MESSAGE)
    there["offset"], there["partition"], there["number"] = [5, 6, 7, 8], [0, 1, 2, 0], 2**63 - 1
    addresses = np.uint64(there.ctypes.data) + np.array([3, 0], np.uint64) * np.uint64(MESSAGE.itemsize)
    found = messages_at(addresses)
    assert (found["offset"].tolist(), found["partition"].tolist()) == ([8, 5], [0, 0])
    assert found["number"].tolist() == [2**63 - 1] * 2
    assert len(messages_at(addresses[:0])) == 0


def test_a_message_has_the_layout_of_the_header() -> None:
    """rdkafka.h: int, pointer, int32, pointer, size, pointer, size, int64, pointer, on a machine of 64 bits."""
    assert (MESSAGE.itemsize, [MESSAGE.fields[name][1] for name in MESSAGE.names or ()]) == (
        72,
        [0, 8, 16, 24, 32, 40, 48, 56, 64],
    )


def test_other_structures_have_the_layouts_of_the_header() -> None:
    """``rd_kafka_topic_partition_t``, its list and ``rd_kafka_vu_t``, whose union is padded to 64 bytes."""
    sizes = [ctypes.sizeof(each) for each in (librdkafka_partitions.Partition, librdkafka_partitions.List)]
    assert (sizes, librdkafka_partitions.Partition.error.offset) == ([64, 16], 48)
    argument = librdkafka_producer._Argument
    assert (ctypes.sizeof(argument), argument.value.offset) == (72, 8)


@pytest.mark.parametrize(("name", "value"), [("no.such.setting", 1), ("acks", "sideways"), ("batch.size", -5)])
def test_a_setting_that_the_library_refuses_is_named(name: str, value: object) -> None:
    for make in (ColumnProducer, ColumnConsumer, ColumnShareConsumer):
        with pytest.raises(KafkaException, match=name):
            make({"group.id": "g", name: value}, "topic", LOGGER)


def test_a_name_that_no_topic_can_have_is_refused() -> None:
    with pytest.raises(KafkaException, match="no topic can be called"):
        ColumnProducer({}, "x" * 600, LOGGER)


@pytest.mark.parametrize("wrong", [0, 1, 4096, 1 << 48, (1 << 63) + 5, (1 << 64) - 1])
@pytest.mark.parametrize("sizes", [(8, 8), (8, 1 << 15)])
def test_an_address_that_no_process_has_is_an_error(wrong: int, sizes: tuple[int, int]) -> None:
    _kept, addresses, lengths = held([b"x" * size for size in sizes])
    addresses[1] = wrong
    with pytest.raises(ValueError, match="outside of this process"):
        bytes_at(addresses, lengths)
    with pytest.raises(ValueError, match="outside of this process"):
        offsets_of(addresses)
