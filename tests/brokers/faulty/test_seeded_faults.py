"""Faults that need leases, dead letters, a crash, or a second message: each does what its name says."""

from __future__ import annotations

from itertools import pairwise

import pytest

from brokerbench.brokers.faulty import Fault, FaultName, Faulty
from brokerbench.brokers.memory.broker import Memory, Space
from brokerbench.brokers.types import (
    Batch,
    ChannelSpec,
    ConsumerSettings,
    DeadLetterPolicy,
    FromBeginning,
    Outcome,
    ProducerSettings,
    Received,
)

COUNT = 200
PAYLOADS = [b"%04d" % n + bytes(60) for n in range(COUNT)]
KEYS = [b"key-%d" % (n % 20) for n in range(COUNT)]
GROUP = "brokerbench"
LEASE_S = 10.0


class Bench:
    """A channel of two partitions with ``COUNT`` messages, and one of dead letters; time stands still."""

    def __init__(self, name: FaultName, rate: float = 0.1, places: frozenset[tuple[int, int]] | None = None) -> None:
        self.now_ns = 10**18
        self.name = name
        self.broker = Faulty(Memory(Space(lambda: self.now_ns)), [Fault(name, rate, 5, places)])
        self.broker.create_channel(ChannelSpec("dead"))
        policy = DeadLetterPolicy("dead", max_deliveries=2)
        self.broker.create_channel(ChannelSpec("c", partitions=2, lease_s=LEASE_S, dead_letter=policy))
        producer = self.broker.producer("c", ProducerSettings())
        producer.send(Batch(PAYLOADS, KEYS))
        self.settled = producer.flush(1.0)
        self.consumer = self.broker.consumer("c", ConsumerSettings())

    def pass_s(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)

    def hits(self, name: FaultName | None = None) -> list[bytes]:
        return sorted(offender.payload for offender in self.broker.offenders.get(name or self.name, ()))

    def consume(self) -> list[bytes]:
        """Everything that comes while time stands still, acknowledged."""
        got: list[bytes] = []
        while len(received := self.consumer.receive(30, 0)):
            got += received.payloads
            self.consumer.acknowledge(received)
        return got

    def dead_letters(self) -> list[bytes]:
        consumer = self.broker.consumer("dead", ConsumerSettings())
        got: list[bytes] = []
        while len(received := consumer.receive(30, 0)):
            got += received.payloads
            consumer.acknowledge(received)
        assert self.broker.backlog("dead", GROUP) == 0
        return got

    def replay(self, page: int = 50) -> list[bytes]:
        reader = self.broker.reader("c", FromBeginning())
        got: list[bytes] = []
        while len(received := reader.read(page, 0)):
            assert len(received) <= page
            got += received.payloads
        return got


def test_a_loss_behind_a_duplicate_leaves_the_count_as_it_was() -> None:
    bench = Bench(FaultName.LOSE_AND_DUPLICATE)
    got = bench.consume()
    lost, twice = bench.hits(), bench.hits(FaultName.DUPLICATE)
    assert len(lost) == len(twice) > 10
    assert len(got) == COUNT
    assert sorted(got + lost) == sorted(PAYLOADS + twice)
    assert bench.broker.backlog("c", GROUP) == 0
    assert sorted(bench.replay() + lost) == PAYLOADS


def test_only_the_last_messages_before_a_crash_are_lost() -> None:
    bench = Bench(FaultName.LOSE_LAST_BEFORE_CRASH, rate=0.02)
    first = bench.consumer.receive(30, 0)
    bench.consumer.acknowledge(first)
    bench.broker.crash()
    assert bench.hits() == []
    got = bench.consume()
    assert bench.hits() == PAYLOADS[-4:]
    assert sorted([*first.payloads, *got]) == PAYLOADS[:-4]
    producer = bench.broker.producer("c", ProducerSettings())
    producer.send(Batch([b"after"]))
    assert bench.consume() == [b"after"]


