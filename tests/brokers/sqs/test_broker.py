"""Both SQS profiles against a running engine."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import boto3
import numpy as np
import pytest

from brokerbench.brokers.errors import ChannelMissing, Misuse, Refused, Unreachable, Unsupported
from brokerbench.brokers.protocols import (
    Bounded,
    Broker,
    Consumer,
    Counting,
    Extendable,
    Producer,
    Rejectable,
    Releasable,
    Replayable,
    Retaining,
)
from brokerbench.brokers.sqs.broker import SqsFifo, SqsStandard
from brokerbench.brokers.sqs.codec import MAX_PAYLOAD_BYTES
from brokerbench.brokers.types import (
    Batch,
    ChannelSpec,
    ConsumerSettings,
    DeadLetterPolicy,
    Durability,
    Endpoint,
    Outcome,
    ProducerSettings,
    Received,
    Retention,
    Settlements,
)

pytestmark = pytest.mark.engine
Sqs = SqsStandard | SqsFifo


@pytest.fixture(scope="module")
def endpoint(endpoint_of: Callable[[str], Endpoint]) -> Endpoint:
    return endpoint_of("sqs")


@pytest.fixture
def name(endpoint: Endpoint) -> Iterator[str]:
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    yield prefix
    for profile in (SqsStandard, SqsFifo):
        broker = profile.connect(endpoint)
        for channel in broker.list_channels(prefix):
            broker.delete_channel(channel)
        broker.close()


@pytest.fixture(params=[SqsStandard, SqsFifo], ids=["standard", "fifo"])
def broker(request: pytest.FixtureRequest, endpoint: Endpoint) -> Iterator[Sqs]:
    broker: Sqs = request.param.connect(endpoint)
    yield broker
    broker.close()


@pytest.fixture
def standard(endpoint: Endpoint) -> Iterator[SqsStandard]:
    broker = SqsStandard.connect(endpoint)
    yield broker
    broker.close()


@pytest.fixture
def fifo(endpoint: Endpoint) -> Iterator[SqsFifo]:
    broker = SqsFifo.connect(endpoint)
    yield broker
    broker.close()


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def keys(count: int, different: int) -> list[bytes]:
    return [b"key-%d" % (number % different) for number in range(count)]


def publish(broker: Sqs, channel: str, batch: Batch) -> Settlements:
    producer = broker.producer(channel, ProducerSettings())
    producer.send(batch)
    settled = producer.flush(30)
    assert settled.outcomes.tolist() == [Outcome.ACKNOWLEDGED] * len(batch), settled.errors
    producer.close()
    return settled


def drain(broker: Sqs, channel: str, page: int = 37) -> Iterator[Received]:
    consumer = broker.consumer(channel, ConsumerSettings())
    while len(received := consumer.receive(page, 0.3)):
        assert len(received) <= page
        yield received
        assert set(consumer.acknowledge(received).outcomes.tolist()) == {Outcome.ACKNOWLEDGED}
    consumer.close()


def test_the_powers_that_sqs_has(broker: Sqs, name: str) -> None:
    broker.create_channel(ChannelSpec(name, partitions=3, durability=Durability.STRICT))
    assert isinstance(broker, Broker)
    assert isinstance(broker, Counting)
    assert not isinstance(broker, Replayable | Bounded | Retaining)
    assert isinstance(broker.producer(name, ProducerSettings()), Producer)
    consumer = broker.consumer(name, ConsumerSettings())
    assert isinstance(consumer, Consumer)
    assert isinstance(consumer, Releasable)
    assert isinstance(consumer, Extendable)
    assert not isinstance(consumer, Rejectable)
    assert broker.server_version()


def test_bytes_keys_and_attributes_arrive_as_sent(broker: Sqs, name: str) -> None:
    broker.create_channel(ChannelSpec(name))
    payloads = [bytes(range(256)), b"", "plain é".encode(), bytes(MAX_PAYLOAD_BYTES - 200)]
    sent_keys = [b"repo/one", b"", b"\x00\xff not printable", b"k" * 150]
    attributes = [{"event": "push", "who": "Zoë"}, {}, {"n": "1"}, {}]
    before_ns = time.time_ns()
    settled = publish(broker, name, Batch(payloads, sent_keys, attributes=attributes))
    assert sorted(settled.tickets.tolist()) == [0, 1, 2, 3]
    publish(broker, name, Batch([b"unkeyed"]))
    got: dict[bytes, tuple[bytes | None, Any, str]] = {}
    for received in drain(broker, name):
        assert np.all(np.abs(received.broker_epoch_ns - before_ns) < 60e9)
        assert received.delivery_counts.tolist() == [1] * len(received)
        assert set(received.places.tolist()) == set(received.partitions.tolist()) == {-1}
        assert len(received.ids) == len(received)
        of_messages = received.attributes or [{}] * len(received)
        got |= dict(zip(received.payloads, zip(received.keys, of_messages, received.ids, strict=True), strict=True))
    assert {payload: (key, of) for payload, (key, of, _) in got.items()} == {
        b"unkeyed": (None, {}),
        **dict(zip(payloads, zip(sent_keys, attributes, strict=True), strict=True)),
    }
    assert len({message_id for _, _, message_id in got.values()}) == 5


def test_many_messages_each_once_and_counted(broker: Sqs, name: str) -> None:
    broker.create_channel(ChannelSpec(name))
    publish(broker, name, Batch(numbers(195), keys(195, 30)))
    assert broker.backlog(name, "any") == 195
    consumer = broker.consumer(name, ConsumerSettings())
    held = consumer.receive(95, 1)
    assert 10 <= len(held) <= 95
    assert broker.backlog(name, "any") == 195
    consumer.acknowledge(held)
    rest = [payload for received in drain(broker, name) for payload in received.payloads]
    assert sorted([*held.payloads, *rest]) == sorted(numbers(195))
    assert broker.backlog(name, "any") == 0


def test_what_is_too_large_is_rejected_by_index_and_the_others_are_sent(broker: Sqs, name: str) -> None:
    broker.create_channel(ChannelSpec(name))
    producer = broker.producer(name, ProducerSettings())
    large = bytes(MAX_PAYLOAD_BYTES + 1)
    many = {str(number): "x" for number in range(11)}
    receipt = producer.send(
        Batch([b"a", large, b"b", b"c", b"d"], keys(5, 2), attributes=[{}, {}, {}, many, {"x": ""}])
    )
    assert (receipt.first_ticket, receipt.count, receipt.rejected) == (0, 5, (1, 3, 4))
    assert producer.send(Batch([large])).rejected == (0,)
    assert producer.send(Batch([])).count == 0
    settled = producer.flush(10)
    fates = dict(zip(settled.tickets.tolist(), settled.outcomes.tolist(), strict=True))
    assert fates == {0: 1, 1: 2, 2: 1, 3: 2, 4: 2, 5: 2}
    assert settled.errors.keys() == {1, 3, 4, 5}
    assert sorted(payload for received in drain(broker, name) for payload in received.payloads) == [b"a", b"b"]


def test_large_messages_share_requests_of_one_mebibyte(broker: Sqs, name: str) -> None:
    broker.create_channel(ChannelSpec(name))
    payloads = [os.urandom(300_000) for _ in range(12)]
    publish(broker, name, Batch(payloads, keys(12, 12)))
    assert sorted(payload for received in drain(broker, name) for payload in received.payloads) == sorted(payloads)


def test_what_the_server_refuses_is_rejected_by_index(broker: Sqs, name: str) -> None:
    broker.create_channel(ChannelSpec(name))
    producer = broker.producer(name, ProducerSettings())
    producer.send(Batch(numbers(3), keys(3, 3), attributes=[{}, {"a": "\x00"}, {}]))
    settled = producer.flush(10)
    fates = dict(zip(settled.tickets.tolist(), settled.outcomes.tolist(), strict=True))
    assert fates[1] == Outcome.REJECTED
    assert settled.errors[1]
    assert broker.backlog(name, "any") == sum(fate == Outcome.ACKNOWLEDGED for fate in fates.values())
    publish(broker, name, Batch([b"x"], [b"k"]))
    consumer = broker.consumer(name, ConsumerSettings())
    received = consumer.receive(10, 1)
    handles = ["no handle", *received.handle[1:]]
    answer = consumer.acknowledge(replace(received, handle=handles))
    assert answer.outcomes.tolist() == [Outcome.REJECTED] + [Outcome.ACKNOWLEDGED] * (len(received) - 1)
    assert answer.errors.keys() == {0}


def test_receive_waits_as_long_as_asked(broker: Sqs, name: str) -> None:
    broker.create_channel(ChannelSpec(name))
    consumer = broker.consumer(name, ConsumerSettings())
    for wait_s in (0, 0.3, 1, 1.4):
        began = time.monotonic()
        assert len(consumer.receive(100, wait_s)) == 0
        assert wait_s <= time.monotonic() - began < wait_s + 0.6


@pytest.mark.parametrize("wait_s", [0.9, 5.0])
def test_receive_returns_at_the_first_message(broker: Sqs, name: str, wait_s: float) -> None:
    broker.create_channel(ChannelSpec(name))
    consumer = broker.consumer(name, ConsumerSettings())
    sender = threading.Timer(0.2, publish, (broker, name, Batch([b"late"])))
    began = time.monotonic()
    sender.start()
    received = consumer.receive(100, wait_s)
    assert list(received.payloads) == [b"late"]
    assert 0.2 <= time.monotonic() - began < min(wait_s, 2) + 0.5
    sender.join()


def test_released_deliveries_come_back_at_once_and_leases_can_be_prolonged(broker: Sqs, name: str) -> None:
    broker.create_channel(ChannelSpec(name, lease_s=0.7))
    publish(broker, name, Batch(numbers(4), keys(4, 4)))
    consumer = broker.consumer(name, ConsumerSettings())
    held = consumer.receive(10, 1)
    assert len(held) == 4
    released = consumer.release(held, [1, 3])
    assert released.tickets.tolist() == [1, 3]
    assert released.outcomes.tolist() == [Outcome.ACKNOWLEDGED] * 2
    again = consumer.receive(10, 0.5)
    assert sorted(again.payloads) == sorted([held.payloads[1], held.payloads[3]])
    assert again.delivery_counts.tolist() == [2, 2]
    consumer.acknowledge(again)
    assert set(consumer.extend(held, 60, np.array([0])).outcomes.tolist()) == {Outcome.ACKNOWLEDGED}
    if isinstance(broker, SqsFifo):
        # LocalStack: a message in flight holds up those of other groups whose lease has ended.
        consumer.acknowledge(held, [0])
    late = consumer.receive(10, 4)
    assert list(late.payloads) == [held.payloads[2]]
    consumer.acknowledge(late)
    if not isinstance(broker, SqsFifo):
        consumer.acknowledge(held, [0])
    assert len(consumer.acknowledge(held, [])) == 0
    assert broker.backlog(name, "any") == 0


def test_poison_goes_to_the_dead_letters(broker: Sqs, name: str) -> None:
    dead = f"{name}-dead"
    with pytest.raises(ChannelMissing):
        broker.create_channel(ChannelSpec(name, dead_letter=DeadLetterPolicy(dead, 2)))
    broker.create_channel(ChannelSpec(dead))
    broker.create_channel(ChannelSpec(name, dead_letter=DeadLetterPolicy(dead, 2)))
    publish(broker, name, Batch([b"poison"], [b"k"]))
    consumer = broker.consumer(name, ConsumerSettings())
    for _ in range(2):
        consumer.release(consumer.receive(1, 1))
    assert len(consumer.receive(1, 0.5)) == 0
    buried = broker.consumer(dead, ConsumerSettings()).receive(5, 1)
    assert list(zip(buried.payloads, buried.keys, strict=True)) == [(b"poison", b"k")]
    with pytest.raises(Misuse):
        broker.create_channel(ChannelSpec(f"{name}-x", dead_letter=DeadLetterPolicy(dead, 0)))


def test_a_fifo_queue_keeps_the_order_of_a_key_with_requests_side_by_side(fifo: SqsFifo, name: str) -> None:
    fifo.create_channel(ChannelSpec(name))
    producer = fifo.producer(name, ProducerSettings(concurrency=8))
    of_key = keys(600, 13)
    for begin in range(0, 600, 60):
        producer.send(Batch(numbers(600)[begin : begin + 60], of_key[begin : begin + 60]))
    assert producer.flush(60).outcomes.tolist() == [Outcome.ACKNOWLEDGED] * 600
    seen: dict[bytes | None, list[int]] = defaultdict(list)
    for received in drain(fifo, name, 100):
        for key, payload in zip(received.keys, received.payloads, strict=True):
            seen[key].append(int(payload))
    assert sum(map(len, seen.values())) == 600
    assert all(one < other for of in seen.values() for one, other in pairwise(of))


def test_a_fifo_group_waits_for_its_released_message(fifo: SqsFifo, name: str) -> None:
    fifo.create_channel(ChannelSpec(name))
    publish(fifo, name, Batch(numbers(6), [b"k"] * 6))
    consumer = fifo.consumer(name, ConsumerSettings())
    first = consumer.receive(2, 1)
    assert list(first.payloads) == [b"0", b"1"]
    assert len(consumer.receive(10, 0)) == 0
    consumer.release(first)
    assert list(consumer.receive(3, 1).payloads) == [b"0", b"1", b"2"]


def test_dedup_ids_are_for_fifo_queues(fifo: SqsFifo, standard: SqsStandard, name: str) -> None:
    fifo.create_channel(ChannelSpec(name))
    publish(fifo, name, Batch([b"same"] * 2, [b"k"] * 2))
    publish(fifo, name, Batch([b"one", b"other", b"two"], [b"k"] * 3, dedup_ids=["1", "1", "2"]))
    got = [payload for received in drain(fifo, name) for payload in received.payloads]
    assert got == [b"same", b"same", b"one", b"two"]
    standard.create_channel(ChannelSpec(name))
    with pytest.raises(Unsupported):
        standard.producer(name, ProducerSettings()).send(Batch([b"x"], dedup_ids=["1"]))


def test_channels_are_named_listed_and_deleted(broker: Sqs, name: str) -> None:
    assert broker.list_channels(name) == []
    for channel in (f"{name}-b", f"{name}-a"):
        broker.create_channel(ChannelSpec(channel))
    assert broker.list_channels(name) == [f"{name}-a", f"{name}-b"]
    with pytest.raises(Refused, match="exists"):
        broker.create_channel(ChannelSpec(f"{name}-a"))
    broker.delete_channel(f"{name}-a")
    broker.delete_channel(f"{name}-a")
    assert broker.list_channels(name) == [f"{name}-b"]
    with pytest.raises(ChannelMissing):
        broker.producer(f"{name}-a", ProducerSettings())
    with pytest.raises(ChannelMissing):
        broker.consumer(f"{name}-a", ConsumerSettings())
    with pytest.raises(ChannelMissing):
        broker.backlog(f"{name}-a", "any")
    for bad in ("a.b", "x" * 81, ""):
        with pytest.raises(Misuse):
            broker.create_channel(ChannelSpec(bad))


def test_the_two_kinds_of_queues_do_not_see_each_other(standard: SqsStandard, fifo: SqsFifo, name: str) -> None:
    fifo.create_channel(ChannelSpec(name))
    assert (standard.list_channels(name), fifo.list_channels(name)) == ([], [name])
    standard.delete_channel(name)
    assert fifo.list_channels(name) == [name]


def test_a_channel_is_made_as_asked(broker: Sqs, name: str, endpoint: Endpoint) -> None:
    broker.create_channel(ChannelSpec(name, lease_s=2.5, retention=Retention(max_age_s=60)))
    sqs = boto3.client(
        "sqs",
        endpoint_url=endpoint.address,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    queue = f"{name}.fifo" if isinstance(broker, SqsFifo) else name
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (attributes["VisibilityTimeout"], attributes["MessageRetentionPeriod"]) == ("3", "60")
    for retention in (Retention(max_bytes=1), Retention(max_messages=1), Retention(max_age_s=60, segment_ms=1)):
        with pytest.raises(Unsupported):
            broker.create_channel(ChannelSpec(f"{name}-x", retention=retention))
    for retention in (Retention(max_age_s=59), Retention(max_age_s=14 * 86_400 + 1), Retention()):
        with pytest.raises(Misuse):
            broker.create_channel(ChannelSpec(f"{name}-x", retention=retention))
    group = {"MessageGroupId": "g", "MessageDeduplicationId": "1"} if isinstance(broker, SqsFifo) else {}
    sqs.send_message(QueueUrl=url, MessageBody="from elsewhere", **group)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="did not send"):
        broker.consumer(name, ConsumerSettings()).receive(1, 1)


class Gate:
    """A TCP proxy that can hold back what the server answers."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition("//")[2].partition(":")
        self._target = (host, int(port))
        self.open = threading.Event()
        self.open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            for source, sink, held in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, sink, held), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, held: bool) -> None:
        try:
            while data := source.recv(65536):
                if held:
                    self.open.wait()
                sink.sendall(data)
        except OSError:
            pass
        finally:
            source.close()
            sink.close()

    def close(self) -> None:
        self.open.set()
        self._listener.close()


