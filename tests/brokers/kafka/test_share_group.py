"""Kafka under a share group, against a real Kafka."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from brokerbench.brokers.declarations import PROPERTIES
from brokerbench.brokers.errors import BrokerError, ChannelMissing, Misuse, Refused, Unsupported
from brokerbench.brokers.kafka.declarations import KAFKA_SHARE
from brokerbench.brokers.kafka.share_group import KafkaShare, KafkaShareConsumer
from brokerbench.brokers.protocols import (
    Bounded,
    Broker,
    Consumer,
    Counting,
    Extendable,
    Pipelining,
    Rejectable,
    Releasable,
    Replayable,
)
from brokerbench.brokers.types import (
    Batch,
    ChannelSpec,
    ConsumerSettings,
    DeadLetterPolicy,
    Endpoint,
    FromBeginning,
    Outcome,
    ProducerSettings,
    Received,
)

engine = pytest.mark.engine


@pytest.fixture(scope="module")
def address(endpoint_of: Callable[[str], Endpoint]) -> str:
    return endpoint_of("kafka").address


@pytest.fixture
def broker(address: str) -> Iterator[KafkaShare]:
    broker = KafkaShare.connect(Endpoint("kafka", address))
    yield broker
    broker.close()


@pytest.fixture
def channel(broker: KafkaShare) -> Iterator[str]:
    """A channel of three partitions with a lease of 2 s."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    broker.create_channel(ChannelSpec(name, partitions=3, lease_s=2.0))
    yield name
    broker.close()
    broker.delete_channel(name)


def fill(broker: KafkaShare, channel: str, count: int) -> None:
    producer = broker.producer(channel, ProducerSettings())
    producer.send(
        Batch([b"%d" % index for index in range(count)], [b"key-%d" % (index % 10) for index in range(count)])
    )
    assert (producer.flush(20).outcomes == Outcome.ACKNOWLEDGED).all()
    producer.close()


