"""The profiles that need no engine keep the interface, and declare every property."""

from __future__ import annotations

import pytest

from brokerbench.brokers.declarations import PROPERTIES, Kind, ProfileDeclaration, Support
from brokerbench.brokers.errors import ChannelMissing, Misuse, Refused
from brokerbench.brokers.faulty import Faulty
from brokerbench.brokers.memory.broker import Memory
from brokerbench.brokers.memory.declaration import DECLARATION as MEMORY
from brokerbench.brokers.noop import CAPACITY, Noop
from brokerbench.brokers.noop import DECLARATION as NOOP
from brokerbench.brokers.protocols import (
    Bounded,
    Broker,
    Consumer,
    Counting,
    Extendable,
    Producer,
    Reader,
    Rejectable,
    Releasable,
    Replayable,
    Retaining,
)
from brokerbench.brokers.redis_streams.declaration import DECLARATION as REDIS
from brokerbench.brokers.types import (
    Batch,
    ChannelSpec,
    ConsumerSettings,
    Endpoint,
    FromBeginning,
    Outcome,
    ProducerSettings,
)


@pytest.mark.parametrize("declaration", [MEMORY, NOOP, REDIS], ids=lambda declaration: declaration.profile)
def test_every_property_is_declared_with_a_source(declaration: ProfileDeclaration) -> None:
    assert declaration.properties.keys() == PROPERTIES.keys()
    assert all(entry.source for entry in declaration.properties.values())
    if declaration is not NOOP:
        for name, entry in declaration.properties.items():
            bounded = entry.low is not None or entry.high is not None
            assert bounded is (PROPERTIES[name].kind is Kind.QUANTITY), name
            assert entry.support is not Support.UNDECLARED


def brokers() -> list[Broker]:
    endpoint = Endpoint("memory", "memory://interface")
    return [Memory.connect(endpoint), Noop.connect(endpoint), Faulty.connect(endpoint)]


@pytest.mark.parametrize("broker", brokers(), ids=lambda broker: type(broker).__name__)
def test_the_interface_is_kept(broker: Broker) -> None:
    name = f"interface-{type(broker).__name__}"
    broker.create_channel(ChannelSpec(name))
    assert broker.list_channels(name) == [name]
    with pytest.raises(Refused):
        broker.create_channel(ChannelSpec(name))
    producer: Producer = broker.producer(name, ProducerSettings())
    consumer: Consumer = broker.consumer(name, ConsumerSettings())
    assert isinstance(broker, Counting)
    with pytest.raises(Misuse):
        producer.send(Batch([b"1"], [b"a", b"b"]))
    assert producer.send(Batch([b"1", b"2", b"3"], [b"a", b"b", b"a"])).count == 3
    assert broker.backlog(name, "brokerbench") == 3
    assert producer.flush(1.0).outcomes.tolist() == [Outcome.ACKNOWLEDGED] * 3
    received = consumer.receive(2, 1.0)
    assert (list(received.payloads), list(received.keys)) == ([b"1", b"2"], [b"a", b"b"])
    with pytest.raises(Misuse):
        consumer.acknowledge(received, [2])
    with pytest.raises(Misuse):
        consumer.acknowledge(received, [0, 0])
    assert consumer.acknowledge(received, [1, 0]).tickets.tolist() == [1, 0]
    consumer.acknowledge(consumer.receive(2, 0))
    assert len(consumer.receive(2, 0)) == 0
    assert broker.backlog(name, "brokerbench") == 0
    if not isinstance(broker, Noop):
        assert isinstance(broker, Replayable)
        assert isinstance(broker, Bounded)
        assert isinstance(broker, Retaining)
        assert isinstance(consumer, Releasable)
        assert isinstance(consumer, Rejectable)
        assert isinstance(consumer, Extendable)
        reader: Reader = broker.reader(name, FromBeginning())
        assert list(reader.read(9, 0).payloads) == [b"1", b"2", b"3"]
    producer.close()
    consumer.close()
    broker.delete_channel(name)
    broker.delete_channel(name)
    with pytest.raises(ChannelMissing):
        broker.producer(name, ProducerSettings())
    broker.close()


def test_noop_splits_and_joins_batches_and_does_not_grow() -> None:
    noop = Noop("noop://sizes")
    noop.create_channel(ChannelSpec("c"))
    producer = noop.producer("c", ProducerSettings())
    consumer = noop.consumer("c", ConsumerSettings())
    payloads = [b"%d" % n for n in range(10)]
    producer.send(Batch(payloads[:4]))
    producer.send(Batch(payloads[4:]))
    got = [consumer.receive(size, 0) for size in (1, 6, 3, 1)]
    assert [list(received.payloads) for received in got] == [payloads[:1], payloads[1:7], payloads[7:], []]
    for _ in range(2 * CAPACITY // 1000):
        producer.send(Batch([b"x"] * 1000))
    assert CAPACITY - 1000 <= noop.backlog("c", "any") <= CAPACITY
