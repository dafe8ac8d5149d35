"""Each fault does what its name says, and says to whom."""

from __future__ import annotations

import pytest

from brokerbench.brokers.errors import Misuse
from brokerbench.brokers.faulty import Fault, FaultName, Faulty, parse_faults
from brokerbench.brokers.memory.broker import Memory, Space
from brokerbench.brokers.types import (
    Batch,
    ChannelSpec,
    ConsumerSettings,
    Endpoint,
    FromBeginning,
    Outcome,
    ProducerSettings,
    Received,
    Retention,
    Settlements,
)

COUNT = 400
PAYLOADS = [b"%04d" % n + bytes(100) for n in range(COUNT)]
KEYS = [b"key-%d" % (n % 7) for n in range(COUNT)]


class Bench:
    """One channel with ``COUNT`` messages sent to a broker with one fault."""

    def __init__(
        self,
        name: FaultName,
        rate: float = 0.1,
        retention: Retention | None = None,
        places: frozenset[tuple[int, int]] | None = None,
    ) -> None:
        self.now_ns = 10**18
        self.name = name
        self.broker = Faulty(Memory(Space(self.clock)), [Fault(name, rate, 3, places)])
        self.broker.create_channel(ChannelSpec("c", partitions=2, retention=retention))
        self.settled = self.publish()

    def clock(self) -> int:
        return self.now_ns

    def publish(self) -> Settlements:
        producer = self.broker.producer("c", ProducerSettings())
        producer.send(Batch(PAYLOADS, KEYS))
        return producer.flush(1.0)

    @property
    def hits(self) -> list[bytes]:
        return [offender.payload for offender in self.broker.offenders[self.name]]

    def consume(self) -> list[bytes]:
        consumer = self.broker.consumer("c", ConsumerSettings())
        got: list[bytes] = []
        while self.broker.backlog("c", "brokerbench"):
            received = consumer.receive(50, 0)
            assert len(received) <= 50
            got += received.payloads
            consumer.acknowledge(received)
        return got

    def replay(self) -> list[bytes]:
        reader = self.broker.reader("c", FromBeginning())
        got: list[bytes] = []
        while len(received := reader.read(50, 0)):
            got += received.payloads
        return got


def overtaken(got: list[bytes]) -> set[bytes]:
    """Payloads that come after a later one of their key."""
    highest: dict[int, bytes] = {}
    late = set()
    for payload in got:
        key = int(payload[:4]) % 7
        if payload < highest.get(key, b""):
            late.add(payload)
        highest[key] = max(payload, highest.get(key, b""))
    return late


def test_lose() -> None:
    bench = Bench(FaultName.LOSE)
    assert set(bench.settled.outcomes.tolist()) == {Outcome.ACKNOWLEDGED}
    assert bench.hits == []
    got = bench.consume()
    assert 10 < len(bench.hits) < 100
    assert sorted(got + bench.hits) == PAYLOADS
    assert bench.replay() == got


def test_duplicate() -> None:
    bench = Bench(FaultName.DUPLICATE)
    got = bench.consume()
    assert len(bench.hits) > 10
    assert sorted(got) == sorted(PAYLOADS + bench.hits)


def test_reorder_within_key() -> None:
    bench = Bench(FaultName.REORDER_WITHIN_KEY)
    got = bench.consume()
    assert sorted(got) == PAYLOADS
    assert len(bench.hits) > 10
    assert overtaken(got) == set(bench.hits)


def test_reorder_across_redelivery() -> None:
    bench = Bench(FaultName.REORDER_ACROSS_REDELIVERY, rate=0.5)
    consumer = bench.broker.consumer("c", ConsumerSettings())
    got: list[bytes] = []
    while bench.broker.backlog("c", "brokerbench"):
        received = consumer.receive(5, 0)
        failed = [at for at, count in enumerate(received.delivery_counts.tolist()) if count == 1][:1]
        done = [at for at in range(len(received)) if at not in failed]
        consumer.release(received, failed)
        consumer.acknowledge(received, done)
        got += [received.payloads[at] for at in done]
    assert sorted(got) == PAYLOADS
    assert bench.hits
    assert set(bench.hits) <= overtaken(got)


@pytest.mark.parametrize("name", [FaultName.CORRUPT, FaultName.REPLAY_ALTERED])
def test_altered_payloads(name: FaultName) -> None:
    bench = Bench(name)
    got = bench.consume() if name == FaultName.CORRUPT else bench.replay()
    assert len(got) == COUNT
    assert len(bench.hits) > 10
    places = []
    for before, after in zip(bench.hits, [entry for entry in got if entry not in set(PAYLOADS)], strict=True):
        (place,) = [at for at in range(len(before)) if before[at] != after[at]]
        places.append(place)
    assert max(places) > 64


def test_phantom() -> None:
    bench = Bench(FaultName.PHANTOM)
    got = bench.consume()
    assert len(bench.hits) > 10
    assert sorted(got) == sorted(PAYLOADS + bench.hits)


@pytest.mark.parametrize(
    ("name", "outcome"),
    [(FaultName.REJECT_BUT_DELIVER, Outcome.REJECTED), (FaultName.UNKNOWN_OUTCOME, Outcome.UNKNOWN)],
)
def test_lies_of_the_producer(name: FaultName, outcome: Outcome) -> None:
    bench = Bench(name)
    lied = [PAYLOADS[at] for at, told in enumerate(bench.settled.outcomes.tolist()) if told == outcome]
    assert len(lied) > 10
    assert lied == bench.hits
    assert len(bench.settled) == COUNT
    assert sorted(bench.consume()) == PAYLOADS


