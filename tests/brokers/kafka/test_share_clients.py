"""Both clients of a share group, columns and plain, do the same.

The library plays the broker itself: its share group begins at the messages sent after its first member came.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from ctypes import c_size_t, c_void_p
from dataclasses import replace

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException

from brokerbench.brokers.errors import Misuse
from brokerbench.brokers.kafka.client_choice import new_producer, new_share_consumer
from brokerbench.brokers.kafka.client_protocols import ACCEPT, RELEASE, Part, Poll
from brokerbench.brokers.kafka.librdkafka.library import function
from brokerbench.brokers.kafka.librdkafka.share_consumer import ColumnPoll
from brokerbench.brokers.kafka.share_group import KafkaShareConsumer
from brokerbench.brokers.types import ConsumerSettings, Endpoint, IntColumn, Outcome, Received

LOGGER = logging.getLogger("test")
PATIENCE_S = 20.0

ALL = slice(None)
Answer = tuple[int, list[int], KafkaError | None]


class Group:
    """A topic and one member of its group; ``answers``: what it heard."""

    def __init__(self, mock: str) -> None:
        self.mock, self.topic = mock, f"share-{uuid.uuid4().hex[:8]}"
        self.answers: list[Answer] = []
        self.listener: Callable[[], None] | None = None
        self.send(1)
        config = {"bootstrap.servers": mock, "group.id": self.topic}
        self.member = new_share_consumer(config, self.topic, LOGGER)
        self.member.listen(self._hear)
        # What was sent before is never delivered: so something must be sent until it is.
        deadline = time.monotonic() + PATIENCE_S
        polled = self.member.new_poll()
        while not len(polled):
            assert time.monotonic() < deadline
            self.send(1)
            self.member.poll(polled, 0.5)
        while len(polled):
            self.settle(polled)
            polled = self.member.new_poll()
            self.member.poll(polled, 0.5)
        self.answers.clear()

    def _hear(self, partition: int, offsets: IntColumn, refusal: KafkaError | None) -> None:
        self.answers.append((partition, offsets.tolist(), refusal))
        if self.listener is not None:
            self.listener()

    def send(self, count: int) -> None:
        """``b"0"``, ``b"1"`` and so on, to one partition."""
        producer = new_producer({"bootstrap.servers": self.mock}, self.topic, LOGGER)
        producer.produce([b"%d" % at for at in range(count)], [b"key"] * count, np.arange(count))
        reported, deadline = 0, time.monotonic() + PATIENCE_S
        while reported < count and time.monotonic() < deadline:
            reported += len(producer.reports(0.5))
        assert reported == count
        producer.close()

    def poll(self) -> Poll:
        deadline, polled = time.monotonic() + PATIENCE_S, self.member.new_poll()
        while not len(polled):
            assert time.monotonic() < deadline
            assert len(polled.columns(ALL, 0, details=True)) == 0
            self.member.poll(polled, 0.5)
        return polled

    def settle(self, polled: Poll) -> None:
        assert self.member.acknowledge(polled, ALL, ACCEPT).tolist() == [0] * len(polled)
        assert set(self.member.commit_sync(PATIENCE_S).values()) == {None}
        polled.free()


@pytest.fixture
def group(client: str, mock: str) -> Iterator[Group]:
    group = Group(mock)
    yield group
    group.member.close()


def test_what_is_polled_comes_as_columns_and_its_answer_too(group: Group) -> None:
    group.send(12)
    polled = group.poll()
    received = polled.columns(slice(2, 5), 7, details=True)
    assert (list(received.payloads), received.keys) == ([b"2", b"3", b"4"], [b"key"] * 3)
    assert received.delivery_counts.tolist() == [1] * 3
    assert np.diff(received.places).tolist() == [1, 1]
    assert received.handle == Part(polled, 2)
    assert polled.columns(slice(0, 0), 7, details=True).delivery_counts.tolist() == []
    whole = polled.columns(slice(0, 12), 8, details=True)
    assert (list(whole.payloads), whole.received_ns) == ([b"%d" % at for at in range(12)], 8)
    assert group.member.acknowledge(polled, ALL, ACCEPT).tolist() == [0] * 12
    assert group.answers == []
    group.member.commit_async()
    deadline = time.monotonic() + PATIENCE_S
    while not group.answers and time.monotonic() < deadline:
        group.member.commit_async()
    assert group.answers == [(int(whole.partitions[0]), whole.places.tolist(), None)]
    polled.free()
    polled.free()
    assert (len(polled), len(polled.columns(slice(0, 12), 7, details=True))) == (0, 0)


def test_what_is_released_comes_again_and_what_is_settled_is_not_taken_twice(group: Group) -> None:
    group.send(3)
    polled = group.poll()
    with pytest.raises(KafkaException, match="3 records from previous poll have not been acknowledged"):
        group.member.poll(group.member.new_poll(), 0.1)
    assert group.member.acknowledge(polled, slice(1, 3), ACCEPT).tolist() == [0, 0]
    assert polled.open.tolist() == [True, False, False]
    assert group.member.acknowledge(polled, np.array([0]), RELEASE).tolist() == [0]
    assert not polled.open.any()
    assert list(group.member.commit_sync(PATIENCE_S).values()) == [None]
    assert group.member.commit_sync(PATIENCE_S) == {}
    assert group.member.acknowledge(polled, ALL, ACCEPT).tolist() == [KafkaError._STATE] * 3
    polled.free()
    again = group.poll()
    received = again.columns(slice(0, 3), 7, details=True)
    assert (list(received.payloads), received.delivery_counts.tolist()) == ([b"0"], [2])
    group.settle(again)


@pytest.mark.parametrize("client", ["columns"], indirect=True)
def test_messages_are_where_the_library_says_that_they_are(group: Group) -> None:
    group.send(12)
    polled = group.poll()
    assert isinstance(polled, ColumnPoll)
    messages_get = function("messages_get", c_void_p, c_void_p, c_size_t)
    assert polled.addresses.tolist() == [messages_get(polled.handle, at) for at in range(12)]
    group.settle(polled)


@pytest.mark.parametrize("client", ["columns"], indirect=True)
def test_what_an_interrupted_poll_brought_is_found_by_the_next(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    group.send(3)
    polled = group.member.new_poll()
    with monkeypatch.context() as patched:
        patched.setattr(ColumnPoll, "look", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            group.member.poll(polled, PATIENCE_S)
    assert not polled.seen
    group.member.poll(polled, 0.0)
    assert polled.seen
    assert len(polled) == 3
    group.settle(polled)


def test_an_error_of_a_listener_is_raised(group: Group) -> None:
    group.send(1)
    polled = group.poll()
    group.listener = raising(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        group.settle(polled)
        group.member.raise_failure()
    group.member.raise_failure()


def raising(what: type[BaseException]) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise what

    return fail


class Share:
    """The adapter's consumer in the group of a member that has left, and what it got."""

    def __init__(self, group: Group) -> None:
        group.member.close()
        self.group = group
        self.consumer = KafkaShareConsumer(Endpoint("kafka", group.mock), group.topic, ConsumerSettings(), 2.0)

    def receive(self, most: int) -> Received:
        deadline = time.monotonic() + PATIENCE_S
        while not len(received := self.consumer.receive(most, 0.5)):
            assert time.monotonic() < deadline
            self.group.send(10)
        return received


