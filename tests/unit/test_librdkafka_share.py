"""A share group of the broker that the library plays itself: it begins at what is sent after its first member came."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException

from brokers.librdkafka_producer import ColumnProducer
from brokers.librdkafka_share import ACCEPT, RELEASE, ColumnShareConsumer, Polled, asked_for
from brokers.types import IntColumn

LOGGER = logging.getLogger("test")
PATIENCE_S = 20.0

Answer = tuple[int, list[int], KafkaError | None]


class Group:
    """A topic and one member of its group; ``answers``: what it heard."""

    def __init__(self, mock: str) -> None:
        self._mock, self._topic = mock, f"share-{uuid.uuid4().hex[:8]}"
        self.answers: list[Answer] = []
        self.listener: Callable[[], None] | None = None
        self.send(1)
        self.member = ColumnShareConsumer(
            {"bootstrap.servers": mock, "group.id": self._topic}, self._topic, LOGGER, self._hear
        )
        deadline = time.monotonic() + PATIENCE_S
        # What was sent before is never delivered: so something must be sent until it is.
        while not len(polled := self.member.poll(0.5)):
            assert time.monotonic() < deadline
            self.send(1)
        self.settle(polled)
        while len(polled := self.member.poll(0.5)):
            self.settle(polled)
        self.answers.clear()

    def _hear(self, partition: int, offsets: IntColumn, refusal: KafkaError | None) -> None:
        self.answers.append((partition, offsets.tolist(), refusal))
        if self.listener is not None:
            self.listener()

    def send(self, count: int) -> None:
        """``b"0"``, ``b"1"`` and so on, to one partition."""
        producer = ColumnProducer({"bootstrap.servers": self._mock}, self._topic, LOGGER)
        producer.produce([b"%d" % at for at in range(count)], [b"key"] * count, np.arange(count))
        reported, deadline = 0, time.monotonic() + PATIENCE_S
        while reported < count and time.monotonic() < deadline:
            reported += len(producer.reports(0.5))
        assert reported == count
        producer.close()

    def poll(self) -> Polled:
        deadline = time.monotonic() + PATIENCE_S
        while not len(polled := self.member.poll(0.5)):
            assert time.monotonic() < deadline
        return polled

    def settle(self, polled: Polled) -> None:
        assert self.member.acknowledge(polled.addresses, ACCEPT).tolist() == [0] * len(polled)
        assert set(self.member.commit_sync(PATIENCE_S).values()) == {None}
        polled.free()


@pytest.fixture
def group(mock: str) -> Iterator[Group]:
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
    assert received.handle == (polled, 2)
    assert polled.columns(slice(0, 0), 7, details=True).delivery_counts.tolist() == []
    whole = polled.columns(slice(0, 12), 7, details=False)
    assert (list(whole.payloads), whole.keys) == ([b"%d" % at for at in range(12)], ())
    assert group.member.acknowledge(polled.addresses, ACCEPT).tolist() == [0] * 12
    assert group.answers == []
    group.member.commit_async()
    deadline = time.monotonic() + PATIENCE_S
    while not group.answers and time.monotonic() < deadline:
        group.member.commit_async()
    assert group.answers == [(int(whole.partitions[0]), whole.places.tolist(), None)]
    polled.free()
    polled.free()
    assert (len(polled), len(polled.columns(slice(0, 12), 7, details=True))) == (0, 0)


def test_messages_are_where_the_library_says_that_they_are(group: Group) -> None:
    group.send(12)
    polled = group.poll()
    assert len(polled) == 12
    assert polled.addresses.tolist() == asked_for(polled._handle, 12).tolist()
    group.settle(polled)


def test_what_is_released_comes_again_and_what_is_settled_is_not_taken_twice(group: Group) -> None:
    group.send(3)
    polled = group.poll()
    with pytest.raises(KafkaException, match=r"acknowledged|STATE"):
        group.member.poll(0.1)
    assert group.member.acknowledge(polled.addresses[1:], ACCEPT).tolist() == [0, 0]
    assert group.member.acknowledge(polled.addresses[:1], RELEASE).tolist() == [0]
    assert list(group.member.commit_sync(PATIENCE_S).values()) == [None]
    assert group.member.commit_sync(PATIENCE_S) == {}
    assert group.member.acknowledge(polled.addresses, ACCEPT).tolist() == [KafkaError._STATE] * 3
    polled.free()
    again = group.poll()
    received = again.columns(slice(0, 3), 7, details=True)
    assert (list(received.payloads), received.delivery_counts.tolist()) == ([b"0"], [2])
    group.settle(again)


def test_what_a_listener_raises_is_raised_by_the_next_call(group: Group) -> None:
    def fails() -> None:
        raise KeyboardInterrupt

    group.send(1)
    polled = group.poll()
    group.listener = fails
    group.settle(polled)
    with pytest.raises(KeyboardInterrupt):
        group.member.poll(0.1)
    assert len(group.member.poll(0.1)) == 0


def test_it_leaves_when_its_topic_is_refused(mock: str) -> None:
    with pytest.raises(KafkaException):
        ColumnShareConsumer({"bootstrap.servers": mock, "group.id": "g"}, "", LOGGER, print)


def test_log_lines_name_their_client(mock: str, caplog: pytest.LogCaptureFixture) -> None:
    lines = logging.getLogger("test.share.lines")
    config = {"bootstrap.servers": mock, "group.id": "g", "debug": "cgrp", "client.id": "talker"}
    with caplog.at_level(logging.DEBUG, logger=lines.name):
        member = ColumnShareConsumer(config, "lines", lines, print)
        member.poll(0.1)
        heard = len(caplog.messages)
        member.close()
        member.close()
    assert heard
    assert len(caplog.messages) > heard
    assert all("[talker#consumer-" in line for line in caplog.messages)
