"""Checks of settling: acknowledge, release, reject, extend, and leases that end."""

from __future__ import annotations

import time
from functools import partial

from brokerbench.bench.conformance.model import Context, Skipped, check, expect
from brokerbench.bench.conformance.sandbox import (
    Sandbox,
    acknowledged,
    errors_of,
    numbers,
    refuses,
    same,
    sandbox,
    settle_all,
)
from brokerbench.brokers.declarations import Support
from brokerbench.brokers.errors import Misuse, Unsupported
from brokerbench.brokers.protocols import Consumer, Extendable, Pipelining, Rejectable, Releasable
from brokerbench.brokers.types import AckGranularity, Batch, Received, Settlements

_EARLY = 0.95
"""Least share of a lease that must pass before a redelivery: brokers count in ticks."""
_IN_TIME = 0.75
"""Share of a lease: an extension later than this, on a busy machine, may come after the lapse."""
_TRIES = 3


@check("acknowledge.indices", "some of a delivery can be acknowledged; wrong indices raise Misuse")
def indices(context: Context) -> None:
    with sandbox(context) as here:
        consumer, received = _together(here, 4)
        for wrong in ([4], [-1], [0, 0]):
            refuses(f"acknowledging {wrong} of 4", Misuse, partial(consumer.acknowledge, received, wrong))
        expect(len(consumer.acknowledge(received, [])) == 0, "acknowledging none settled something")
        settled = consumer.acknowledge(received, [0, 1])
        expect(settled.tickets.tolist() == [0, 1], f"tickets are {settled.tickets.tolist()}, indices were [0, 1]")
        expect(acknowledged(settled) == 2, f"not acknowledged: {errors_of(settled)}")
        expect(acknowledged(consumer.acknowledge(received, [2, 3])) == 2, "the rest could not be acknowledged")


@check("acknowledge.granularity", "one alone can be acknowledged, or Unsupported is raised, as declared")
def granularity(context: Context) -> None:
    with sandbox(context) as here:
        consumer, received = _together(here, 3)
        if context.declaration.limits.ack_granularity is AckGranularity.UP_TO_POSITION:
            refuses("acknowledging past unsettled ones", Unsupported, lambda: consumer.acknowledge(received, [2]))
            settle_all(consumer, received)
            return
        expect(acknowledged(consumer.acknowledge(received, [2])) == 1, "the last alone could not be acknowledged")
        if isinstance(consumer, Releasable):
            consumer.release(received, [0, 1])
            got = here.payloads(consumer, 2)
            expect(received.payloads[2] not in got or not context.once, "an acknowledged message came again")
            same(context, received.payloads[:2], [payload for payload in got if payload != received.payloads[2]])
        else:
            expect(acknowledged(consumer.acknowledge(received, [0, 1])) == 2, "the others could not be acknowledged")


@check("acknowledge.final", "what is acknowledged never comes again to its group")
def final(context: Context) -> Skipped | None:
    if not context.once:
        return Skipped("the profile does not promise it")
    with sandbox(context) as here:
        channel = here.filled(numbers(20), [b"key-%d" % (at % 4) for at in range(20)], context.lease_s)
        consumer = here.consumer(channel)
        got = here.payloads(consumer, 20)
        same(context, numbers(20), got)
        again = consumer.receive(20, context.lease_s + 1.0)
        expect(len(again) == 0, f"{len(again)} acknowledged messages came again to the same consumer")
        consumer.close()
        again = here.consumer(channel, name="consumer-1").receive(20, context.lease_s + 1.0)
        expect(len(again) == 0, f"{len(again)} acknowledged messages came again to the next consumer")
    return None


@check(
    "acknowledge.ahead", "where a consumer need not wait for answers, each comes once, in order, and what it says lasts"
)
def ahead(context: Context) -> Skipped | None:
    with sandbox(context) as here:
        channel = here.channel(lease_s=context.lease_s)
        consumer = here.consumer(channel)
        if not isinstance(consumer, Pipelining):
            return Skipped("the consumer waits for each acknowledgement")
        here.send(channel, numbers(20), [b"key"] * 20)
        got: list[bytes] = []
        sizes: list[int] = []
        answers: list[Settlements] = []
        deadline = time.monotonic() + context.patience_s
        while len(set(got)) < 20 and time.monotonic() < deadline:
            received = consumer.receive_and_acknowledge(7, 1.0)
            if len(received):
                got += received.payloads
                sizes.append(len(received))
            answers += consumer.answers()
        same(context, numbers(20), got)
        answers += consumer.answers(context.patience_s)
        told = [settled.tickets.tolist() for settled in answers]
        expect(told == [list(range(size)) for size in sizes], f"{sizes} messages came, and answers were about {told}")
        expect(sum(map(acknowledged, answers)) == len(got), f"not acknowledged: {list(map(errors_of, answers))}")
        expect(not consumer.answers(0.0), "an answer came twice")
        consumer.close()
        if context.once:
            again = here.consumer(channel, name="consumer-1").receive(20, context.lease_s + 1.0)
            expect(len(again) == 0, f"{len(again)} acknowledged messages came again")
    return None


