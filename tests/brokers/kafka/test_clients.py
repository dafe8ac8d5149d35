"""Both clients, columns and plain, do the same; a broker that the library plays itself answers them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from brokerbench.brokers.errors import Misuse
from brokerbench.brokers.kafka import client_choice
from brokerbench.brokers.kafka.client_choice import new_consumer, new_producer
from brokerbench.brokers.kafka.client_protocols import ConsumerClient
from brokerbench.brokers.kafka.librdkafka import probe
from brokerbench.brokers.kafka.producer import KafkaProducer
from brokerbench.brokers.kafka.reader import KafkaReader
from brokerbench.brokers.rows import Rows
from brokerbench.brokers.types import Batch, Endpoint, Outcome, ProducerSettings, Received, Settlements

LOGGER = logging.getLogger("test")


def test_the_probe_finds_columns_possible_here() -> None:
    supported, reason = probe.supported()
    assert supported, reason
    assert reason.startswith("librdkafka 2.")


@pytest.fixture
def asked_anew() -> Iterator[None]:
    probe.supported.cache_clear()
    yield
    probe.supported.cache_clear()


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize(
    ("what", "value", "reason"),
    [
        ("sys.platform", "win32", "on Windows its functions are not found"),
        ("confluent_kafka.libversion", lambda: ("1.9.2", 0x010902FF), "columns follow the header of librdkafka 2"),
        ("confluent_kafka.libversion", lambda: ("2.99.0", 0x026300FF), "belong to another librdkafka"),
        ("ctypes.sizeof", lambda _: 4, "64 bits"),
    ],
)
def test_the_probe_says_why_columns_are_not_possible(
    monkeypatch: pytest.MonkeyPatch, what: str, value: object, reason: str
) -> None:
    monkeypatch.setattr(what, value)
    supported, why = probe.supported()
    assert not supported
    assert reason in why
    monkeypatch.delenv(client_choice.VARIABLE, raising=False)
    assert client_choice.choice() == client_choice.Choice("plain", why)
    monkeypatch.setenv(client_choice.VARIABLE, "columns")
    with pytest.raises(Misuse, match=reason):
        client_choice.choice()


WITHOUT_SHARE_GROUPS = """
import ctypes

