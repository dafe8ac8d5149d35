"""Memory that C and NumPy share, and a broker that the library plays itself."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from hypothesis import given
from hypothesis import strategies as st

from brokerbench.brokers.kafka.librdkafka import partitions as librdkafka_partitions
from brokerbench.brokers.kafka.librdkafka import producer as librdkafka_producer
from brokerbench.brokers.kafka.librdkafka.consumer import ColumnConsumer
from brokerbench.brokers.kafka.librdkafka.foreign_memory import MESSAGE, Addresses, bytes_at, joined, messages_at
from brokerbench.brokers.kafka.librdkafka.producer import ColumnProducer
from brokerbench.brokers.kafka.librdkafka.share_consumer import ColumnShareConsumer
from brokerbench.brokers.kafka.producer import KafkaProducer
from brokerbench.brokers.kafka.reader import KafkaReader
from brokerbench.brokers.rows import Rows
from brokerbench.brokers.types import Batch, Endpoint, Outcome, ProducerSettings, Received, Settlements

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


def test_columns_go_through_a_broker_and_back(mock: str) -> None:
    producer = ColumnProducer({"bootstrap.servers": mock}, "columns", LOGGER)
    payloads = [b"", b"one", b"two\0", b"x" * 40_000]
    assert producer.produce(payloads, [b"", b"k", b"k", b"l"], np.arange(4) + 10).tolist() == [0] * 4
    assert producer.produce(Rows(np.full((3, 5), 65, np.uint8)), None, np.arange(3)).tolist() == [0] * 3
    assert producer.produce_with_headers(b"four", None, {"name": "wert\u00fc", "empty": ""}, 2**40) == 0
    reported: list[int] = []
    deadline = time.monotonic() + 20
    while len(reported) < 8 and time.monotonic() < deadline:
        reports = producer.reports(0.5)
        assert not reports["error"].any()
        reported += reports["number"].tolist()
    assert sorted(reported) == sorted([10, 11, 12, 13, 0, 1, 2, 2**40])
    producer.close()

    consumer = ColumnConsumer({"bootstrap.servers": mock, "group.id": "g"}, "columns", LOGGER)
    consumer.assign(dict.fromkeys(range(4), 0))
    got: list[tuple[bytes, bytes | None, dict[str, str]]] = []
    while len(got) < 8 and time.monotonic() < deadline:
        received, errors = consumer.receive(3, 0.5, details=True)
        assert not errors
        attributes = received.attributes or [{}] * len(received)
        got += list(zip(received.payloads, received.keys, map(dict, attributes), strict=True))
        assert (received.broker_epoch_ns > 1_700_000_000 * 10**9).all()
    consumer.close()
    plain = [(payload, key, {}) for payload, key in zip(payloads, [b"", b"k", b"k", b"l"], strict=True)]
    assert sorted(got, key=repr) == sorted(
        [*plain, *[(b"AAAAA", None, {})] * 3, (b"four", None, {"name": "wert\u00fc", "empty": ""})], key=repr
    )


def test_a_full_queue_refuses_all_behind_the_first_without_room() -> None:
    nowhere = {"bootstrap.servers": "127.0.0.1:9", "queue.buffering.max.messages": 5}
    producer = ColumnProducer(nowhere, "nowhere", logging.getLogger("nowhere"))
    errors = producer.produce([b"x"] * 8, None, np.arange(8))
    assert errors.tolist() == [0] * 5 + [KafkaError._QUEUE_FULL] * 3
    producer.purge()
    deadline, purged = time.monotonic() + 20, list[int]()
    while len(purged) < 5 and time.monotonic() < deadline:
        purged += producer.reports(0.5)["number"].tolist()
    assert sorted(purged) == [0, 1, 2, 3, 4]
    producer.close()


def test_a_name_that_no_topic_can_have_is_refused() -> None:
    with pytest.raises(KafkaException, match="no topic can be called"):
        ColumnProducer({}, "x" * 600, LOGGER)


def test_headers_of_others_are_read_whatever_they_are(mock: str) -> None:
    """Names that occur twice, or differ behind a zero only, and a value that is none."""
    theirs = Producer({"bootstrap.servers": mock, "logger": LOGGER})
    headers: Any = [("a", b"1"), ("a", b"2"), ("b", None), ("c\0d", b"3"), ("c\0e", b"4")]
    theirs.produce("headers", value=None, headers=headers, partition=0)
    assert theirs.flush(10) == 0
    theirs.close()
    consumer = ColumnConsumer({"bootstrap.servers": mock, "group.id": "g"}, "headers", LOGGER)
    consumer.assign({0: 0})
    received = received_within(consumer, 1)[0]
    assert (list(received.payloads), received.attributes) == ([b""], [{"a": "2", "b": "", "c": "4"}])
    consumer.close()


def received_within(consumer: ColumnConsumer, count: int, seconds: float = 20.0) -> list[Received]:
    """At least so many messages, one at a time."""
    got: list[Received] = []
    deadline = time.monotonic() + seconds
    while len(got) < count and time.monotonic() < deadline:
        received, _ = consumer.receive(1, 0.5, details=True)
        got += [received] if len(received) else []
    assert len(got) >= count
    return got


def member(mock: str, topic: str, lost: Callable[[Sequence[int]], None]) -> ColumnConsumer:
    """Of a group of its own; ten messages wait on one partition."""
    producer = ColumnProducer({"bootstrap.servers": mock}, topic, LOGGER)
    producer.produce([b"%d" % at for at in range(10)], [b"key"] * 10, np.arange(10))
    reported, deadline = 0, time.monotonic() + 20
    while reported < 10 and time.monotonic() < deadline:
        reported += len(producer.reports(0.5))
    producer.close()
    settings = {"group.id": topic, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = ColumnConsumer({"bootstrap.servers": mock, **settings}, topic, LOGGER, lost)
    consumer.subscribe()
    return consumer


def test_a_member_receives_goes_back_commits_and_hears_what_it_loses(mock: str) -> None:
    lost: list[Sequence[int]] = []
    consumer = member(mock, "member", lost.append)
    first = received_within(consumer, 3)
    partition = int(first[0].partitions[0])
    consumer.seek(partition, 1)
    assert [list(each.payloads) for each in received_within(consumer, 2)] == [[b"1"], [b"2"]]
    assert consumer.commit({partition: 3}) == {partition: None}
    assert lost == []
    consumer.close()
    assert partition in lost[0]
    consumer.close()
    with pytest.raises(KafkaException):
        consumer.commit({partition: 4})


def test_ctrl_c_ends_a_long_read(mock: str) -> None:
    reader = KafkaReader(Endpoint("kafka", mock), "silent", {0: 0})
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        reader.read(1, 1e9)
    assert time.monotonic() - started < 10
    reader.close()


def test_what_a_listener_raises_is_raised_by_who_called_the_library(mock: str) -> None:
    def fails(partitions: Sequence[int]) -> None:
        raise KeyboardInterrupt

    consumer = member(mock, "raising", fails)
    received_within(consumer, 1)
    with pytest.raises(KeyboardInterrupt):
        consumer.close()


def test_log_lines_name_their_client_and_come_from_a_busy_one(mock: str, caplog: pytest.LogCaptureFixture) -> None:
    lines = logging.getLogger("test.lines")
    with caplog.at_level(logging.DEBUG, logger=lines.name):
        consumer = ColumnConsumer(
            {"bootstrap.servers": mock, "group.id": "g", "debug": "cgrp", "client.id": "talker"}, "lines", lines
        )
        consumer.receive(1, 0.1, details=False)
        heard = len(caplog.messages)
        consumer.close()
    assert heard
    assert len(caplog.messages) > heard
    assert all("[talker#consumer-" in line for line in caplog.messages)


def test_every_ticket_is_settled_once_though_the_queue_is_full_again_and_again(mock: str) -> None:
    producer = KafkaProducer(Endpoint("kafka", mock), "tickets", ProducerSettings(max_in_flight=50))
    attributes = [{"name": "value"}] * 120
    receipts = [
        producer.send(Batch([b"x"] * 700, [b"key"] * 700)),
        producer.send(Batch([b"x", b"x" * 2_000_000, b"x"])),
        producer.send(Batch(Rows(np.zeros((300, 64), np.uint8)))),
        producer.send(Batch([b"x"] * 120, attributes=attributes)),
    ]
    settled = Settlements.concat([producer.poll(), producer.flush(20)])
    producer.send(Batch([b"x"] * 40))
    settled = Settlements.concat([settled, producer.close()])
    assert [receipt.rejected for receipt in receipts] == [(), (1,), (), ()]
    assert sorted(settled.tickets.tolist()) == list(range(700 + 3 + 300 + 120 + 40))
    assert settled.tickets[settled.outcomes == Outcome.REJECTED].tolist() == [701]
    assert np.count_nonzero(settled.outcomes == Outcome.ACKNOWLEDGED) >= 700 + 2 + 300 + 120