@pytest.fixture
def gate(endpoint: Endpoint) -> Iterator[Gate]:
    gate = Gate(endpoint.address)
    yield gate
    gate.close()


@pytest.fixture(params=[SqsStandard, SqsFifo], ids=["standard", "fifo"])
def gated(request: pytest.FixtureRequest, endpoint: Endpoint, gate: Gate) -> Iterator[Sqs]:
    broker: Sqs = request.param.connect(replace(endpoint, address=gate.address))
    yield broker
    gate.open.set()
    broker.close()


def test_silence_is_unknown_and_the_producer_recovers(gated: Sqs, gate: Gate, name: str) -> None:
    gated.create_channel(ChannelSpec(name))
    producer = gated.producer(name, ProducerSettings(timeout_s=0.4, concurrency=2))
    gate.open.clear()
    producer.send(Batch(numbers(25), keys(25, 25)))
    assert len(producer.poll()) == 0
    settled = producer.flush(10)
    assert sorted(settled.tickets.tolist()) == list(range(25))
    assert settled.outcomes.tolist() == [Outcome.UNKNOWN] * 25
    assert settled.errors[0] == "no answer in time"
    gate.open.set()
    assert producer.send(Batch(numbers(3))).first_ticket == 25
    assert producer.flush(10).outcomes.tolist() == [Outcome.ACKNOWLEDGED] * 3
    # Unknown is not lost: the server had them all.
    assert gated.backlog(name, "any") == 28


