"""The reference, held to the letter of the interface."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokerbench.brokers.errors import ChannelMissing, Misuse, Refused
from brokerbench.brokers.memory.broker import Memory, Space
from brokerbench.brokers.types import (
    Batch,
    ChannelSpec,
    ConsumerSettings,
    DeadLetterPolicy,
    Endpoint,
    FromBeginning,
    FromPosition,
    FromTime,
    Outcome,
    Position,
    ProducerSettings,
    Received,
    Retention,
)


class ManualClock:
    def __init__(self) -> None:
        self.now_ns = 1_000_000_000_000

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def memory(clock: ManualClock) -> Memory:
    return Memory(Space(clock))


def publish(memory: Memory, payloads: list[bytes], keys: list[bytes] | None = None, channel: str = "c") -> None:
    memory.producer(channel, ProducerSettings()).send(Batch(payloads, keys))


def texts(received: Received) -> list[bytes]:
    return list(received.payloads)


def test_settlements_account_for_every_ticket(memory: Memory) -> None:
    memory.create_channel(ChannelSpec("c", partitions=3))
    producer = memory.producer("c", ProducerSettings())
    assert producer.send(Batch([b"1", b"2"])).first_ticket == 0
    assert producer.send(Batch([b"3"])).first_ticket == 2
    settled = producer.flush(1.0)
    assert settled.tickets.tolist() == [0, 1, 2]
    assert set(settled.outcomes.tolist()) == {Outcome.ACKNOWLEDGED}
    assert settled.partitions.tolist() == [0, 1, 2]
    assert len(producer.close()) == 0


def test_a_key_waits_while_it_is_unsettled(memory: Memory) -> None:
    memory.create_channel(ChannelSpec("c"))
    publish(memory, [b"a1", b"b1", b"a2", b"b2"], [b"a", b"b", b"a", b"b"])
    one, two = (memory.consumer("c", ConsumerSettings(name=name)) for name in ("1", "2"))
    first = one.receive(1, 0)
    assert texts(first) == [b"a1"]
    second = two.receive(10, 0)
    assert texts(second) == [b"b1", b"b2"]
    one.release(first)
    again = two.receive(10, 0)
    assert texts(again) == [b"a1", b"a2"]
    assert again.delivery_counts.tolist() == [2, 1]


def test_a_lease_that_ends_brings_the_message_back_and_bars_its_first_owner(memory: Memory, clock: ManualClock) -> None:
    memory.create_channel(ChannelSpec("c", lease_s=10))
    publish(memory, [b"1", b"2"])
    one, two = (memory.consumer("c", ConsumerSettings(name=name)) for name in ("1", "2"))
    held = one.receive(2, 0)
    one.extend(held, 20, [1])
    clock.advance(11)
    assert texts(two.receive(5, 0)) == [b"1"]
    settled = one.acknowledge(held)
    assert settled.outcomes.tolist() == [Outcome.REJECTED, Outcome.ACKNOWLEDGED]
    assert 0 in settled.errors
    assert memory.backlog("c", "brokerbench") == 1


def test_the_last_delivery_and_a_rejection_lead_to_the_dead_letters(memory: Memory, clock: ManualClock) -> None:
    memory.create_channel(ChannelSpec("dead"))
    memory.create_channel(ChannelSpec("c", lease_s=5, dead_letter=DeadLetterPolicy("dead", 2)))
    publish(memory, [b"poison", b"slow"])
    consumer = memory.consumer("c", ConsumerSettings())
    held = consumer.receive(2, 0)
    consumer.reject(held, [0])
    clock.advance(6)
    assert texts(consumer.receive(2, 0)) == [b"slow"]
    clock.advance(6)
    assert len(consumer.receive(2, 0)) == 0
    assert texts(memory.consumer("dead", ConsumerSettings()).receive(5, 0)) == [b"poison", b"slow"]
    assert memory.backlog("c", "brokerbench") == 0


def test_replay_reads_what_was_acknowledged(memory: Memory, clock: ManualClock) -> None:
    memory.create_channel(ChannelSpec("c", partitions=2))
    publish(memory, [b"1", b"2", b"3", b"4"])
    clock.advance(1)
    later_ns = clock.now_ns
    publish(memory, [b"5"])
    consumer = memory.consumer("c", ConsumerSettings())
    consumer.acknowledge(consumer.receive(10, 0))
    assert texts(memory.reader("c", FromBeginning()).read(10, 0)) == [b"1", b"2", b"3", b"4", b"5"]
    assert texts(memory.reader("c", FromTime(later_ns)).read(10, 0)) == [b"5"]
    assert texts(memory.reader("c", FromPosition(Position({1: 1}))).read(10, 0)) == [b"4"]
    begin, end = memory.bounds("c")
    assert (begin.places, end.places) == ({0: 0, 1: 0}, {0: 3, 1: 2})


def test_retention_by_age_count_and_size(memory: Memory, clock: ManualClock) -> None:
    memory.create_channel(ChannelSpec("c", retention=Retention(max_age_s=10, max_messages=3, max_bytes=8)))
    publish(memory, [b"1", b"2", b"3", b"4"])
    reader = memory.reader("c", FromBeginning())
    assert texts(reader.read(1, 0)) == [b"2"]
    consumer = memory.consumer("c", ConsumerSettings())
    held = consumer.receive(1, 0)
    publish(memory, [b"1234567"])
    assert texts(consumer.receive(9, 0)) == [b"4", b"1234567"]
    assert consumer.acknowledge(held).outcomes.tolist() == [Outcome.REJECTED]
    clock.advance(10)
    assert memory.enforce_retention("c") == 0
    clock.advance(0.1)
    assert memory.enforce_retention("c") == 2
    assert memory.backlog("c", "brokerbench") == 0
    begin, end = memory.bounds("c")
    assert begin == end


def test_a_waiting_consumer_wakes_at_once() -> None:
    one = Memory.connect(Endpoint("memory", "memory://wake"))
    two = Memory.connect(Endpoint("memory", "memory://wake"))
    one.create_channel(ChannelSpec("c"))
    consumer = two.consumer("c", ConsumerSettings())
    timer = threading.Timer(0.05, publish, (one, [b"1"]))
    timer.start()
    started = time.monotonic()
    assert texts(consumer.receive(10, 5)) == [b"1"]
    assert time.monotonic() - started < 1
    timer.join()


def test_misuse_is_named(memory: Memory) -> None:
    memory.create_channel(ChannelSpec("c"))
    with pytest.raises(Refused):
        memory.create_channel(ChannelSpec("c"))
    with pytest.raises(ChannelMissing):
        memory.producer("nowhere", ProducerSettings())
    with pytest.raises(Misuse):
        publish(memory, [b"1"], [b"a", b"b"])
    consumer = memory.consumer("c", ConsumerSettings())
    worker = threading.Thread(target=consumer.receive, args=(1, 0.3))
    worker.start()
    time.sleep(0.05)
    with pytest.raises(Misuse):
        consumer.receive(1, 0)
    worker.join()
    memory.close()
    with pytest.raises(Misuse):
        consumer.receive(1, 0)


@settings(max_examples=60, deadline=None)
@given(
    keys=st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=30),
    partitions=st.integers(1, 3),
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.sampled_from("arx")), max_size=60),
)
def test_whatever_consumers_do_nothing_is_lost_and_keys_keep_their_order(
    keys: list[bytes], partitions: int, steps: list[tuple[int, int, str]]
) -> None:
    """Three consumers acknowledge, release or abandon at random: then a last one drains."""
    clock = ManualClock()
    memory = Memory(Space(clock))
    memory.create_channel(ChannelSpec("c", partitions=partitions, lease_s=1))
    publish(memory, [b"%d" % n for n in range(len(keys))], keys)
    consumers = [memory.consumer("c", ConsumerSettings(name=str(n))) for n in range(3)]
    done: list[int] = []
    for who, count, what in [*steps, *[(0, 5, "a")] * len(keys)]:
        held = consumers[who].receive(count, 0)
        if what == "a":
            consumers[who].acknowledge(held)
            done += map(int, held.payloads)
        elif what == "r":
            consumers[who].release(held)
        else:
            clock.advance(2)
    assert sorted(done) == list(range(len(keys)))
    for key in set(keys):
        mine = [n for n in done if keys[n] == key]
        assert mine == sorted(mine)
    assert memory.backlog("c", "brokerbench") == 0