def first(consumer: KafkaShareConsumer, most: int, patience_s: float = 15.0) -> Received:
    """The first delivery; a new share group takes a second or more."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        received = consumer.receive(most, 1.0)
        assert len(received) <= most
        if len(received):
            return received
    raise AssertionError("nothing was delivered")


def drain(consumer: KafkaShareConsumer, count: int, patience_s: float = 20.0) -> list[int]:
    """Accepted values, until ``count`` have come."""
    values: list[int] = []
    deadline = time.monotonic() + patience_s
    while len(values) < count and time.monotonic() < deadline:
        received = consumer.receive(100, 1.0)
        assert len(received) <= 100
        values.extend(int(payload) for payload in received.payloads)
        assert (consumer.acknowledge(received).outcomes == Outcome.ACKNOWLEDGED).all()
    return values


def test_every_property_is_declared() -> None:
    assert set(KAFKA_SHARE.properties) == set(PROPERTIES)


@engine
def test_powers(broker: KafkaShare, channel: str) -> None:
    assert isinstance(broker, Broker)
    assert isinstance(broker, Replayable)
    assert isinstance(broker, Bounded)
    assert not isinstance(broker, Counting)
    consumer = broker.consumer(channel, ConsumerSettings())
    assert isinstance(consumer, Consumer)
    assert isinstance(consumer, Pipelining)
    assert isinstance(consumer, Releasable)
    assert isinstance(consumer, Rejectable)
    assert not isinstance(consumer, Extendable)


@engine
def test_a_new_group_starts_at_the_beginning_and_loses_nothing(broker: KafkaShare, channel: str) -> None:
    fill(broker, channel, 2500)
    consumer = broker.consumer(channel, ConsumerSettings())
    assert sorted(drain(consumer, 2500)) == list(range(2500))
    assert len(consumer.receive(10, 0.5)) == 0
    started = time.monotonic()
    consumer.close()
    consumer.close()
    assert time.monotonic() - started < 1
    again = broker.consumer(channel, ConsumerSettings())
    assert len(again.receive(10, 2.0)) == 0
    other = broker.consumer(channel, ConsumerSettings(group="other"))
    assert len(drain(other, 2500)) == 2500


@engine
def test_receive_returns_at_the_first_message(broker: KafkaShare, channel: str) -> None:
    consumer = broker.consumer(channel, ConsumerSettings())
    consumer.receive(1, 3.0)
    producer = broker.producer(channel, ProducerSettings(linger_ms=0))
    waits = []
    for _ in range(5):
        producer.send(Batch([b"x"]))
        producer.flush(5)
        started = time.monotonic()
        received = first(consumer, 500)
        waits.append(time.monotonic() - started)
        consumer.acknowledge(received)
    assert sorted(waits)[2] < 0.5


@engine
def test_receive_waits_for_settlement(broker: KafkaShare, channel: str) -> None:
    fill(broker, channel, 5)
    consumer = broker.consumer(channel, ConsumerSettings())
    held: list[Received] = []
    while sum(map(len, held)) < 1:
        held.append(consumer.receive(2, 1.0))
    with pytest.raises(Misuse):
        for _ in range(5):
            held.append(consumer.receive(2, 0.1))
    for received in held:
        consumer.acknowledge(received)
    consumer.receive(2, 0.1)


@engine
def test_a_released_message_comes_back_and_is_counted(broker: KafkaShare, channel: str) -> None:
    fill(broker, channel, 1)
    consumer = broker.consumer(channel, ConsumerSettings())
    received = first(consumer, 10)
    assert received.delivery_counts.tolist() == [1]
    assert consumer.release(received).outcomes.tolist() == [Outcome.ACKNOWLEDGED]
    started = time.monotonic()
    again = first(consumer, 10)
    assert time.monotonic() - started < 1.5
    assert again.delivery_counts.tolist() == [2]
    assert consumer.reject(again).outcomes.tolist() == [Outcome.ACKNOWLEDGED]
    assert len(consumer.receive(10, 3.0)) == 0


@engine
def test_an_earlier_delivery_does_not_settle_what_came_again(broker: KafkaShare, channel: str) -> None:
    fill(broker, channel, 1)
    consumer = broker.consumer(channel, ConsumerSettings())
    earlier = first(consumer, 10)
    consumer.release(earlier)
    again = first(consumer, 10)
    assert again.places.tolist() == earlier.places.tolist()
    assert consumer.acknowledge(earlier).outcomes.tolist() == [Outcome.REJECTED]
    assert consumer.release(earlier).outcomes.tolist() == [Outcome.REJECTED]
    assert consumer.acknowledge(again).outcomes.tolist() == [Outcome.ACKNOWLEDGED]
    assert consumer.acknowledge(again).outcomes.tolist() == [Outcome.REJECTED]
    assert len(consumer.receive(10, 3.0)) == 0


@engine
def test_each_message_is_settled_by_itself(broker: KafkaShare) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    broker.create_channel(ChannelSpec(name, lease_s=5.0))
    fill(broker, name, 6)
    consumer = broker.consumer(name, ConsumerSettings())
    received = first(consumer, 6)
    assert len(received) == 6
    assert consumer.acknowledge(received, [5, 1]).tickets.tolist() == [5, 1]
    assert consumer.release(received, [0, 3]).outcomes.tolist() == [Outcome.ACKNOWLEDGED] * 2
    assert consumer.acknowledge(received, [1, 2, 4]).outcomes.tolist() == [
        Outcome.REJECTED,
        Outcome.ACKNOWLEDGED,
        Outcome.ACKNOWLEDGED,
    ]
    assert sorted(drain(consumer, 2)) == [0, 3]
    broker.delete_channel(name)


@engine
def test_the_lease_ends(broker: KafkaShare) -> None:
    # One partition: of several, the group may leave the message's own to the first consumer alone.
    channel = f"test-{uuid.uuid4().hex[:12]}"
    broker.create_channel(ChannelSpec(channel, partitions=1, lease_s=2.0))
    fill(broker, channel, 1)
    consumer = broker.consumer(channel, ConsumerSettings(name="first"))
    # The lease runs from the fetch, which is somewhere within the first receive: only from before it is a bound sound.
    started = time.monotonic()
    received = first(consumer, 10)
    other = broker.consumer(channel, ConsumerSettings(name="second"))
    again = first(other, 10)
    assert 1.9 < time.monotonic() - started < 30
    assert again.delivery_counts.tolist() == [2]
    assert consumer.acknowledge(received).outcomes.tolist() == [Outcome.REJECTED]
    assert other.acknowledge(again).outcomes.tolist() == [Outcome.ACKNOWLEDGED]
    assert len(consumer.receive(10, 0.2)) == 0
    broker.delete_channel(channel)


@engine
def test_a_consumer_outlives_its_lease(broker: KafkaShare, channel: str) -> None:
    fill(broker, channel, 20)
    consumer = broker.consumer(channel, ConsumerSettings())
    first(consumer, 5)
    time.sleep(2.5)
    assert sorted(drain(consumer, 20)) == list(range(20))


@engine
def test_answers_come_for_each_delivery_that_was_acknowledged_ahead(broker: KafkaShare, channel: str) -> None:
    fill(broker, channel, 2500)
    consumer = broker.consumer(channel, ConsumerSettings())
    values: list[int] = []
    sizes: list[int] = []
    answers = []
    deadline = time.monotonic() + 20
    while len(values) < 2500 and time.monotonic() < deadline:
        received = consumer.receive_and_acknowledge(100, 1.0)
        if len(received):
            values.extend(int(payload) for payload in received.payloads)
            sizes.append(len(received))
        answers += consumer.answers()
    assert sorted(values) == list(range(2500))
    answers += consumer.answers(10.0)
    assert [settled.tickets.tolist() for settled in answers] == [list(range(size)) for size in sizes]
    assert all((settled.outcomes == Outcome.ACKNOWLEDGED).all() for settled in answers)
    assert consumer.answers(0.0) == []
    # The two ways of acknowledging take turns.
    fill(broker, channel, 10)
    assert len(drain(consumer, 10)) == 10
    consumer.close()
    assert len(broker.consumer(channel, ConsumerSettings(name="next")).receive(10, 3.0)) == 0


@engine
def test_what_was_fetched_ahead_and_kept_too_long_is_refused_and_comes_again(broker: KafkaShare, channel: str) -> None:
    fill(broker, channel, 3000)
    consumer = broker.consumer(channel, ConsumerSettings())
    settled, values = 0, set[int]()
    deadline = time.monotonic() + 40
    taken: list[Received] = []
    for _ in range(3):
        taken.append(consumer.receive_and_acknowledge(5000, 5.0))
        # What was asked for behind it has come by now, and its lease of 2 s ends.
        time.sleep(3.0)
    while len(values) < 3000 and time.monotonic() < deadline:
        taken.append(consumer.receive_and_acknowledge(5000, 1.0))
        for answer in consumer.answers():
            received = next(entry for entry in taken if len(entry))
            del taken[: taken.index(received) + 1]
            good = answer.outcomes == Outcome.ACKNOWLEDGED
            settled += int(good.sum())
            values |= {int(received.payloads[at]) for at in answer.tickets[good].tolist()}
    assert sorted(values) == list(range(3000))
    assert settled == 3000


@engine
def test_an_answer_about_what_was_forgotten_is_not_taken_for_that_of_what_came_again(
    broker: KafkaShare, channel: str
) -> None:
    fill(broker, channel, 1)
    consumer = broker.consumer(channel, ConsumerSettings())
    deadline = time.monotonic() + 40
    while not len(consumer.receive_and_acknowledge(1, 1.0)):
        assert time.monotonic() < deadline
    fill(broker, channel, 20)
    first(consumer, 5)
    time.sleep(2.5)
    count = 0
    while count < 20 and time.monotonic() < deadline:
        count += len(consumer.receive_and_acknowledge(100, 1.0))
    assert count == 20
    outcomes = [outcome for settled in consumer.answers(10.0) for outcome in settled.outcomes.tolist()]
    assert outcomes == [Outcome.ACKNOWLEDGED] * 21
    assert len(consumer.receive(10, 3.0)) == 0


@engine
def test_what_a_leaver_held_goes_to_the_next(broker: KafkaShare, channel: str) -> None:
    fill(broker, channel, 10)
    consumer = broker.consumer(channel, ConsumerSettings(name="first"))
    first(consumer, 5)
    consumer.close()
    assert len(drain(broker.consumer(channel, ConsumerSettings(name="second")), 10)) == 10


@engine
def test_dead_letters_keep_their_payload(broker: KafkaShare) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    dead = f"dlq.{name}"
    policy = DeadLetterPolicy(dead, 2)
    with pytest.raises(Unsupported):
        broker.create_channel(ChannelSpec(name, dead_letter=DeadLetterPolicy("elsewhere", 2)))
    with pytest.raises(ChannelMissing):
        broker.create_channel(ChannelSpec(name, dead_letter=policy))
    broker.create_channel(ChannelSpec(dead))
    broker.create_channel(ChannelSpec(name, dead_letter=policy))
    fill(broker, name, 1)
    consumer = broker.consumer(name, ConsumerSettings())
    consumer.release(first(consumer, 1))
    consumer.release(first(consumer, 1))
    reader = broker.reader(dead, FromBeginning())
    letters = reader.read(10, 10.0)
    assert list(letters.payloads) == [b"0"]
    assert letters.attributes is not None
    assert letters.attributes[0]
    broker.close()
    broker.delete_channel(name)
    broker.delete_channel(dead)


@engine
def test_a_refused_lease_leaves_no_channel(broker: KafkaShare) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    with pytest.raises(BrokerError):
        broker.create_channel(ChannelSpec(name, lease_s=0.01))
    assert broker.list_channels(name) == []


@engine
def test_two_consumers_share_a_partition(broker: KafkaShare) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    broker.create_channel(ChannelSpec(name))
    consumers = [broker.consumer(name, ConsumerSettings(name=f"consumer-{number}")) for number in range(2)]
    for consumer in consumers:
        consumer.receive(1, 2.0)
    producer = broker.producer(name, ProducerSettings(linger_ms=0))
    counts = [0, 0]
    deadline = time.monotonic() + 20
    while sum(counts) < 200 and time.monotonic() < deadline:
        producer.send(Batch([b"1"] * 10))
        producer.flush(5)
        for number, consumer in enumerate(consumers):
            received = consumer.receive(5, 0.2)
            consumer.acknowledge(received)
            counts[number] += len(received)
    assert min(counts) > 0
    broker.close()
    broker.delete_channel(name)


@engine
def test_a_cluster_that_lets_no_group_be_configured_is_told_what_to_allow(
    broker: KafkaShare, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Refused("configure: GROUP_AUTHORIZATION_FAILED")

    monkeypatch.setattr(broker._admin, "configure", refuse)
    with pytest.raises(Refused, match=r"share\.auto\.offset\.reset.* for its own groups: allow AlterConfigs"):
        broker.consumer(channel, ConsumerSettings())
