"""Checks of receiving: number of messages, waiting time, and columns."""

from __future__ import annotations

import time
from functools import partial
from threading import Timer

import numpy as np

from brokerbench.bench.conformance.model import Context, Skipped, check, expect
from brokerbench.bench.conformance.sandbox import numbers, refuses, sandbox, settle_all
from brokerbench.brokers.errors import Misuse
from brokerbench.brokers.types import NO_PARTITION, NO_PLACE, NO_TIME, Batch, ProducerSettings, Received

_CLOCKS_APART_NS = 3600 * 10**9
"""A broker's clock and ours may differ; a time an hour away is not that of this message."""


@check("receive.bounds", "receive waits, never returns more than asked, and refuses to be asked for none")
def bounds(context: Context) -> None:
    most = context.declaration.limits.max_receive_messages
    with sandbox(context) as here:
        channel = here.channel()
        consumer = here.consumer(channel)
        for wrong in (0, -1):
            refuses(f"receive({wrong}, ...)", Misuse, partial(consumer.receive, wrong, 0.0))
        begun = time.monotonic()
        expect(len(consumer.receive(5, 0.5)) == 0, "an empty channel delivered something")
        # Some clients wait in ticks; a call that returns at once would make a consumer spin.
        expect(time.monotonic() - begun >= 0.4, "receive on an empty channel did not wait as long as asked")
        here.send(channel, numbers(40))
        seen = 0
        for asked in (1, 3, 1, 35):
            received = here.first(consumer, asked)
            expect(len(received) <= asked, f"{len(received)} messages came where {asked} were asked for")
            expect(most is None or len(received) <= most, f"{len(received)} came at once; declared are at most {most}")
            seen += len(received)
            settle_all(consumer, received)
        while seen < 40:
            received = here.first(consumer, 40)
            seen += len(received)
            settle_all(consumer, received)


@check("receive.early", "receive returns at the first message, long before its time is up")
def early(context: Context) -> None:
    with sandbox(context) as here:
        channel = here.channel()
        consumer = here.consumer(channel)
        consumer.receive(1, 1.0)
        producer = here.producer(channel, ProducerSettings(linger_ms=0))
        later = Timer(0.5, lambda: (producer.send(Batch([b"x"])), producer.flush(context.patience_s)))
        later.start()
        begun = time.monotonic()
        received = consumer.receive(100, context.patience_s)
        waited_s = time.monotonic() - begun
        later.join()
        expect(len(received) == 1, f"{len(received)} messages came, one was sent")
        expect(waited_s < context.patience_s / 2, f"receive came back after {waited_s:.1f} s, not at the first message")


@check("receive.columns", "columns are whole; places, partitions and times are there as declared")
def columns(context: Context) -> None:
    limits = context.declaration.limits
    with sandbox(context) as here:
        consumer = here.consumer(here.filled(numbers(20), [b"a"] * 20))
        begun_ns, epoch_ns = time.monotonic_ns(), time.time_ns()
        places: list[int] = []
        while len(places) < 20:
            received = here.first(consumer, 20)
            _shape(received)
            inside = begun_ns <= received.received_ns <= time.monotonic_ns()
            expect(inside, "received_ns is not this host's monotonic clock")
            expect(bool((received.delivery_counts >= 0).all()), "a delivery count is negative")
            expect(bool((received.delivery_counts <= 1).all()), "a first delivery is counted as another")
            if not limits.has_partitions:
                expect(bool((received.partitions == NO_PARTITION).all()), "partitions are told although there are none")
            if not limits.has_positions:
                expect(bool((received.places == NO_PLACE).all()), "places are told although there are none")
            if limits.broker_clock is None:
                expect(bool((received.broker_epoch_ns == NO_TIME).all()), "a broker's time, of no declared clock")
            else:
                apart = np.abs(received.broker_epoch_ns - epoch_ns).max()
                expect(int(apart) < _CLOCKS_APART_NS, f"the broker's time is {apart / 1e9:.0f} s from now")
            places += received.places.tolist()
            settle_all(consumer, received)
        if limits.has_positions:
            expect(len(set(places)) == 20, "two messages of one partition have the same place")
            expect(min(places) >= 0, "a place is missing although the channel has positions")


def _shape(received: Received) -> None:
    count = len(received.payloads)
    lengths = [len(received.keys), len(received.partitions), len(received.places)]
    lengths += [len(received.broker_epoch_ns), len(received.delivery_counts)]
    lengths += [len(column) for column in (received.ids, received.attributes) if column]
    expect(set(lengths) == {count}, "columns of a delivery differ in length")
    expect(all(type(payload) is bytes for payload in received.payloads), "a payload is not bytes")


@check("receive.unsettled", "as many batches as declared may be unsettled, and no more")
def unsettled(context: Context) -> None:
    most = context.declaration.limits.max_unsettled_batches
    with sandbox(context) as here:
        channel = here.channel()
        consumer = here.consumer(channel)
        held: list[Received] = []
        for at in range(most if most is not None else 4):
            # One after the other: messages that a client fetched ahead belong to the batch before.
            here.send(channel, [b"%d" % at], [b"key-%d" % at])
            held.append(here.first(consumer, 1))
        if most is not None:
            here.send(channel, [b"more"], [b"more"])
            refuses(f"receiving with {most} batches unsettled", Misuse, partial(consumer.receive, 1, 2.0))
        for received in held:
            settle_all(consumer, received)
        if most is not None:
            settle_all(consumer, here.first(consumer, 1))


@check("receive.closed", "a closed consumer raises Misuse and closes twice")
def closed(context: Context) -> Skipped | None:
    with sandbox(context) as here:
        consumer = here.consumer(here.filled([b"x"]))
        received = here.first(consumer)
        settle_all(consumer, received)
        consumer.close()
        consumer.close()
        refuses("receiving with a closed consumer", Misuse, lambda: consumer.receive(1, 0.0))
        refuses("acknowledging with a closed consumer", Misuse, lambda: consumer.acknowledge(received))
    return None