@check("redelivery.release", "a released delivery comes back before its lease ends, and is counted")
def released(context: Context) -> Skipped | None:
    support = context.support("redelivery.after_release")
    with sandbox(context) as here:
        consumer = here.consumer(here.filled([b"again"], [b"key"]))
        received = here.first(consumer)
        if not isinstance(consumer, Releasable):
            expect(support is not Support.GUARANTEED, "redelivery.after_release is declared, and there is no release")
            return Skipped("no release, and none is declared")
        if support is Support.IMPOSSIBLE:
            refuses("release", Unsupported, lambda: consumer.release(received))
            return None
        settled = consumer.release(received)
        expect(acknowledged(settled) == 1, f"a release was not taken: {errors_of(settled)}")
        # The channel's lease is longer than the patience: only the release causes a redelivery.
        again = here.first(consumer)
        expect(list(again.payloads) == [b"again"], "something else came back")
        first_count, second_count = int(received.delivery_counts[0]), int(again.delivery_counts[0])
        expect(second_count == 2 * first_count, f"delivery counts were {first_count}, then {second_count}")
        settle_all(consumer, again)
    return None


@check("redelivery.reject", "a rejected delivery does not come back")
def rejected(context: Context) -> Skipped | None:
    with sandbox(context) as here:
        consumer = here.consumer(here.filled([b"poison"], lease_s=3 * context.lease_s))
        received = here.first(consumer)
        if not isinstance(consumer, Rejectable):
            settle_all(consumer, received)
            return Skipped("the consumer has no reject")
        settled = consumer.reject(received)
        expect(acknowledged(settled) == 1, f"a rejection was not taken: {errors_of(settled)}")
        again = consumer.receive(10, 3 * context.lease_s + 1.0)
        expect(len(again) == 0, "a rejected message came again")
    return None


@check("redelivery.extend", "an extended lease lasts as long as asked, from then on")
def extended(context: Context) -> Skipped | None:
    lease_s = 2 * context.lease_s
    with sandbox(context) as here:
        for _ in range(_TRIES):
            channel = here.filled([b"slow work"], lease_s=lease_s)
            consumer = here.consumer(channel)
            received = here.first(consumer)
            taken = time.monotonic()
            if not isinstance(consumer, Extendable):
                settle_all(consumer, received)
                return Skipped("the consumer has no extend")
            time.sleep(lease_s / 2)
            begun = time.monotonic()
            settled = consumer.extend(received, lease_s)
            held_s = time.monotonic() - taken
            if acknowledged(settled) and held_s < _IN_TIME * lease_s:
                break
        else:
            return Skipped(
                f"{_TRIES} times the lease was over, or nearly, before it was extended: {errors_of(settled)}"
            )
        again = here.first(here.consumer(channel, name="consumer-1"))
        waited_s = time.monotonic() - begun
        expect(waited_s >= _EARLY * lease_s, f"extended by {lease_s:g} s, and delivered again after {waited_s:.2f} s")
        expect(list(again.payloads) == [b"slow work"], "something else came")
    return None


@check("redelivery.lease", "an unsettled delivery comes back when its lease has ended, not before")
def ended(context: Context) -> Skipped | None:
    if not context.has_leases:
        return Skipped("deliveries have no lease")
    with sandbox(context) as here:
        channel = here.filled([b"slow work"], lease_s=context.lease_s)
        # Before the consumer exists: a client may fetch before it is asked.
        begun = time.monotonic()
        received = here.first(here.consumer(channel))
        again = here.first(other := here.consumer(channel, name="consumer-1"))
        waited_s = time.monotonic() - begun
        expect(
            waited_s >= _EARLY * context.lease_s,
            f"a lease of {context.lease_s:g} s, and delivered again after {waited_s:.2f} s",
        )
        first_count, second_count = int(received.delivery_counts[0]), int(again.delivery_counts[0])
        expect(second_count == 2 * first_count, f"delivery counts were {first_count}, then {second_count}")
        settle_all(other, again)
    return None


@check("redelivery.leaver", "what a consumer held that closed comes to the next")
def left(context: Context) -> None:
    with sandbox(context) as here:
        channel = here.filled(numbers(5), [b"key"] * 5, context.lease_s)
        leaver = here.consumer(channel)
        here.first(leaver)
        leaver.close()
        got = here.payloads(here.consumer(channel, name="consumer-1"), 5)
        expect(sorted(set(got)) == numbers(5), f"of 5 messages of one who left, {len(set(got))} came to the next")


def _together(here: Sandbox, count: int) -> tuple[Consumer, Received]:
    """``count`` messages in one delivery: all are sent before the consumer is opened."""
    for _ in range(5):
        channel = here.channel()
        producer = here.producer(channel)
        producer.send(Batch(numbers(count), [b"key"] * count))
        producer.flush(here.context.patience_s)
        consumer = here.consumer(channel)
        received = here.first(consumer, count)
        if len(received) == count:
            return consumer, received
        consumer.close()
    raise Unsupported("receive", f"{count} small messages never came together")
