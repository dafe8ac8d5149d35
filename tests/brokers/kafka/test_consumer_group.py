"""Kafka under a consumer group, against a real Kafka."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from brokerbench.brokers.declarations import NOT_TOLD, PROPERTIES
from brokerbench.brokers.errors import ChannelMissing, Misuse, Refused, Unreachable, Unsupported
from brokerbench.brokers.kafka.consumer_group import Kafka, KafkaConsumer
from brokerbench.brokers.kafka.declarations import KAFKA
from brokerbench.brokers.kafka.offsets import OffsetTracker
from brokerbench.brokers.kafka.version import kafka_version
from brokerbench.brokers.protocols import (
    Bounded,
    Broker,
    Bundling,
    Consumer,
    Counting,
    Extendable,
    Producer,
    Rejectable,
    Releasable,
)
from brokerbench.brokers.types import (
    NO_TIME,
    Batch,
    ChannelSpec,
    ConsumerSettings,
    DeadLetterPolicy,
    Durability,
    Endpoint,
    FromBeginning,
    FromPosition,
    FromTime,
    Outcome,
    Position,
    ProducerSettings,
    Received,
    Retention,
    Settlements,
)

engine = pytest.mark.engine


@pytest.fixture(scope="module")
def address(endpoint_of: Callable[[str], Endpoint]) -> str:
    return endpoint_of("kafka").address


@pytest.fixture
def broker(address: str) -> Iterator[Kafka]:
    broker = Kafka.connect(Endpoint("kafka", address))
    yield broker
    broker.close()


@pytest.fixture
def channel(broker: Kafka) -> Iterator[str]:
    """A channel of three partitions."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    broker.create_channel(ChannelSpec(name, partitions=3))
    yield name
    broker.close()
    broker.delete_channel(name)


def fill(broker: Kafka, channel: str, count: int, keys: int = 10) -> Settlements:
    producer = broker.producer(channel, ProducerSettings())
    batch = Batch([b"%d" % index for index in range(count)], [b"key-%d" % (index % keys) for index in range(count)])
    producer.send(batch)
    settlements = producer.flush(20)
    producer.close()
    assert len(settlements) == count
    assert (settlements.outcomes == Outcome.ACKNOWLEDGED).all()
    return settlements


def receive(consumer: Consumer, count: int, most: int = 100, patience_s: float = 15.0) -> list[Received]:
    """At least ``count`` messages, not acknowledged."""
    batches: list[Received] = []
    deadline = time.monotonic() + patience_s
    while sum(map(len, batches)) < count and time.monotonic() < deadline:
        received = consumer.receive(most, 1.0)
        assert len(received) <= most
        if len(received):
            batches.append(received)
    assert sum(map(len, batches)) >= count
    return batches


def values(batches: list[Received]) -> list[int]:
    return [int(payload) for received in batches for payload in received.payloads]


# Bookkeeping of one partition, without a broker