def test_closing_with_open_sends_says_unknown_once(gated: Sqs, gate: Gate, name: str) -> None:
    gated.create_channel(ChannelSpec(name))
    producer = gated.producer(name, ProducerSettings(concurrency=2))
    gate.open.clear()
    producer.send(Batch(numbers(95), keys(95, 3)))
    assert len(producer.flush(0.2)) == 0
    began = time.monotonic()
    settled = producer.close()
    assert time.monotonic() - began < 2
    assert sorted(settled.tickets.tolist()) == list(range(95))
    assert settled.outcomes.tolist() == [Outcome.UNKNOWN] * 95
    assert len(producer.close()) == 0
    with pytest.raises(Misuse, match="closed"):
        producer.send(Batch([b"x"]))


def test_send_waits_for_room(gated: Sqs, gate: Gate, name: str) -> None:
    gated.create_channel(ChannelSpec(name))
    producer = gated.producer(name, ProducerSettings(max_in_flight=10))
    gate.open.clear()
    producer.send(Batch(numbers(8)))
    threading.Timer(0.4, gate.open.set).start()
    began = time.monotonic()
    producer.send(Batch(numbers(8)))
    assert time.monotonic() - began > 0.3
    assert len(producer.flush(10)) == 16


def test_an_acknowledgement_without_an_answer_is_unknown(
    gated: Sqs, gate: Gate, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated.create_channel(ChannelSpec(name))
    publish(gated, name, Batch(numbers(3), keys(3, 3)))
    consumer = gated.consumer(name, ConsumerSettings())
    received = consumer.receive(3, 1)
    monkeypatch.setattr("brokerbench.brokers.sqs.consumer.ANSWER_S", 0.3)
    gate.open.clear()
    settled = consumer.acknowledge(received, [0, 2])
    assert settled.tickets.tolist() == [0, 2]
    assert settled.outcomes.tolist() == [Outcome.UNKNOWN] * 2
    with pytest.raises(Unreachable):
        consumer.receive(3, 0)


def test_a_second_thread_is_turned_away(standard: SqsStandard, name: str) -> None:
    standard.create_channel(ChannelSpec(name))
    consumer = standard.consumer(name, ConsumerSettings())
    worker = threading.Thread(target=consumer.receive, args=(1, 1))
    worker.start()
    time.sleep(0.2)
    with pytest.raises(Misuse, match="two threads"):
        consumer.receive(1, 0)
    worker.join()


def test_a_closed_port_is_unreachable_and_secrets_stay_secret() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secrets = {"access_key_id": "someone", "secret_access_key": "hunter2"}
    with pytest.raises(Unreachable) as caught:
        SqsStandard.connect(Endpoint("sqs", f"http://127.0.0.1:{port}", secrets=secrets))
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__cause__)


def test_receive_on_a_busy_machine_is_no_bad_request(standard: SqsStandard, name: str) -> None:
    """Its time was up before the event loop came to it."""
    standard.create_channel(ChannelSpec(name))
    consumer = standard.consumer(name, ConsumerSettings())
    consumer._loop.events.call_soon_threadsafe(time.sleep, 1.5)
    assert len(consumer.receive(1, 0.1)) == 0
