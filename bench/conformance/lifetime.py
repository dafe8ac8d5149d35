"""Checks of two threads, of closing, and of a broker that restarts."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread

from brokerbench.bench.conformance.model import Context, Skipped, Violated, check, expect
from brokerbench.bench.conformance.sandbox import (
    LONG_LEASE_S,
    Sandbox,
    acknowledged,
    errors_of,
    numbers,
    patiently,
    refuses,
    same,
    sandbox,
    settle_all,
)
from brokerbench.brokers.errors import BrokerError, ChannelMissing, Misuse
from brokerbench.brokers.protocols import Consumer, Producer
from brokerbench.brokers.types import Batch, ChannelSpec, Outcome, ProducerSettings, SendReceipt, Settlements

_ROUNDS = 60
_CLOSINGS, _MOST_BATCHES = 8, 20
_OVERLAP_S = 0.1
"""Least time that each thread works: otherwise they may never meet."""


@check("threads.one_object", "two threads on one object: it works, or the second gets Misuse")
def one_object(context: Context) -> None:
    with sandbox(context) as here:
        channel = here.channel()
        producer, consumer = here.producer(channel), here.consumer(channel)
        receipts: list[tuple[bytes, SendReceipt]] = []

        def send(name: bytes) -> None:
            for at in range(_ROUNDS):
                payload = b"%b %d" % (name, at)
                with suppress(Misuse):  # turned away, clearly: the other thread is inside
                    receipts.append((payload, producer.send(Batch([payload], [name]))))
                time.sleep(_OVERLAP_S / _ROUNDS)

        got: list[bytes] = []

        def receive() -> None:
            deadline = time.monotonic() + 1.0
            while time.monotonic() < deadline:
                try:
                    received = consumer.receive(20, 0.1)
                except Misuse:
                    time.sleep(0.005)
                    continue
                got.extend(received.payloads)
                while len(received):
                    try:
                        settle_all(consumer, received)
                        break
                    except Misuse:
                        time.sleep(0.001)

        _at_once(lambda: send(b"one"), lambda: send(b"two"))
        expect(bool(receipts), "two threads turned each other away at every send")
        settled = producer.flush(context.patience_s)
        expect(len(settled) == len(receipts), f"{len(receipts)} sends went through and {len(settled)} were settled")
        tickets = [receipt.first_ticket for _, receipt in receipts]
        expect(sorted(tickets) == list(range(len(tickets))), "two threads got the same ticket")
        outcomes = dict(zip(settled.tickets.tolist(), settled.outcomes.tolist(), strict=True))
        sure = [payload for payload, receipt in receipts if outcomes[receipt.first_ticket] == Outcome.ACKNOWLEDGED]
        expect(len(sure) == len(receipts), f"{len(receipts) - len(sure)} sends were not acknowledged")
        _at_once(receive, receive)
        missing = len(set(sure) - set(got))
        if missing:
            got += here.payloads(consumer, missing)
        same(context, sure, got)


@check("threads.close", "closing while another thread is inside: it works, or gets Misuse; no fate is lost")
def close_meanwhile(context: Context) -> None:
    with sandbox(context) as here:
        channel = here.channel()
        for wait_ms in range(_CLOSINGS):
            _close_under_a_sender(here, channel, wait_ms / 1e3)
        consumer = here.consumer(channel, "idle")

        def receive() -> None:
            with suppress(BrokerError):  # closed meanwhile, with a clear error
                consumer.receive(10, 1.0)

        def close() -> None:
            time.sleep(0.2)
            patiently(context, consumer.close, Misuse, "closing was turned away")

        _at_once(receive, close)
        refuses("receiving with a closed consumer", Misuse, lambda: consumer.receive(1, 0.0))


def _close_under_a_sender(here: Sandbox, channel: str, wait_s: float) -> None:
    producer = here.producer(channel)
    receipts: list[SendReceipt] = []
    parts: list[Settlements] = []

    def send() -> None:
        with suppress(BrokerError):
            while len(receipts) < _MOST_BATCHES:
                receipts.append(producer.send(Batch([b"x"] * 200)))

    def close() -> None:
        time.sleep(wait_s)
        parts.append(patiently(here.context, producer.close, Misuse, "closing was turned away"))

    _at_once(send, close)
    refuses("sending with a closed producer", Misuse, lambda: producer.send(Batch([b"x"])))
    count = sum(receipt.count for receipt in receipts)
    tickets = sorted(parts[0].tickets.tolist())
    expect(tickets == list(range(count)), f"{count} messages were sent; closing told the fates of {len(set(tickets))}")


@check("threads.side_by_side", "objects of one connection work in different threads")
def side_by_side(context: Context) -> None:
    with sandbox(context) as here:
        channels = [here.channel() for _ in range(2)]

        def work(channel: str) -> None:
            for at in range(5):
                here.send(channel, numbers(20, 20 * at))
            same(context, numbers(100), here.payloads(here.consumer(channel), 100))

        _at_once(lambda: work(channels[0]), lambda: work(channels[1]))


@check("connection.closed", "closing a connection closes what was opened on it, for good")
def closing(context: Context) -> None:
    with sandbox(context) as here:
        channel = here.channel()
        producer, consumer = here.producer(channel), here.consumer(channel)
        producer.send(Batch([b"x"]))
        here.broker.close()
        here.broker.close()
        refuses("sending after the connection was closed", Misuse, lambda: producer.send(Batch([b"y"])))
        refuses("receiving after the connection was closed", Misuse, lambda: consumer.receive(1, 0.0))
        expect(len(producer.close()) == 0, "closing a producer after its connection settled something")
        consumer.close()


@check(
    "connection.closed_beside",
    "closing a connection while a thread is inside closes all others; closing again, that one",
)
def closing_beside(context: Context) -> None:
    with sandbox(context) as here:
        channel = here.channel()
        # On both sides of the busy one, whatever the order in which they are closed.
        idle = [here.consumer(channel, "before")]
        busy = here.consumer(channel, "busy")
        producer = here.producer(channel)
        idle.append(here.consumer(channel, "after"))

        def receive() -> None:
            with suppress(BrokerError):  # closed meanwhile, with a clear error
                busy.receive(10, 1.0)

        def close() -> None:
            time.sleep(0.2)
            with suppress(Misuse):  # the connection names the busy one
                here.broker.close()
            refuses("sending after the connection was closed", Misuse, lambda: producer.send(Batch([b"x"])))
            for consumer in idle:
                refuses("receiving after the connection was closed", Misuse, partial(consumer.receive, 1, 0.0))

        _at_once(receive, close)
        here.broker.close()
        refuses("receiving after closing again", Misuse, lambda: busy.receive(1, 0.0))


@check("connection.restart", "after a restart of the broker the same objects go on", disruptive=True)
def restart(context: Context) -> Skipped | None:
    if context.restart is None:
        return Skipped("the broker is not ours to restart")
    with sandbox(context) as here:
        channel = here.channel()
        producer, consumer = here.producer(channel, ProducerSettings(timeout_s=5.0)), here.consumer(channel)

        def send(payload: bytes) -> None:
            producer.send(Batch([payload], [b"key"]))
            settled = producer.flush(context.patience_s)
            expect(acknowledged(settled) == 1, "a message before the restart was not acknowledged")

        send(b"before")
        settle_all(consumer, here.first(consumer))
        send(b"kept")
        context.restart()
        kept = _survives(here, channel)
        _goes_on(here, producer)
        wanted = {b"after", b"kept"} if kept else {b"after"}
        got = _received(here, consumer, wanted)
        expect(wanted <= got, f"after the restart {sorted(wanted - got)} did not come to the consumer of before")
        # New producers of the same connection work as well.
        here.send(channel, [b"new"])
        expect(b"new" in _received(here, consumer, {b"new"}), "a message of a new producer did not come")
    return None


def _survives(here: Sandbox, channel: str) -> bool:
    """Whether the broker still has the channel; it is made again where the broker keeps nothing."""

    def kept() -> bool:
        if here.broker.list_channels(channel):
            return True
        here.broker.create_channel(ChannelSpec(channel, lease_s=LONG_LEASE_S))
        return False

    return patiently(here.context, kept, BrokerError, "after the restart the broker does not answer")


def _goes_on(here: Sandbox, producer: Producer) -> None:
    """The producer from before the restart sends again, at the latest when the broker is up."""

    def send() -> None:
        producer.send(Batch([b"after"], [b"key"]))
        settled = producer.flush(here.context.patience_s)
        expect(acknowledged(settled) > 0, errors_of(settled))

    patiently(here.context, send, (BrokerError, Violated), "the producer of before does not send any more")


def _received(here: Sandbox, consumer: Consumer, wanted: set[bytes]) -> set[bytes]:
    got: set[bytes] = set()
    deadline = time.monotonic() + here.context.patience_s
    while not wanted <= got and time.monotonic() < deadline:
        try:
            received = consumer.receive(10, 1.0)
            got.update(received.payloads)
            if len(received):
                consumer.acknowledge(received)
        except ChannelMissing:
            raise
        except BrokerError:
            time.sleep(0.25)
    return got


def _at_once(*works: Callable[[], None]) -> None:
    """Run each in a thread. Raises the first exception."""
    problems: list[Exception] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as problem:  # raised again below, in the thread of the check
            problems.append(problem)

    threads = [Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