def offsets(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(numbers, np.int64)


def test_an_acknowledgement_covers_the_first_deliveries_or_nothing() -> None:
    progress = OffsetTracker()
    progress.delivered(offsets(10, 11, 15))
    progress.delivered(offsets(16, 17))
    assert progress.covers_no_gap(offsets(10, 11))
    assert progress.covers_no_gap(offsets(10, 11, 15, 16))
    assert not progress.covers_no_gap(offsets(11))
    assert not progress.covers_no_gap(offsets(10, 15))
    assert not progress.covers_no_gap(offsets(10, 11, 15, 16, 17, 18))
    progress.acknowledged(offsets(10, 11, 15, 16))
    assert progress.acknowledged_to == 17
    assert progress.covers_no_gap(offsets(17))


def test_a_rewind_makes_void_what_it_repeats_and_nothing_else() -> None:
    progress = OffsetTracker()
    progress.delivered(offsets(0, 1, 2, 3))
    before = progress.epoch
    progress.rewound(2)
    assert progress.valid(offsets(0, 1, 2, 3), before).tolist() == [True, True, False, False]
    progress.delivered(offsets(2, 3, 4))
    between = progress.epoch
    progress.rewound(4)
    assert progress.valid(offsets(1, 2), before).tolist() == [True, False]
    assert progress.valid(offsets(2, 3, 4), between).tolist() == [True, True, False]
    assert progress.covers_no_gap(offsets(0, 1, 2, 3))


def test_every_property_is_declared() -> None:
    assert set(KAFKA.properties) == set(PROPERTIES)


# The broker


@engine
def test_powers(broker: Kafka, channel: str) -> None:
    assert isinstance(broker, Broker)
    assert isinstance(broker, Bounded)
    assert isinstance(broker, Counting)
    consumer = broker.consumer(channel, ConsumerSettings())
    assert isinstance(consumer, Consumer)
    assert isinstance(consumer, Bundling)
    assert isinstance(consumer, Releasable)
    assert not isinstance(consumer, Rejectable)
    assert not isinstance(consumer, Extendable)
    assert isinstance(broker.producer(channel, ProducerSettings()), Producer)
    assert broker.server_version().startswith("Kafka ")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_nobody_there_is_unreachable(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brokerbench.brokers.kafka.admin.REQUEST_TIMEOUT_S", 1.0)
    endpoint = Endpoint("kafka", f"127.0.0.1:{free_port()}", secrets={"password": "hush-hush"})
    with pytest.raises(Unreachable) as caught:
        Kafka.connect(endpoint)
    with pytest.raises(Unreachable):
        kafka_version(endpoint)
    assert "hush-hush" not in str(caught.value)
    assert capfd.readouterr().err == ""


@engine
def test_channels_come_and_go(broker: Kafka) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    broker.create_channel(ChannelSpec(name, partitions=2))
    assert broker.list_channels(name) == [name]
    assert broker.bounds(name) == (Position({0: 0, 1: 0}), Position({0: 0, 1: 0}))
    with pytest.raises(Refused):
        broker.create_channel(ChannelSpec(name))
    broker.delete_channel(name)
    broker.delete_channel(name)
    assert broker.list_channels(name) == []
    with pytest.raises(ChannelMissing):
        broker.bounds(name)
    with pytest.raises(ChannelMissing):
        broker.producer(name, ProducerSettings())
    with pytest.raises(ChannelMissing):
        broker.consumer(name, ConsumerSettings())
    with pytest.raises(ChannelMissing):
        broker.reader(name, FromBeginning())


@engine
def test_what_kafka_cannot_keep_is_not_promised(broker: Kafka) -> None:
    with pytest.raises(Unsupported):
        broker.create_channel(ChannelSpec("test-x", retention=Retention(max_messages=5)))
    with pytest.raises(Unsupported):
        broker.create_channel(ChannelSpec("test-x", dead_letter=DeadLetterPolicy("dlq.test-x", 3)))
    with pytest.raises(Refused):  # a segment has at least 1 MiB
        broker.create_channel(ChannelSpec("test-x", retention=Retention(max_bytes=100_000, segment_bytes=1000)))
    with pytest.raises(Misuse):
        broker.create_channel(ChannelSpec("test x"))


# Sending


@engine
def test_every_ticket_is_settled_once(broker: Kafka, channel: str) -> None:
    producer = broker.producer(channel, ProducerSettings(max_in_flight=500))
    parts = []
    for start in range(0, 5000, 1250):
        receipt = producer.send(Batch([b"x"] * 1250, [b"key-%d" % (index % 7) for index in range(1250)]))
        assert receipt.first_ticket == start
        assert receipt.count == 1250
        parts.append(producer.poll())
    parts.append(producer.flush(20))
    settled = Settlements.concat(parts)
    assert sorted(settled.tickets.tolist()) == list(range(5000))
    assert (settled.outcomes == Outcome.ACKNOWLEDGED).all()
    places = set(zip(settled.partitions.tolist(), settled.places.tolist(), strict=True))
    assert len(places) == 5000
    assert len(producer.close()) == 0


@engine
def test_tickets_and_places_tell_the_same_message(broker: Kafka, channel: str) -> None:
    settled = fill(broker, channel, 3000)
    at = {
        (partition, place): ticket
        for partition, place, ticket in zip(
            settled.partitions.tolist(), settled.places.tolist(), settled.tickets.tolist(), strict=True
        )
    }
    reader = broker.reader(channel, FromBeginning())
    for received in read(reader, 3000):
        for partition, place, payload in zip(
            received.partitions.tolist(), received.places.tolist(), received.payloads, strict=True
        ):
            assert at[partition, place] == int(payload)


@engine
@pytest.mark.parametrize("attributes", [None, [{"a": "1"}, {"a": "2"}, {"a": "3"}]])
def test_a_message_too_large_is_refused_alone(
    broker: Kafka, channel: str, attributes: list[dict[str, str]] | None
) -> None:
    producer = broker.producer(channel, ProducerSettings())
    receipt = producer.send(Batch([b"first", bytes(2_000_000), b"last"], attributes=attributes))
    assert receipt.rejected == (1,)
    settled = producer.flush(10)
    outcomes = dict(zip(settled.tickets.tolist(), settled.outcomes.tolist(), strict=True))
    assert outcomes == {0: Outcome.ACKNOWLEDGED, 1: Outcome.REJECTED, 2: Outcome.ACKNOWLEDGED}
    assert "MSG_SIZE_TOO_LARGE" in settled.errors[1]


@engine
def test_the_declared_size_fits(broker: Kafka, channel: str) -> None:
    limit = broker.declaration().limits.max_message_bytes
    assert limit is not None
    producer = broker.producer(channel, ProducerSettings())
    producer.send(Batch([bytes(limit), *[bytes(limit // 10)] * 30]))
    settled = producer.flush(20)
    assert len(settled) == 31
    assert (settled.outcomes == Outcome.ACKNOWLEDGED).all()


@engine
def test_attributes_travel(broker: Kafka, channel: str) -> None:
    producer = broker.producer(channel, ProducerSettings())
    producer.send(Batch([b"1", b"2"], [b"k", b"k"], attributes=[{"event": "push"}, {"event": "öffnen"}]))
    producer.flush(10)
    (received,) = read(broker.reader(channel, FromBeginning()), 2)
    assert received.attributes == [{"event": "push"}, {"event": "öffnen"}]
    assert received.keys == [b"k", b"k"]


@engine
def test_uneven_columns_are_misuse(broker: Kafka, channel: str) -> None:
    producer = broker.producer(channel, ProducerSettings())
    with pytest.raises(Misuse):
        producer.send(Batch([b"1", b"2"], [b"k"]))
    producer.close()
    producer.close()
    with pytest.raises(Misuse):
        producer.send(Batch([b"1"]))


@engine
def test_what_is_in_flight_at_the_end_is_unknown(broker: Kafka, channel: str) -> None:
    producer = broker.producer(channel, ProducerSettings(linger_ms=10_000))
    producer.send(Batch([b"x"] * 50))
    started = time.monotonic()
    given_up = producer.close()
    assert time.monotonic() - started < 1
    assert sorted(given_up.tickets.tolist()) == list(range(50))
    assert (given_up.outcomes == Outcome.UNKNOWN).all()


@engine
def test_a_time_out_is_unknown(broker: Kafka) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    broker.create_channel(ChannelSpec(name))
    producer = broker.producer(name, ProducerSettings(timeout_s=1.0, linger_ms=400))
    broker.delete_channel(name)
    producer.send(Batch([b"x"] * 3))
    settled = producer.flush(15)
    assert sorted(settled.tickets.tolist()) == [0, 1, 2]
    assert not (settled.outcomes == Outcome.ACKNOWLEDGED).any()


@engine
@pytest.mark.parametrize("durability", list(Durability))
def test_durabilities(broker: Kafka, durability: Durability) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    broker.create_channel(ChannelSpec(name, durability=durability))
    producer = broker.producer(name, ProducerSettings(durability=durability))
    producer.send(Batch([b"x"] * 100))
    assert (producer.flush(10).outcomes == Outcome.ACKNOWLEDGED).all()
    broker.delete_channel(name)


# Receiving and settling


@engine
def test_receive_returns_at_the_first_message(broker: Kafka, channel: str) -> None:
    consumer = broker.consumer(channel, ConsumerSettings())
    assert len(consumer.receive(10, 1.5)) == 0
    producer = broker.producer(channel, ProducerSettings(linger_ms=0))
    waits = []
    for _ in range(5):
        producer.send(Batch([b"x"]))
        producer.flush(5)
        started = time.monotonic()
        assert len(consumer.receive(500, 1.0)) == 1
        waits.append(time.monotonic() - started)
    assert sorted(waits)[2] < 0.2


@engine
@pytest.mark.parametrize("wanted", [True, False])
def test_details_are_made_for_who_asks(broker: Kafka, channel: str, wanted: bool) -> None:
    before_ns = time.time_ns() - 1_000_000
    fill(broker, channel, 10)
    received = broker.consumer(channel, ConsumerSettings(details=wanted)).receive(10, 10)
    times = received.broker_epoch_ns
    assert len(times) == len(received) > 0
    assert (times > before_ns).all() if wanted else (times == NO_TIME).all()
    assert len(received.keys) == (len(received) if wanted else 0)


@engine
def test_acknowledged_messages_do_not_come_back(broker: Kafka, channel: str) -> None:
    fill(broker, channel, 500)
    consumer = broker.consumer(channel, ConsumerSettings())
    seen = []
    for received in receive(consumer, 500):
        assert (consumer.acknowledge(received).outcomes == Outcome.ACKNOWLEDGED).all()
        seen.append(received)
    assert sorted(values(seen)) == list(range(500))
    assert broker.backlog(channel, ConsumerSettings().group) == 0
    assert broker.backlog(channel, "another") == 500
    started = time.monotonic()
    consumer.close()
    consumer.close()
    assert time.monotonic() - started < 1
    again = broker.consumer(channel, ConsumerSettings())
    assert len(again.receive(10, 2.0)) == 0


@engine
def test_acknowledging_out_of_order_is_unsupported(broker: Kafka) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    broker.create_channel(ChannelSpec(name))
    fill(broker, name, 6)
    consumer = broker.consumer(name, ConsumerSettings())
    first, second = receive(consumer, 6, most=3)
    with pytest.raises(Unsupported):
        consumer.acknowledge(first, [1])
    with pytest.raises(Unsupported):
        consumer.acknowledge(second)
    assert broker.backlog(name, ConsumerSettings().group) == 6
    assert consumer.acknowledge(first, [1, 0]).tickets.tolist() == [1, 0]
    assert broker.backlog(name, ConsumerSettings().group) == 4
    assert consumer.acknowledge(first, [0, 1, 2]).outcomes.tolist() == [Outcome.ACKNOWLEDGED] * 3
    consumer.acknowledge(second)
    assert broker.backlog(name, ConsumerSettings().group) == 0
    with pytest.raises(Misuse):
        consumer.acknowledge(second, [7])
    broker.delete_channel(name)


@engine
def test_several_batches_are_acknowledged_at_once(broker: Kafka, channel: str) -> None:
    fill(broker, channel, 500)
    group = ConsumerSettings().group
    consumer = broker.consumer(channel, ConsumerSettings())
    batches = [received.bare() for received in receive(consumer, 500, most=60)]
    with pytest.raises(Unsupported):
        consumer.acknowledge_all(batches[1:])
    assert broker.backlog(channel, group) == 500
    for batches_at_once in (batches[:3], batches):  # what was acknowledged before is so again
        settled = consumer.acknowledge_all(batches_at_once)
        assert [len(part) for part in settled] == [len(received) for received in batches_at_once]
        assert all((part.outcomes == Outcome.ACKNOWLEDGED).all() for part in settled)
        assert broker.backlog(channel, group) == 500 - sum(map(len, batches_at_once))
    assert sum(map(len, batches)) == 500
    assert consumer.acknowledge_all([]) == []


@engine
def test_what_a_release_made_void_is_not_acknowledged_with_others(broker: Kafka) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    broker.create_channel(ChannelSpec(name))
    fill(broker, name, 6)
    consumer = broker.consumer(name, ConsumerSettings())
    first, second = receive(consumer, 6, most=3)
    consumer.release(first, [2])
    again = receive(consumer, 4)
    settled = consumer.acknowledge_all([first, second, *again])
    acknowledged, rejected = Outcome.ACKNOWLEDGED, Outcome.REJECTED
    assert settled[0].outcomes.tolist() == [acknowledged, acknowledged, rejected]
    assert settled[1].outcomes.tolist() == [rejected] * 3
    assert all((part.outcomes == acknowledged).all() for part in settled[2:])
    assert broker.backlog(name, ConsumerSettings().group) == 0
    broker.delete_channel(name)


@engine
def test_release_rewinds_the_tail(broker: Kafka) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    broker.create_channel(ChannelSpec(name))
    fill(broker, name, 6)
    consumer = broker.consumer(name, ConsumerSettings())
    (received,) = receive(consumer, 6)
    assert consumer.acknowledge(received, [0]).outcomes.tolist() == [Outcome.ACKNOWLEDGED]
    assert consumer.release(received, [0, 2]).outcomes.tolist() == [Outcome.REJECTED, Outcome.ACKNOWLEDGED]
    assert consumer.acknowledge(received, [1, 3]).outcomes.tolist() == [Outcome.ACKNOWLEDGED, Outcome.REJECTED]
    again = receive(consumer, 4)
    assert values(again) == [2, 3, 4, 5]
    for delivery in again:
        assert (consumer.acknowledge(delivery).outcomes == Outcome.ACKNOWLEDGED).all()
    assert broker.backlog(name, ConsumerSettings().group) == 0
    broker.delete_channel(name)


@engine
def test_unsettled_messages_go_to_the_next_consumer(broker: Kafka, channel: str) -> None:
    fill(broker, channel, 100)
    first = broker.consumer(channel, ConsumerSettings(name="first"))
    receive(first, 100)
    first.close()
    second = broker.consumer(channel, ConsumerSettings(name="second"))
    assert sorted(values(receive(second, 100))) == list(range(100))


@engine
def test_deliveries_of_a_lost_partition_cannot_be_settled(broker: Kafka, channel: str) -> None:
    fill(broker, channel, 300)
    first = broker.consumer(channel, ConsumerSettings(name="first"))
    held = receive(first, 300)
    second = broker.consumer(channel, ConsumerSettings(name="second"))
    taken: list[Received] = []
    deadline = time.monotonic() + 20
    while not taken and time.monotonic() < deadline:
        first.receive(1, 0.2)
        received = second.receive(100, 0.2)
        if len(received):
            taken.append(received)
    lost = set(taken[0].partitions.tolist())
    for received in held:
        settled = first.acknowledge(received)
        gone = np.isin(settled.partitions, list(lost))
        assert (settled.outcomes[gone] == Outcome.REJECTED).all()
        assert (settled.outcomes[~gone] == Outcome.ACKNOWLEDGED).all()
    assert (second.acknowledge(taken[0]).outcomes == Outcome.ACKNOWLEDGED).all()


@engine
def test_three_consumers_share_and_keep_order_per_key(broker: Kafka, channel: str) -> None:
    fill(broker, channel, 3000)
    consumers = [broker.consumer(channel, ConsumerSettings(name=f"consumer-{number}")) for number in range(3)]
    settled: dict[int, int] = {}
    order: list[tuple[bytes, int]] = []
    lock = threading.Lock()

    def work(consumer: KafkaConsumer) -> None:
        deadline = time.monotonic() + 20
        while len(settled) < 3000 and time.monotonic() < deadline:
            received = consumer.receive(50, 0.2)
            if not len(received):
                continue
            fates = consumer.acknowledge(received)
            with lock:
                for index in fates.tickets[fates.outcomes == Outcome.ACKNOWLEDGED].tolist():
                    value = int(received.payloads[index])
                    settled[value] = settled.get(value, 0) + 1
                    order.append((received.keys[index] or b"", value))

    threads = [threading.Thread(target=work, args=(consumer,)) for consumer in consumers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(settled) == list(range(3000))
    assert set(settled.values()) == {1}
    for key in {key for key, _ in order}:
        of_key = [value for found, value in order if found == key]
        assert of_key == sorted(of_key)


@engine
def test_a_second_thread_is_misuse(broker: Kafka, channel: str) -> None:
    consumer = broker.consumer(channel, ConsumerSettings())
    thread = threading.Thread(target=consumer.receive, args=(1, 1.0))
    thread.start()
    time.sleep(0.3)
    with pytest.raises(Misuse):
        consumer.receive(1, 0.1)
    thread.join()


# Reading again


def read(reader: object, count: int, patience_s: float = 10.0) -> list[Received]:
    batches: list[Received] = []
    deadline = time.monotonic() + patience_s
    while sum(map(len, batches)) < count and time.monotonic() < deadline:
        received = reader.read(1000, 0.5)  # type: ignore[attr-defined]
        if len(received):
            batches.append(received)
    assert sum(map(len, batches)) == count
    return batches


@engine
def test_replay_from_everywhere(broker: Kafka, channel: str) -> None:
    fill(broker, channel, 100)
    time.sleep(0.02)
    settled = fill(broker, channel, 200)
    _, high = broker.bounds(channel)
    assert sum(high.places.values()) == 300
    assert sorted(values(read(broker.reader(channel, FromBeginning()), 300))) == sorted([*range(100), *range(200)])
    partition = int(settled.partitions[0])
    from_here = FromPosition(Position({partition: int(settled.places[0])}))
    expected = high.places[partition] - int(settled.places[0])
    again = read(broker.reader(channel, from_here), expected)
    assert {int(number) for received in again for number in received.partitions} == {partition}
    everything = read(broker.reader(channel, FromBeginning()), 300)
    times = sorted(int(moment) for received in everything for moment in received.broker_epoch_ns)
    younger = sum(moment >= times[150] for moment in times)
    read(broker.reader(channel, FromTime(times[150])), younger)
    nothing_yet = broker.reader(channel, FromTime(time.time_ns() + 3_600_000_000_000))
    assert len(nothing_yet.read(10, 0.5)) == 0
    with pytest.raises(ChannelMissing):
        broker.reader(channel, FromPosition(Position({9: 0})))


@engine
def test_a_reader_disturbs_no_group_and_goes_on(broker: Kafka, channel: str) -> None:
    fill(broker, channel, 50)
    reader = broker.reader(channel, FromBeginning())
    read(reader, 50)
    assert broker.backlog(channel, ConsumerSettings().group) == 50
    fill(broker, channel, 20)
    read(reader, 20)
    reader.close()
    with pytest.raises(Misuse):
        reader.read(1, 0.1)


@engine
def test_old_messages_go_by_age(broker: Kafka) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    broker.create_channel(ChannelSpec(name, retention=Retention(max_age_s=1.0, segment_ms=500)))
    fill(broker, name, 10)
    assert broker.bounds(name)[0].places[0] == 0
    deadline = time.monotonic() + 15
    while broker.bounds(name)[0].places[0] < 10 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert broker.bounds(name) == (Position({0: 10}), Position({0: 10}))
    broker.delete_channel(name)


@engine
def test_a_broker_that_keeps_other_settings_than_were_asked_for_is_not_used(
    broker: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    monkeypatch.setattr(broker._admin, "configuration", lambda *_, **__: {"segment.ms": "604800000"})
    with pytest.raises(Unsupported, match=r"segment\.ms: the broker was asked for 1000 and keeps 604800000"):
        broker.create_channel(ChannelSpec(name, retention=Retention(max_age_s=60.0, segment_ms=1000)))
    assert broker.list_channels(name) == []


@engine
def test_a_broker_that_tells_no_settings_bounds_nothing(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise Refused("look up the settings: CLUSTER_AUTHORIZATION_FAILED")

    broker = Kafka.connect(Endpoint("kafka", address))
    assert broker.declaration() == KAFKA  # a native engine's settings are the ones declared offline
    broker.close()
    broker = Kafka.connect(Endpoint("kafka", address))
    monkeypatch.setattr(broker._admin, "_entries", refuse)
    assert set(broker.settings().values()) == {NOT_TOLD}
    assert broker.declaration().of("retention.overshoot").high is None
    broker.close()