def test_what_was_delivered_before_a_crash_is_not_lost_by_it() -> None:
    bench = Bench(FaultName.LOSE_LAST_BEFORE_CRASH, rate=1.0)
    first = bench.consumer.receive(30, 0)
    bench.broker.crash()
    bench.consumer.release(first)
    assert sorted(bench.consume()) == sorted(first.payloads)
    assert bench.hits() == PAYLOADS[30:]


def test_one_message_of_all() -> None:
    bench = Bench(FaultName.LOSE, rate=0.0, places=frozenset({(1, 17)}))
    got = bench.consume()
    assert sorted(got + bench.hits()) == PAYLOADS
    assert len(bench.hits()) == 1


@pytest.mark.parametrize("name", [FaultName.CORRUPT_LAST_BYTE, FaultName.TRUNCATE])
def test_damage_beyond_the_head(name: FaultName) -> None:
    bench = Bench(name)
    got = bench.consume()
    damaged = [payload for payload in got if payload not in set(PAYLOADS)]
    assert len(damaged) == len(bench.hits()) > 10
    ends = {b"\x01"} if name is FaultName.CORRUPT_LAST_BYTE else {b""}
    assert sorted(payload[:63] for payload in damaged) == [payload[:63] for payload in bench.hits()]
    assert {payload[63:] for payload in damaged} == ends


def test_what_is_unknown_may_be_lost() -> None:
    bench = Bench(FaultName.UNKNOWN_AND_LOSE)
    unknown = [PAYLOADS[at] for at in (bench.settled.outcomes == Outcome.UNKNOWN).nonzero()[0]]
    assert unknown == bench.hits()
    assert len(unknown) > 10
    assert sorted(bench.consume() + unknown) == PAYLOADS


@pytest.mark.parametrize("name", [FaultName.REORDER_WITHIN_PARTITION, FaultName.REORDER_ACROSS_PARTITIONS])
def test_neighbours_of_other_keys_change_places(name: FaultName) -> None:
    bench = Bench(name)
    got: list[tuple[int, int]] = []
    payloads: list[bytes] = []
    while len(received := bench.consumer.receive(30, 0)):
        got += zip(received.partitions.tolist(), received.places.tolist(), strict=True)
        payloads += received.payloads
        bench.consumer.acknowledge(received)
    assert sorted(payloads) == PAYLOADS
    late = [one for other, one in pairwise(payloads) if one < other]
    if name is FaultName.REORDER_WITHIN_PARTITION:
        parts = [[at for at, spot in enumerate(got) if spot[0] == partition] for partition in (0, 1)]
        late = [payloads[b] for part in parts for a, b in pairwise(part) if got[b] < got[a]]
    else:
        assert [spot for spot in got if spot[0] == 0] == sorted(spot for spot in got if spot[0] == 0)
    for key in set(KEYS):
        ours = [payload for payload in payloads if KEYS[int(payload[:4])] == key]
        assert ours == sorted(ours)
    assert sorted(late) == bench.hits()
    assert len(late) >= 5


def test_an_acknowledgement_that_gets_lost() -> None:
    bench = Bench(FaultName.LOSE_ACKNOWLEDGEMENT)
    got: list[bytes] = []
    unknown: list[bytes] = []
    while len(received := bench.consumer.receive(30, 0)):
        settled = bench.consumer.acknowledge(received)
        assert sorted(settled.tickets.tolist()) == list(range(len(received)))
        doubtful = settled.tickets[settled.outcomes == Outcome.UNKNOWN].tolist()
        assert sorted(settled.errors) == doubtful
        unknown += [received.payloads[at] for at in doubtful]
        got += received.payloads
    assert bench.hits() == []
    again: list[bytes] = []
    for _ in range(COUNT):
        bench.pass_s(LEASE_S)
        while len(received := bench.consumer.receive(30, 0)):
            settled = bench.consumer.acknowledge(received)
            again += [received.payloads[at] for at in (received.delivery_counts == 2).nonzero()[0]]
            unknown += [received.payloads[at] for at in settled.tickets[settled.outcomes == Outcome.UNKNOWN].tolist()]
        if not bench.broker.backlog("c", GROUP):
            break
    assert sorted(again) == sorted(unknown) == bench.hits()
    assert len(again) > 10


