"""Redis Streams against a real Redis."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import redis

from brokerbench.brokers.declarations import NOT_TOLD
from brokerbench.brokers.errors import ChannelMissing, Misuse, Refused, Unreachable, Unsupported
from brokerbench.brokers.redis_streams.broker import RedisStreams
from brokerbench.brokers.redis_streams.codec import id_before, place_of, places_of
from brokerbench.brokers.redis_streams.consumer import RedisConsumer
from brokerbench.brokers.redis_streams.declaration import DECLARATION
from brokerbench.brokers.types import (
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
    ReplayStart,
    Retention,
    Settlements,
)

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def address(endpoint_of: Callable[[str], Endpoint]) -> str:
    return endpoint_of("redis").address.removeprefix("redis://").removesuffix("/0")


@pytest.fixture
def broker(address: str) -> Iterator[RedisStreams]:
    broker = RedisStreams.connect(Endpoint("redis", address))
    yield broker
    broker.close()


@pytest.fixture
def name(broker: RedisStreams) -> Iterator[str]:
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    yield prefix
    for channel in broker.list_channels(prefix):
        broker.delete_channel(channel)


def publish(broker: RedisStreams, channel: str, batch: Batch) -> Settlements:
    producer = broker.producer(channel, ProducerSettings())
    producer.send(batch)
    settled = producer.flush(10)
    assert set(settled.outcomes.tolist()) <= {Outcome.ACKNOWLEDGED}
    producer.close()
    return settled


def numbers(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


def read_all(broker: RedisStreams, channel: str, start: ReplayStart, page: int = 7) -> list[bytes]:
    reader = broker.reader(channel, start)
    got: list[bytes] = []
    while len(received := reader.read(page, 0)):
        assert len(received) <= page
        got += received.payloads
    return got


def test_places_and_ids_agree() -> None:
    ids = [b"1700000000000-0", b"1700000000000-5", b"5-1048575"]
    assert places_of(ids).tolist() == [place_of(entry) for entry in ids]
    assert id_before(place_of(b"5-3")) == b"5-2"
    assert id_before(place_of(b"5-0")) == b"4-18446744073709551615"
    assert id_before(0) == b"0-0"


def test_what_is_sent_arrives_byte_for_byte(broker: RedisStreams, name: str) -> None:
    broker.create_channel(ChannelSpec(name, partitions=3))
    payloads = [bytes(range(256)) * size + b"\r\n" for size in range(40)] + [b""]
    keys = [b"key %d\r\n" % (n % 5) for n in range(len(payloads))]
    attributes = [{"Event": "push", "tür": "ja"} if n % 3 else {} for n in range(len(payloads))]
    producer = broker.producer(name, ProducerSettings())
    producer.send(Batch(payloads, keys))
    producer.send(Batch(payloads, keys, attributes=attributes))
    producer.send(Batch(payloads, attributes=attributes))
    producer.send(Batch(payloads))
    settled = producer.flush(10)
    assert settled.tickets.tolist() == list(range(4 * len(payloads)))
    got: dict[tuple[int, int], tuple[bytes, bytes | None, dict[str, str]]] = {}
    reader = broker.reader(name, FromBeginning())
    while len(page := reader.read(17, 0)):
        extra = page.attributes or [{}] * len(page)
        for at in range(len(page)):
            where = int(page.partitions[at]), int(page.places[at])
            got[where] = page.payloads[at], page.keys[at], dict(extra[at])
    none: list[dict[str, str]] = [{}] * len(payloads)
    sent = [
        *zip(payloads, keys, none, strict=True),
        *zip(payloads, keys, attributes, strict=True),
        *zip(payloads, [None] * len(payloads), attributes, strict=True),
        *zip(payloads, [None] * len(payloads), none, strict=True),
    ]
    assert len(got) == len(sent)
    for ticket, message in enumerate(sent):
        assert got[int(settled.partitions[ticket]), int(settled.places[ticket])] == message
    partition_of = {key: set(settled.partitions[[k == key for k in keys + keys] + [False] * 82]) for key in set(keys)}
    assert all(len(found) == 1 for found in partition_of.values())


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("page", [1, 2, 7, 100])
def test_receive_gives_full_batches_and_never_more(broker: RedisStreams, name: str, partitions: int, page: int) -> None:
    broker.create_channel(ChannelSpec(name, partitions=partitions))
    keys = [b"hot"] * 150 + [b"%d" % n for n in range(51)]
    publish(broker, name, Batch(numbers(201), keys))
    assert broker.backlog(name, "brokerbench") == 201
    consumer = broker.consumer(name, ConsumerSettings())
    sizes: list[int] = []
    got: list[bytes] = []
    while len(received := consumer.receive(page, 0.05)):
        sizes.append(len(received))
        got += received.payloads
        assert received.delivery_counts.tolist() == [1] * len(received)
        assert (np.abs(received.broker_epoch_ns - time.time_ns()) < 60e9).all()
        settled = consumer.acknowledge(received)
        assert settled.outcomes.tolist() == [Outcome.ACKNOWLEDGED] * len(received)
    assert sorted(got) == sorted(numbers(201))
    assert sizes[:-1] == [page] * (len(sizes) - 1)
    assert broker.backlog(name, "brokerbench") == 0


@pytest.mark.parametrize("page", [1, 8])
def test_a_waiting_receive_returns_at_the_first_message(broker: RedisStreams, name: str, page: int) -> None:
    broker.create_channel(ChannelSpec(name, partitions=4))
    consumer = broker.consumer(name, ConsumerSettings())
    assert len(consumer.receive(page, 0)) == 0
    timer = threading.Timer(0.3, publish, (broker, name, Batch([b"1", b"2"], [b"a", b"b"])))
    started = time.monotonic()
    timer.start()
    received = consumer.receive(page, 10)
    assert 0.25 < time.monotonic() - started < 2
    assert 1 <= len(received) <= page
    timer.join()
    started = time.monotonic()
    consumer.acknowledge(received)
    while len(received):
        received = consumer.receive(page, 0.3)
    assert 0.25 < time.monotonic() - started < 2


def test_replay_after_everything_was_acknowledged(broker: RedisStreams, name: str) -> None:
    broker.create_channel(ChannelSpec(name, partitions=2))
    keys = [b"%d" % (n % 8) for n in range(100)]
    first = publish(broker, name, Batch(numbers(100), keys))
    time.sleep(0.01)
    later_ns = time.time_ns()
    time.sleep(0.01)
    publish(broker, name, Batch([b"late"], [b"0"]))
    consumer = broker.consumer(name, ConsumerSettings())
    while len(received := consumer.receive(50, 0)):
        consumer.acknowledge(received)
    assert sorted(read_all(broker, name, FromBeginning())) == sorted([*numbers(100), b"late"])
    assert read_all(broker, name, FromTime(later_ns)) == [b"late"]
    middle = int(first.partitions[50]), int(first.places[50])
    wanted = [b"%d" % n for n in range(50, 100) if first.partitions[n] == middle[0]]
    got = read_all(broker, name, FromPosition(Position({middle[0]: middle[1]})))
    assert [entry for entry in got if entry != b"late"] == wanted
    begin, end = broker.bounds(name)
    for partition in (0, 1):
        mine = first.places[first.partitions == partition]
        assert begin.places[partition] == mine.min()
        assert end.places[partition] > mine.max()
    assert read_all(broker, name, FromPosition(end)) == []
    with pytest.raises(Misuse):
        broker.reader(name, FromPosition(Position({9: 0})))


def test_a_reader_waits_for_what_comes(broker: RedisStreams, name: str) -> None:
    broker.create_channel(ChannelSpec(name, partitions=2))
    begin, end = broker.bounds(name)
    assert begin == end
    reader = broker.reader(name, FromBeginning())
    timer = threading.Timer(0.2, publish, (broker, name, Batch([b"1"])))
    timer.start()
    assert list(reader.read(5, 10).payloads) == [b"1"]
    timer.join()


def test_released_deliveries_come_back_at_once_and_count(broker: RedisStreams, name: str) -> None:
    broker.create_channel(ChannelSpec(name, lease_s=30))
    publish(broker, name, Batch(numbers(10)))
    one, two = (broker.consumer(name, ConsumerSettings(name=who)) for who in ("one", "two"))
    held = one.receive(10, 1)
    assert one.release(held, [3, 5]).outcomes.tolist() == [Outcome.ACKNOWLEDGED] * 2
    started = time.monotonic()
    again = two.receive(10, 5)
    assert time.monotonic() - started < 1
    assert list(again.payloads) == [b"3", b"5"]
    assert again.delivery_counts.tolist() == [2, 2]
    lost = one.release(held, [3, 4])
    assert lost.outcomes.tolist() == [Outcome.REJECTED, Outcome.ACKNOWLEDGED]
    assert lost.errors == {3: "its lease has ended"}
    two.acknowledge(again)
    assert list(one.receive(10, 1).payloads) == [b"4"]


def test_a_lease_ends_unless_it_is_extended(broker: RedisStreams, name: str) -> None:
    broker.create_channel(ChannelSpec(name, partitions=2, lease_s=0.6))
    publish(broker, name, Batch(numbers(4)))
    one, two = (broker.consumer(name, ConsumerSettings(name=who)) for who in ("one", "two"))
    held = one.receive(4, 1)
    time.sleep(0.4)
    kept = list(held.payloads).index(b"2")
    assert one.extend(held, 0.6, [kept]).outcomes.tolist() == [Outcome.ACKNOWLEDGED]
    assert len(two.receive(4, 0)) == 0
    got: list[bytes] = []
    give_up = time.monotonic() + 0.45
    while time.monotonic() < give_up:
        received = two.receive(4, 0.05)
        got += received.payloads
        assert set(received.delivery_counts.tolist()) <= {2}
    assert sorted(got) == [b"0", b"1", b"3"]
    with pytest.raises(Unsupported):
        one.extend(held, 5.0)


def test_dead_letters_by_rejection_and_by_count(broker: RedisStreams, name: str) -> None:
    dead = f"{name}-dead"
    with pytest.raises(ChannelMissing):
        broker.create_channel(ChannelSpec(name, dead_letter=DeadLetterPolicy(dead, 2)))
    broker.create_channel(ChannelSpec(dead))
    broker.create_channel(ChannelSpec(name, dead_letter=DeadLetterPolicy(dead, 2)))
    publish(broker, name, Batch([b"good", b"poison", b"bad"], [b"k", b"k", b"k"]))
    consumer = broker.consumer(name, ConsumerSettings())
    held = consumer.receive(3, 1)
    consumer.reject(held, [1])
    consumer.acknowledge(held, [0])
    consumer.release(held, [2])
    again = consumer.receive(3, 1)
    assert (list(again.payloads), again.delivery_counts.tolist()) == ([b"bad"], [2])
    consumer.release(again)
    assert len(consumer.receive(3, 0.5)) == 0
    assert broker.backlog(name, "brokerbench") == 0
    buried: Received = broker.consumer(dead, ConsumerSettings()).receive(5, 1)
    assert list(zip(buried.payloads, buried.keys, strict=True)) == [(b"poison", b"k"), (b"bad", b"k")]


def test_retention_removes_read_or_not(broker: RedisStreams, name: str) -> None:
    broker.create_channel(ChannelSpec(name, lease_s=0.3, retention=Retention(max_age_s=0.5, max_messages=6)))
    publish(broker, name, Batch(numbers(8)))
    consumer = broker.consumer(name, ConsumerSettings())
    assert isinstance(consumer, RedisConsumer)
    held = consumer.receive(3, 1)
    assert broker.enforce_retention(name) == 2
    assert read_all(broker, name, FromBeginning()) == numbers(8)[2:]
    consumer.acknowledge(held, [0])
    time.sleep(0.6)
    publish(broker, name, Batch([b"new"]))
    assert broker.enforce_retention(name) == 6
    assert broker.backlog(name, "brokerbench") >= 1
    assert list(consumer.receive(10, 1).payloads) == [b"new"]
    assert consumer.trimmed_while_pending == 2
    for retention in (Retention(max_bytes=1000), Retention(max_age_s=1, segment_ms=5)):
        with pytest.raises(Unsupported):
            broker.create_channel(ChannelSpec(f"{name}-x", retention=retention))


def test_the_backlog_is_counted_where_redis_does_not_know_it(broker: RedisStreams, name: str, address: str) -> None:
    broker.create_channel(ChannelSpec(name))
    settled = publish(broker, name, Batch(numbers(10)))
    consumer = broker.consumer(name, ConsumerSettings())
    consumer.acknowledge(consumer.receive(2, 1))
    host, _, port = address.partition(":")
    place = int(settled.places[5])
    with redis.Redis(host, int(port)) as client:
        client.xdel(f"{name}:0", f"{place >> 20}-{place & 0xFFFFF}")
    assert broker.backlog(name, "brokerbench") == 7


def test_strict_sends_are_on_disk(broker: RedisStreams, name: str) -> None:
    broker.create_channel(ChannelSpec(name, durability=Durability.STRICT))
    try:
        producer = broker.producer(name, ProducerSettings())
    except Unsupported:
        pytest.skip("this Redis keeps no append-only file")
    producer.send(Batch(numbers(5)))
    assert producer.flush(10).outcomes.tolist() == [Outcome.ACKNOWLEDGED] * 5


def test_silence_is_unknown_and_the_producer_recovers(broker: RedisStreams, name: str, address: str) -> None:
    broker.create_channel(ChannelSpec(name))
    producer = broker.producer(name, ProducerSettings(timeout_s=0.3))
    host, _, port = address.partition(":")
    with redis.Redis(host, int(port)) as client:
        client.client_pause(900, all=False)
        producer.send(Batch(numbers(3)))
        settled = producer.flush(5)
        assert settled.outcomes.tolist() == [Outcome.UNKNOWN] * 3
        assert settled.errors
        client.client_unpause()
    assert producer.send(Batch(numbers(3))).first_ticket == 3
    assert producer.flush(5).outcomes.tolist() == [Outcome.ACKNOWLEDGED] * 3


def test_an_error_of_the_server_rejects(broker: RedisStreams, name: str, address: str) -> None:
    broker.create_channel(ChannelSpec(name))
    producer = broker.producer(name, ProducerSettings())
    host, _, port = address.partition(":")
    with redis.Redis(host, int(port)) as client:
        client.delete(f"{name}:0")
        client.set(f"{name}:0", "no stream")
        producer.send(Batch(numbers(3)))
        settled = producer.flush(5)
        client.delete(f"{name}:0")
    assert settled.outcomes.tolist() == [Outcome.REJECTED] * 3
    assert "WRONGTYPE" in settled.errors[0]


def test_closing_with_open_sends_says_unknown_once(broker: RedisStreams, name: str) -> None:
    broker.create_channel(ChannelSpec(name))
    producer = broker.producer(name, ProducerSettings())
    producer.send(Batch([bytes(1000)] * 5000))
    settled = producer.close()
    assert sorted(settled.tickets.tolist()) == list(range(5000))
    assert set(settled.outcomes.tolist()) <= {Outcome.ACKNOWLEDGED, Outcome.UNKNOWN}
    assert len(producer.close()) == 0


def test_channels_are_named_listed_and_deleted(broker: RedisStreams, name: str) -> None:
    broker.create_channel(ChannelSpec(f"{name}*a", partitions=2))
    broker.create_channel(ChannelSpec(f"{name}b"))
    with pytest.raises(Refused):
        broker.create_channel(ChannelSpec(f"{name}b"))
    assert broker.list_channels(name) == [f"{name}*a", f"{name}b"]
    assert broker.list_channels(f"{name}*") == [f"{name}*a"]
    broker.delete_channel(f"{name}b")
    broker.delete_channel(f"{name}b")
    assert broker.list_channels(f"{name}b") == []
    with pytest.raises(ChannelMissing):
        broker.consumer(f"{name}b", ConsumerSettings())
    assert broker.server_version().split()[0] in {"Redis", "Valkey"}


def test_a_second_thread_is_turned_away(broker: RedisStreams, name: str) -> None:
    broker.create_channel(ChannelSpec(name))
    consumer = broker.consumer(name, ConsumerSettings())
    worker = threading.Thread(target=consumer.receive, args=(1, 0.5))
    worker.start()
    time.sleep(0.1)
    with pytest.raises(Misuse, match="two threads"):
        consumer.receive(1, 0)
    worker.join()


def test_a_closed_port_is_unreachable_and_secrets_stay_secret() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = Endpoint("redis", f"127.0.0.1:{port}", secrets={"password": "hunter2"})
    with pytest.raises(Unreachable) as caught:
        RedisStreams.connect(endpoint)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(Misuse) as misuse:
        RedisStreams.connect(Endpoint("redis", "redis://:hunter2@127.0.0.1:1"))
    assert "hunter2" not in str(misuse.value)


def test_settings_are_told_where_the_server_allows_it(address: str) -> None:
    admin = redis.Redis.from_url(f"redis://{address}")
    admin.acl_setuser(
        "limited", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@all"], commands=["-config"]
    )
    broker = RedisStreams.connect(Endpoint("redis", address))
    limited = RedisStreams.connect(Endpoint("redis", address, secrets={"user": "limited", "password": "pw"}))
    try:
        assert broker.settings()["appendfsync"] == "everysec"
        assert "everysec" in broker.declaration().durability[Durability.DEFAULT]
        assert set(limited.settings().values()) == {NOT_TOLD}
        assert "does not tell" in limited.declaration().durability[Durability.DEFAULT]
        assert limited.declaration().properties == DECLARATION.properties
    finally:
        broker.close()
        limited.close()
        admin.acl_deluser("limited")
        admin.close()