@pytest.fixture
def share(group: Group) -> Iterator[Share]:
    share = Share(group)
    yield share
    share.consumer.close()


def test_ctrl_c_ends_a_long_receive_and_the_consumer_goes_on(share: Share) -> None:
    share.consumer.acknowledge(share.receive(100))
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        while True:
            share.consumer.receive(10, 1e9)
    assert time.monotonic() - started < 10
    share.group.send(5)
    assert (share.consumer.acknowledge(share.receive(100)).outcomes == Outcome.ACKNOWLEDGED).all()


def test_a_settling_that_was_interrupted_can_be_repeated(share: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    received = share.receive(100)
    with monkeypatch.context() as patched:
        patched.setattr(type(share.consumer._client), "commit_sync", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            share.consumer.release(received)
    assert (share.consumer.release(received).outcomes == Outcome.ACKNOWLEDGED).all()
    assert (share.consumer.release(received).outcomes == Outcome.REJECTED).all()
    again = Received.empty(0)
    deadline = time.monotonic() + PATIENCE_S
    while not len(again) and time.monotonic() < deadline:
        again = share.consumer.receive_and_acknowledge(100, 0.5)
    assert again.places.tolist() == received.places.tolist()
    (answer,) = share.consumer.answers(PATIENCE_S)
    assert (answer.outcomes == Outcome.ACKNOWLEDGED).all()


def test_what_others_received_is_not_settled(share: Share) -> None:
    received = share.receive(100)
    with pytest.raises(Misuse, match="not received by a consumer of this profile"):
        share.consumer.acknowledge(replace(received, handle={}))
    assert (share.consumer.acknowledge(received).outcomes == Outcome.ACKNOWLEDGED).all()


def test_it_leaves_when_its_topic_is_refused(client: str, mock: str) -> None:
    with pytest.raises(KafkaException):
        new_share_consumer({"bootstrap.servers": mock, "group.id": "g"}, "", LOGGER)


def test_log_lines_name_their_client(client: str, mock: str, caplog: pytest.LogCaptureFixture) -> None:
    lines = logging.getLogger("test.share.lines")
    config = {"bootstrap.servers": mock, "group.id": "g", "debug": "cgrp", "client.id": "talker"}
    with caplog.at_level(logging.DEBUG, logger=lines.name):
        member = new_share_consumer(config, "lines", lines)
        member.poll(member.new_poll(), 0.1)
        heard = len(caplog.messages)
        member.close()
        member.close()
    assert heard
    assert len(caplog.messages) > heard
    assert all("[talker#consumer-" in line for line in caplog.messages)
