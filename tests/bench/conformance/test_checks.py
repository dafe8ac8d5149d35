"""The conformance kit can fail: for each check there is a broken adapter that it refuses."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest

from brokerbench.bench import conformance, pytest_plugin
from brokerbench.bench.conformance import CHECKS, Check, Context, Skipped, Status, run
from brokerbench.bench.run.session import Session, channel_prefix
from brokerbench.brokers.declarations import Declaration, Provider, Support
from brokerbench.brokers.errors import Refused, Unreachable
from brokerbench.brokers.faulty import Fault, FaultName, Faulty
from brokerbench.brokers.memory.broker import Memory, Space
from brokerbench.brokers.memory.declaration import DECLARATION
from brokerbench.brokers.types import AckGranularity, Batch, ChannelSpec, FromBeginning, Settlements

Bends = Mapping[str, Callable[[Any], Any]]
"""Method -> function that makes a changed method of the original."""
BY_NAME = {check.name: check for check in CHECKS}


@dataclass(frozen=True)
class Break:
    """A memory broker with these methods changed, and a changed declaration."""

    check: str
    broker: Bends = field(default_factory=dict)
    producer: Bends = field(default_factory=dict)
    consumer: Bends = field(default_factory=dict)
    reader: Bends = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Declaration] = field(default_factory=dict)
    restart: Callable[[], None] | None = None
    pause: Callable[[], AbstractContextManager[None]] | None = None

    def context(self) -> Context:
        declaration = replace(
            DECLARATION,
            limits=replace(DECLARATION.limits, **self.limits),
            properties={**DECLARATION.properties, **self.properties},
        )
        space = Space()

        def opened(bends: Bends) -> Callable[[Any], Any]:
            return lambda original: lambda *words: bend(original(*words), bends)

        def connect() -> Memory:
            broker = Memory(space)
            for method in ("producer", "consumer", "reader"):
                bend(broker, {method: opened(getattr(self, method))})
            return bend(broker, {"declaration": lambda _: lambda: declaration, **self.broker})

        return Context(connect, declaration, "unit-", self.restart, self.pause, patience_s=3.0)


def bend(thing: Any, bends: Bends) -> Any:
    for name, make in bends.items():
        setattr(thing, name, make(getattr(thing, name)))
    return thing


def sent(change: Callable[[Batch], Batch]) -> Bends:
    """A producer that sends something else."""
    return {"send": lambda send: lambda batch: send(change(batch))}


def created(change: Callable[[ChannelSpec], ChannelSpec]) -> Bends:
    """A broker that creates something else."""
    return {"create_channel": lambda create: lambda spec: create(change(spec))}


def instead(other: str) -> Callable[[Any], Any]:
    """Another method of the same object."""
    return lambda original: getattr(original.__self__, other)


def always(value: Any) -> Callable[[Any], Any]:
    return lambda _: lambda *words: value


def lenient(create: Any) -> Any:
    def create_channel(spec: ChannelSpec) -> None:
        with suppress(Refused):
            create(spec)

    return create_channel


def one_after_the_other(close: Any) -> Any:
    """Stops at the first that cannot be closed."""

    def close_all() -> None:
        for thing in close.__self__._opened.things.copy():
            thing.close()

    return close_all


def repeating(flush: Any) -> Any:
    told: list[Settlements] = []

    def flush_all(timeout_s: float) -> Settlements:
        told.append(flush(timeout_s))
        return Settlements.concat(told)

    return flush_all


def sleepy(receive: Any) -> Any:
    def receive_late(count: int, wait_s: float) -> Any:
        if count > 0:
            time.sleep(wait_s)
        return receive(count, 0.0)

    return receive_late


def pipelining(answer: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """Gives a consumer the power ``Pipelining``; ``answer`` is given the consumer and the received messages."""

    def make(receive: Any) -> Any:
        consumer, told = receive.__self__, list[Any]()

        def receive_and_acknowledge(count: int, wait_s: float) -> Any:
            received = receive(count, wait_s)
            if len(received):
                told.append(answer(consumer, received))
            return received

        def answers(timeout_s: float | None = None) -> list[Any]:
            now = told.copy()
            told.clear()
            return now

        consumer.receive_and_acknowledge, consumer.answers = receive_and_acknowledge, answers
        return receive

    return make


def cached(reader: Any) -> Any:
    readers: dict[str, Any] = {}

    def open_reader(channel: str, start: Any) -> Any:
        return readers.setdefault(channel, reader(channel, start))

    return open_reader


def jealous(lock: Any) -> Callable[[Any], Any]:
    """Fails, with an unclear error, when two threads are inside."""

    def make(send: Any) -> Any:
        def send_alone(batch: Batch) -> Any:
            if not lock.acquire(blocking=False):
                raise RuntimeError("deque mutated during iteration")
            try:
                time.sleep(0.05)
                return send(batch)
            finally:
                lock.release()

        return send_alone

    return make


def dead_after(event: Event) -> Callable[[Any], Any]:
    def make(send: Any) -> Any:
        def send_while_alive(batch: Batch) -> Any:
            if event.is_set():
                raise Unreachable("the connection was lost")
            return send(batch)

        return send_while_alive

    return make


NEVER = Declaration(Support.IMPOSSIBLE, Provider.NOBODY, "unit test")
DOWN = Event()
BREAKS = (
    Break("declaration.sound", properties={"delivery.intact": replace(NEVER, support=Support.GUARANTEED)}),
    Break("declaration.sound", properties={"no.such.property": NEVER}),
    Break("declaration.connection", broker={"server_version": always("")}),
    Break("channel.life", broker={"create_channel": lenient}),
    Break("channel.life", broker={"delete_channel": always(None)}),
    Break("channel.missing", broker={"consumer": always(None)}),
    Break("channel.partitions", limits={"has_partitions": False}),
    Break("channel.partitions", broker=created(lambda spec: replace(spec, partitions=1))),
    Break("lease.limits", limits={"lease_max_s": 10.0}),
    Break("send.nothing", producer=sent(lambda batch: batch if len(batch) else Batch([b"x"]))),
    Break("send.counts", producer=sent(lambda batch: Batch(batch.payloads[:1000]))),
    Break("send.settled_once", producer={"flush": repeating}),
    Break("send.malformed", producer=sent(lambda batch: Batch(batch.payloads))),
    Break("send.size_limit", limits={"max_message_bytes": 1000}),
    Break(
        "send.request_bytes",
        limits={"max_request_bytes": 3000},
        producer=sent(lambda batch: Batch([payload for payload in batch.payloads if len(payload) <= 1000])),
    ),
    Break("send.any_bytes", producer=sent(lambda batch: Batch([each.rstrip(b"\0") for each in batch.payloads]))),
    Break("send.any_bytes", producer=sent(lambda batch: Batch(batch.payloads, [b""] * len(batch)))),
    Break("send.keys", producer=sent(lambda batch: replace(batch, keys=[key[:256] for key in batch.keys or ()]))),
    Break("send.attributes", producer=sent(lambda batch: replace(batch, attributes=None))),
    Break(
        "send.deduplication", limits={"has_deduplication": False}, producer=sent(lambda batch: Batch(batch.payloads))
    ),
    Break("send.deduplication", limits={"has_deduplication": True}, producer=sent(lambda batch: Batch(batch.payloads))),
    Break("send.paused", pause=nullcontext),
    Break("threads.close", producer={"close": always(Settlements.empty())}),
    Break("send.close_in_flight", producer={"close": always(Settlements.empty())}),
    Break("receive.bounds", consumer={"receive": lambda receive: lambda count, wait_s: receive(count + 1, wait_s)}),
    Break("receive.bounds", consumer={"receive": lambda receive: lambda count, wait_s: receive(count, 0.0)}),
    Break("receive.early", consumer={"receive": sleepy}),
    Break("receive.columns", limits={"has_positions": False}),
    Break("receive.columns", limits={"broker_clock": None}),
    Break("receive.unsettled", limits={"max_unsettled_batches": 1}),
    Break("receive.closed", consumer={"close": always(None)}),
    Break("acknowledge.indices", consumer={"acknowledge": lambda all_: lambda received, _=None: all_(received)}),
    Break("acknowledge.granularity", limits={"ack_granularity": AckGranularity.UP_TO_POSITION}),
    Break("acknowledge.granularity", consumer={"acknowledge": lambda all_: lambda received, _=None: all_(received)}),
    Break("acknowledge.final", consumer={"acknowledge": instead("release")}),
    Break("acknowledge.ahead", consumer={"receive": pipelining(lambda its, got: its.release(got))}),
    Break("acknowledge.ahead", consumer={"receive": pipelining(lambda its, got: its.acknowledge(got, [0]))}),
    Break("redelivery.release", consumer={"release": instead("acknowledge")}),
    Break("redelivery.release", properties={"redelivery.after_release": NEVER}),
    Break("redelivery.reject", consumer={"reject": instead("release")}),
    Break("redelivery.extend", consumer={"extend": lambda extend: lambda received, lease_s: extend(received, 0.1)}),
    Break("redelivery.lease", broker=created(lambda spec: replace(spec, lease_s=spec.lease_s / 4))),
    Break("redelivery.lease", broker=created(lambda spec: replace(spec, lease_s=spec.lease_s * 100))),
    Break("redelivery.leaver", broker=created(lambda spec: replace(spec, lease_s=spec.lease_s * 100))),
    Break("groups.independent", limits={"has_groups": False}),
    Break(
        "groups.independent",
        broker={"consumer": lambda consumer: lambda channel, its: consumer(channel, replace(its, group="same"))},
    ),
    Break(
        "groups.members",
        broker={"consumer": lambda consumer: lambda channel, its: consumer(channel, replace(its, group=its.name))},
    ),
    Break("dead_letters.moved", limits={"has_dead_letters": False}),
    Break("dead_letters.moved", broker=created(lambda spec: replace(spec, dead_letter=None))),
    Break("replay.from_beginning", properties={"replay.from_beginning": NEVER}),
    Break("replay.from_beginning", reader={"read": lambda read: lambda most, wait_s: read(2 * most, wait_s)}),
    Break(
        "replay.from_position",
        broker={"reader": lambda reader: lambda channel, _: reader(channel, FromBeginning())},
    ),
    Break("replay.from_time", broker={"reader": lambda reader: lambda channel, _: reader(channel, FromBeginning())}),
    Break("replay.independent", broker={"reader": cached}),
    Break("channel.bounds", broker={"bounds": lambda bounds: lambda channel: (bounds(channel)[0],) * 2}),
    Break("channel.backlog", broker={"backlog": always(0)}),
    Break("retention.age_limits", limits={"retention_min_age_s": 1.0, "retention_max_age_s": 100.0}),
    Break("retention.by_age", properties={"retention.by_age": NEVER}),
    Break("retention.by_age", broker=created(lambda spec: replace(spec, retention=None))),
    Break("retention.by_size", properties={"retention.by_size": NEVER}),
    Break("retention.by_size", broker=created(lambda spec: replace(spec, retention=None))),
    Break("threads.one_object", producer={"send": lambda send: jealous(Lock())(send)}),
    Break("threads.side_by_side", producer={"send": jealous(Lock())}),
    Break("connection.closed", broker={"close": always(None)}),
    Break("connection.closed_beside", broker={"close": one_after_the_other}),
    Break("connection.restart", producer={"send": dead_after(DOWN)}, restart=DOWN.set),
)


@pytest.fixture(scope="module")
def verdicts() -> Iterator[list[Future[Any]]]:
    """All at once: a broken adapter mostly makes checks wait in vain."""
    with ThreadPoolExecutor(16) as pool:
        yield [
            pool.submit(lambda broken=broken: run(broken.context(), [BY_NAME[broken.check]])[0]) for broken in BREAKS
        ]


@pytest.mark.parametrize("at", range(len(BREAKS)), ids=lambda at: f"{at}-{BREAKS[at].check}")
def test_a_broken_adapter_is_turned_down(at: int, verdicts: list[Future[Any]]) -> None:
    result = verdicts[at].result()
    assert result.status is Status.FAILED, result
    assert result.detail
    assert "AttributeError" not in result.detail and "TypeError" not in result.detail, "the bend itself is broken"


def test_every_check_has_an_adapter_that_fails_it() -> None:
    assert {broken.check for broken in BREAKS} == set(BY_NAME)
    assert len(BY_NAME) == len(CHECKS)


def test_the_page_lists_every_check() -> None:
    page = (Path(__file__).parents[3] / "docs" / "conformance.md").read_text(encoding="utf-8")
    listed = [line for line in page.splitlines() if line.startswith("| `")]
    assert listed == [f"| `{check.name}` | {check.sentence} |" for check in CHECKS]


def test_an_adapter_that_is_whole_passes() -> None:
    results = run(replace(Break("", restart=lambda: None).context(), patience_s=10.0), CHECKS)
    assert [result for result in results if result.status is Status.FAILED] == []
    assert [result.name for result in results] == [check.name for check in CHECKS]


def test_a_consumer_that_waits_for_no_answer_passes() -> None:
    whole = Break("", consumer={"receive": pipelining(lambda its, got: its.acknowledge(got))})
    (result,) = run(replace(whole.context(), patience_s=10.0), [BY_NAME["acknowledge.ahead"]])
    assert result.status is Status.PASSED, result


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (FaultName.LOSE, "send.counts"),
        (FaultName.DUPLICATE, "send.counts"),
        (FaultName.PHANTOM, "send.counts"),
        (FaultName.CORRUPT, "send.any_bytes"),
        (FaultName.REJECT_BUT_DELIVER, "send.close_in_flight"),
    ],
)
def test_a_faulty_broker_is_turned_down(fault: FaultName, check: str) -> None:
    faulty = Faulty(Memory(Space()), [Fault(fault, 0.2, 3)])
    context = Context(faulty.again, DECLARATION, "unit-", patience_s=3.0)
    (result,) = run(context, [BY_NAME[check]])
    assert result.status is Status.FAILED, result


def test_a_check_that_hangs_fails_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brokerbench.bench.conformance.running.PATIENCE_S", 0.1)
    stop = Event()
    checks = [
        Check("hangs", "it does not", lambda _: stop.wait(30) and None),
        Check("goes", "it does", lambda _: None),
        Check("skips", "it cannot", lambda _: Skipped("no reason")),
        Check("breaks", "it raises", lambda _: int("x") and None),
    ]
    results = run(Break("").context(), checks, threads=1)
    stop.set()
    assert [result.status for result in results] == [Status.FAILED, Status.PASSED, Status.SKIPPED, Status.FAILED]
    assert "did not end" in results[0].detail
    assert results[2].detail == "no reason"
    assert "ValueError" in results[3].detail
    assert "test_checks.py" in results[3].detail


def test_the_kit_s_channels_are_named_as_the_session_s_guard_knows_them(
    brokerbench_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a killed session the guard removes channels with this prefix from an external endpoint."""
    seen: list[Context] = []
    monkeypatch.setattr(conformance, "run", lambda context, checks: seen.append(context) or [])
    pytest_plugin._verify(brokerbench_session, "memory", [])
    assert [context.prefix for context in seen] == [channel_prefix(f"test-{os.getpid()}")]
    assert brokerbench_session.guard.run_id == f"test-{os.getpid()}"