class Without(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "rd_kafka_share_poll":
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = Without
from brokerbench.brokers.kafka.librdkafka.probe import supported
print(*supported())
"""


def test_a_function_that_is_missing_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_SHARE_GROUPS], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False librdkafka 2.")
    assert done.stdout.endswith(": librdkafka has no function rd_kafka_share_poll\n")


@pytest.mark.usefixtures("asked_anew")
def test_another_version_than_the_known_one_has_plain_share_consumers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(client_choice.VARIABLE, raising=False)
    assert client_choice.choice(share=True).client == "columns"
    monkeypatch.setattr(probe, "SHARE_VERSION", 0x020F00FF)
    assert client_choice.choice().client == "columns"
    share = client_choice.choice(share=True)
    assert (share.client, "librdkafka 2.16.0 alone" in share.reason) == ("plain", True)


def test_the_variable_forces_a_client(client: str) -> None:
    assert client_choice.choice().client == client
    assert f"{client_choice.VARIABLE} is set" in client_choice.choice().reason


def test_another_value_of_the_variable_is_misuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(client_choice.VARIABLE, "fast")
    with pytest.raises(Misuse, match="BROKERBENCH_KAFKA_CLIENT is 'fast': it must be 'columns', 'plain' or unset"):
        client_choice.choice()


def test_messages_go_through_a_broker_and_back(client: str, mock: str) -> None:
    producer = new_producer({"bootstrap.servers": mock}, f"columns-{client}", LOGGER)
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

    consumer = new_consumer({"bootstrap.servers": mock, "group.id": "g"}, f"columns-{client}", LOGGER)
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


def test_a_full_queue_refuses_all_behind_the_first_without_room(client: str) -> None:
    nowhere = {"bootstrap.servers": "127.0.0.1:9", "queue.buffering.max.messages": 5}
    producer = new_producer(nowhere, "nowhere", logging.getLogger("nowhere"))
    errors = producer.produce([b"x"] * 8, None, np.arange(8))
    assert errors.tolist() == [0] * 5 + [KafkaError._QUEUE_FULL] * 3
    producer.purge()
    deadline, purged = time.monotonic() + 20, list[int]()
    while len(purged) < 5 and time.monotonic() < deadline:
        purged += producer.reports(0.5)["number"].tolist()
    assert sorted(purged) == [0, 1, 2, 3, 4]
    producer.close()


def test_headers_of_others_are_read_whatever_they_are(client: str, mock: str) -> None:
    """Names that occur twice, or differ behind a zero only, and a value that is none."""
    theirs = Producer({"bootstrap.servers": mock, "logger": LOGGER})
    headers: Any = [("a", b"1"), ("a", b"2"), ("b", None), ("c\0d", b"3"), ("c\0e", b"4")]
    theirs.produce(f"headers-{client}", value=None, headers=headers, partition=0)
    assert theirs.flush(10) == 0
    theirs.close()
    consumer = new_consumer({"bootstrap.servers": mock, "group.id": "g"}, f"headers-{client}", LOGGER)
    consumer.assign({0: 0})
    received = received_within(consumer, 1)[0]
    assert (list(received.payloads), received.attributes) == ([b""], [{"a": "2", "b": "", "c": "4"}])
    consumer.close()


def received_within(consumer: ConsumerClient, count: int, seconds: float = 20.0) -> list[Received]:
    """At least so many messages, one at a time."""
    got: list[Received] = []
    deadline = time.monotonic() + seconds
    while len(got) < count and time.monotonic() < deadline:
        received, _ = consumer.receive(1, 0.5, details=True)
        got += [received] if len(received) else []
    assert len(got) >= count
    return got


def member(mock: str, topic: str, lost: Callable[[Sequence[int]], None]) -> ConsumerClient:
    """Of a group of its own; ten messages wait on one partition."""
    producer = new_producer({"bootstrap.servers": mock}, topic, LOGGER)
    producer.produce([b"%d" % at for at in range(10)], [b"key"] * 10, np.arange(10))
    reported, deadline = 0, time.monotonic() + 20
    while reported < 10 and time.monotonic() < deadline:
        reported += len(producer.reports(0.5))
    producer.close()
    settings = {"group.id": topic, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = new_consumer({"bootstrap.servers": mock, **settings}, topic, LOGGER, lost)
    consumer.subscribe()
    return consumer


def test_a_member_receives_goes_back_commits_and_hears_what_it_loses(client: str, mock: str) -> None:
    lost: list[Sequence[int]] = []
    consumer = member(mock, f"member-{client}", lost.append)
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


def test_ctrl_c_ends_a_long_read(client: str, mock: str) -> None:
    reader = KafkaReader(Endpoint("kafka", mock), "silent", {0: 0})
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        reader.read(1, 1e9)
    assert time.monotonic() - started < 10
    reader.close()


def test_what_a_listener_raises_is_raised_by_who_called_the_library(client: str, mock: str) -> None:
    def fails(partitions: Sequence[int]) -> None:
        raise KeyboardInterrupt

    consumer = member(mock, f"raising-{client}", fails)
    received_within(consumer, 1)
    with pytest.raises(KeyboardInterrupt):
        consumer.close()


def test_log_lines_name_their_client_and_come_from_a_busy_one(
    client: str, mock: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = logging.getLogger("test.lines")
    with caplog.at_level(logging.DEBUG, logger=lines.name):
        consumer = new_consumer(
            {"bootstrap.servers": mock, "group.id": "g", "debug": "cgrp", "client.id": "talker"}, "lines", lines
        )
        consumer.receive(1, 0.1, details=False)
        heard = len(caplog.messages)
        consumer.close()
    assert heard
    assert len(caplog.messages) > heard
    assert all("[talker#consumer-" in line for line in caplog.messages)


def test_every_ticket_is_settled_once_though_the_queue_is_full_again_and_again(client: str, mock: str) -> None:
    producer = KafkaProducer(Endpoint("kafka", mock), f"tickets-{client}", ProducerSettings(max_in_flight=50))
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