def test_early_redelivery() -> None:
    bench = Bench(FaultName.EARLY_REDELIVERY)
    consumer = bench.broker.consumer("c", ConsumerSettings())
    received: Received = consumer.receive(2 * COUNT, 0)
    again = [received.payloads[at] for at, count in enumerate(received.delivery_counts.tolist()) if count == 2]
    assert len(again) > 10
    assert sorted(again) == sorted(bench.hits)
    assert set(consumer.acknowledge(received).outcomes.tolist()) == {Outcome.ACKNOWLEDGED}
    assert bench.broker.backlog("c", "brokerbench") == 0


def test_expire_early_and_late() -> None:
    for name, age_s, kept_before in [(FaultName.EXPIRE_EARLY, 6, False), (FaultName.EXPIRE_LATE, 11, True)]:
        bench = Bench(name, retention=Retention(max_age_s=10))
        assert bench.replay() == PAYLOADS
        bench.now_ns += age_s * 10**9
        got = bench.replay()
        assert len(bench.hits) > 10
        assert (set(got) == set(bench.hits)) is kept_before
        if not kept_before:
            assert sorted(got + bench.hits) == PAYLOADS
        begin, end = bench.broker.bounds("c")
        assert (begin == end) is False
        bench.now_ns += 31 * 10**9
        assert bench.replay() == []


def test_bounds_that_hide_an_early_end_to_readers() -> None:
    bench = Bench(FaultName.UNREADABLE_EARLY, retention=Retention(max_age_s=10))
    whole = bench.broker.bounds("c")
    bench.now_ns += 5 * 10**9
    assert bench.replay() == PAYLOADS
    bench.now_ns += 1
    got = bench.replay()
    assert len(bench.hits) > 10
    assert sorted(got + bench.hits) == PAYLOADS
    assert bench.broker.bounds("c") == whole
    assert sorted(bench.consume()) == PAYLOADS
    bench.now_ns += 5 * 10**9
    begin, end = bench.broker.bounds("c")
    assert begin == end


def test_bounds_that_hide_what_readers_still_get() -> None:
    bench = Bench(FaultName.READABLE_LATE, retention=Retention(max_age_s=10))
    bench.now_ns += 10 * 10**9
    assert bench.replay() == PAYLOADS
    assert bench.hits == []
    bench.now_ns += 1
    got = bench.replay()
    assert len(got) > 10
    assert sorted(got) == sorted(bench.hits)
    begin, end = bench.broker.bounds("c")
    assert begin == end
    assert bench.consume() == []
    bench.now_ns += 31 * 10**9
    assert bench.replay() == []


@pytest.mark.parametrize("limit", [Retention(max_messages=120), Retention(max_bytes=120 * len(PAYLOADS[0]))])
def test_the_newest_are_removed_and_the_oldest_kept_instead(limit: Retention) -> None:
    bench = Bench(FaultName.NEWEST_REMOVED, 0.2, retention=limit)
    begin, end = bench.broker.bounds("c")
    assert sum(end.places[at] - begin.places[at] for at in end.places) == 120
    removed = len(PAYLOADS) - 120
    got = bench.replay()
    assert len(got) == 120
    old, new = set(got) & set(PAYLOADS[:removed]), set(PAYLOADS[removed:]) - set(got)
    assert len(old) == len(new) > 5
    assert old | new == set(bench.hits)
    assert sorted(bench.consume()) == PAYLOADS[removed:]


def test_replay_gap_and_reorder() -> None:
    bench = Bench(FaultName.REPLAY_GAP)
    got = bench.replay()
    assert len(bench.hits) > 10
    assert sorted(got + bench.hits) == PAYLOADS
    assert sorted(bench.consume()) == PAYLOADS
    bench = Bench(FaultName.REPLAY_REORDER)
    assert overtaken(bench.replay()) == set(bench.hits)
    assert len(bench.hits) > 10
    assert overtaken(bench.consume()) == set()


def test_the_same_seed_hits_the_same_messages() -> None:
    first, second = Bench(FaultName.LOSE), Bench(FaultName.LOSE)
    first.consume()
    second.replay()
    assert sorted(first.hits) == sorted(second.hits)


def test_connections_share_the_record() -> None:
    endpoint = Endpoint("memory", "memory://shared-faults", {"faults": "lose:1"})
    first, second = Faulty.connect(endpoint), Faulty.connect(endpoint)
    first.create_channel(ChannelSpec("c"))
    first.producer("c", ProducerSettings()).send(Batch([b"gone"]))
    consumer = second.consumer("c", ConsumerSettings())
    second.again().close()
    assert len(consumer.receive(1, 0)) == 0
    assert [offender.payload for offender in first.offenders[FaultName.LOSE]] == [b"gone"]


def test_faults_as_text() -> None:
    assert parse_faults("lose:0.01:7, corrupt:0.5") == [Fault(FaultName.LOSE, 0.01, 7), Fault(FaultName.CORRUPT, 0.5)]
    with pytest.raises(Misuse, match="loose"):
        parse_faults("loose:0.1")


def test_a_fault_at_chosen_places_hits_exactly_these() -> None:
    bench = Bench(FaultName.LOSE, rate=1, places=frozenset({(0, 5), (1, 7)}))
    got = bench.consume()
    offenders = bench.broker.offenders[FaultName.LOSE]
    assert {(offender.partition, offender.place) for offender in offenders} == {(0, 5), (1, 7)}
    assert sorted(got + bench.hits) == PAYLOADS