def test_a_late_redelivery() -> None:
    bench = Bench(FaultName.LATE_REDELIVERY, rate=0.03)
    first = bench.consumer.receive(COUNT, 0)
    bench.pass_s(LEASE_S)
    again = bench.consumer.receive(COUNT, 0)
    assert sorted([*again.payloads, *bench.hits()]) == PAYLOADS
    assert COUNT > len(bench.hits()) > 10
    behind = {KEYS[int(payload[:4])] for payload in bench.hits()}
    for key in behind:
        late = [payload for payload in bench.hits() if KEYS[int(payload[:4])] == key]
        assert late == [payload for payload in PAYLOADS if KEYS[int(payload[:4])] == key][-len(late) :]
    assert set(bench.consumer.acknowledge(first).outcomes.tolist()) == {Outcome.REJECTED}
    bench.consumer.acknowledge(again)
    assert bench.broker.backlog("c", GROUP) == len(bench.hits())
    bench.pass_s(4 * LEASE_S - 1)
    assert len(bench.consumer.receive(COUNT, 0)) == 0
    bench.pass_s(1)
    late = bench.consumer.receive(COUNT, 0)
    assert sorted(late.payloads) == bench.hits()
    assert set(late.delivery_counts.tolist()) == {2}
    assert set(bench.consumer.acknowledge(late).outcomes.tolist()) == {Outcome.ACKNOWLEDGED}
    assert bench.broker.backlog("c", GROUP) == 0
    assert bench.dead_letters() == []


def test_what_was_released_is_not_late() -> None:
    bench = Bench(FaultName.LATE_REDELIVERY, rate=1.0)
    bench.consumer.release(bench.consumer.receive(COUNT, 0))
    assert sorted(bench.consume()) == PAYLOADS
    assert bench.hits() == []


def test_late_ones_are_settled_beside_fresh_ones() -> None:
    bench = Bench(FaultName.LATE_REDELIVERY, rate=0.0, places=frozenset({(0, 0), (1, 0)}))
    held = bench.consumer.receive(5, 0)
    bench.pass_s(LEASE_S)
    bench.consumer.acknowledge(bench.consumer.receive(5, 0))
    bench.pass_s(4 * LEASE_S)
    mixed: Received = bench.consumer.receive(10, 0)
    assert set(mixed.delivery_counts.tolist()) >= {1, 2}
    assert set(bench.consumer.acknowledge(mixed).outcomes.tolist()) == {Outcome.ACKNOWLEDGED}
    assert set(bench.hits()) < set(held.payloads)


def test_a_wrong_count() -> None:
    bench = Bench(FaultName.WRONG_COUNT)
    received = bench.consumer.receive(COUNT, 0)
    wrong = [received.payloads[at] for at in (received.delivery_counts != 1).nonzero()[0]]
    assert sorted(wrong) == bench.hits()
    assert len(wrong) > 10
    bench.consumer.release(received)
    again = bench.consumer.receive(COUNT, 0)
    assert [again.payloads[at] for at in (again.delivery_counts == 3).nonzero()[0]] == wrong


def test_a_stale_position_is_read_twice() -> None:
    bench = Bench(FaultName.REPLAY_STALE_POSITION, rate=0.0, places=frozenset({(0, 30), (0, 60)}))
    got = bench.replay(page=40)
    twice = bench.hits()
    assert sorted(got) == sorted(PAYLOADS + twice)
    assert 0 < len(twice) <= 40
    assert [payload for payload in got if payload in set(twice)] == twice + twice


def test_dead_letters() -> None:
    """Messages 0 to 49 fail twice; the others are acknowledged."""
    for name in (FaultName.DEAD_LETTER_MISSING, FaultName.DEAD_LETTER_EXTRA, FaultName.DEAD_LETTER_ALTERED):
        bench = Bench(name, rate=0.2)
        poison = set(PAYLOADS[:50])
        while len(received := bench.consumer.receive(30, 0)):
            failed = [at for at, payload in enumerate(received.payloads) if payload in poison]
            bench.consumer.release(received, failed)
            bench.consumer.acknowledge(received, [at for at in range(len(received)) if at not in failed])
        assert bench.broker.backlog("c", GROUP) == 0
        letters = bench.dead_letters()
        hits = bench.hits()
        assert len(hits) > 5, name
        if name is FaultName.DEAD_LETTER_MISSING:
            assert sorted(letters + hits) == PAYLOADS[:50]
        elif name is FaultName.DEAD_LETTER_EXTRA:
            assert sorted(letters) == sorted(PAYLOADS[:50] + hits)
            assert not set(hits) & poison
        else:
            assert len(letters) == 50
            assert sorted([letter for letter in letters if letter in poison] + hits) == PAYLOADS[:50]


@pytest.mark.parametrize("name", [FaultName.DEDUPLICATION_MISSED, FaultName.DEDUPLICATION_WRONG, FaultName.LOSE])
def test_deduplication(name: FaultName) -> None:
    """Every message is sent twice, as two payloads of one identity: half of them in one batch, half in two."""
    now_ns = 10**18
    broker = Faulty(Memory(Space(lambda: now_ns)), [Fault(name, 0.1, 5)])
    broker.create_channel(ChannelSpec("c", partitions=2))
    producer = broker.producer("c", ProducerSettings())
    ids = [str(n) for n in range(100)]
    producer.send(Batch(PAYLOADS[:100], KEYS[:100], ids[:50] + ids[:50]))
    producer.send(Batch(PAYLOADS[100:150], KEYS[:50], ids[50:]))
    producer.send(Batch(PAYLOADS[150:], KEYS[:50], ids[50:]))
    settled = producer.flush(1.0)
    assert set(settled.outcomes.tolist()) == {Outcome.ACKNOWLEDGED}
    assert settled.places[:50].tolist() == settled.places[50:100].tolist() or name is not FaultName.LOSE
    consumer = broker.consumer("c", ConsumerSettings())
    got: list[bytes] = []
    while len(received := consumer.receive(30, 0)):
        got += received.payloads
        consumer.acknowledge(received)
    originals = PAYLOADS[:50] + PAYLOADS[100:150]
    hits = sorted(offender.payload for offender in broker.offenders[name])
    assert len(hits) > 5
    if name is FaultName.DEDUPLICATION_MISSED:
        assert sorted(got) == sorted(originals + hits)
        assert not set(hits) & set(originals)
    else:
        assert sorted(got) == sorted(set(originals) - set(hits))
        assert set(hits) <= set(originals)


def test_identities_are_forgotten_after_the_window() -> None:
    bench = Bench(FaultName.DEDUPLICATION_WRONG, rate=0.0)
    bench.consume()
    producer = bench.broker.producer("c", ProducerSettings())
    for wait_s, kept in [(0, True), (299.9, False), (0.1, True), (1.0, False)]:
        bench.pass_s(wait_s)
        producer.send(Batch([b"again"], dedup_ids=["same"]))
        assert bench.consume() == [b"again"] * kept


def test_overtaken_when_a_lease_has_ended() -> None:
    bench = Bench(FaultName.REORDER_ACROSS_LEASE, rate=0.5)
    bench.consumer.receive(30, 0)
    bench.pass_s(LEASE_S)
    got: list[tuple[int, bytes]] = []
    while len(received := bench.consumer.receive(10, 0)):
        got += zip(received.delivery_counts.tolist(), received.payloads, strict=True)
        bench.consumer.acknowledge(received)
    assert sorted(payload for _, payload in got) == PAYLOADS
    overtaken = [
        payload
        for at, (_, payload) in enumerate(got)
        if any(before > payload and KEYS[int(before[:4])] == KEYS[int(payload[:4])] for _, before in got[:at])
    ]
    assert sorted(overtaken) == bench.hits()
    assert len(overtaken) > 5
    assert {number for number, payload in got if payload in overtaken} == {2}
    assert bench.broker.backlog("c", GROUP) == 0
