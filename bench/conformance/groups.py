"""Checks of groups and of dead letters."""

from __future__ import annotations

import time
from functools import partial

from brokerbench.bench.conformance.model import Context, Skipped, check, expect
from brokerbench.bench.conformance.sandbox import numbers, refuses, same, sandbox, settle_all
from brokerbench.brokers.errors import ChannelMissing, Unsupported
from brokerbench.brokers.protocols import Releasable
from brokerbench.brokers.types import ChannelSpec, DeadLetterPolicy

_DELIVERIES = 2


@check("groups.independent", "a second group gets everything, or nothing, as declared")
def groups(context: Context) -> None:
    with sandbox(context) as here:
        channel = here.filled(numbers(20), [b"key-%d" % (at % 4) for at in range(20)])
        same(context, numbers(20), here.payloads(here.consumer(channel, "one"), 20))
        other = here.consumer(channel, "two")
        if context.declaration.limits.has_groups:
            got = here.payloads(other, 20)
            expect(set(got) == set(numbers(20)), f"a second group got {len(set(got))} of 20 from the beginning")
        else:
            got = list(other.receive(20, 1.0).payloads)
            expect(not got or not context.once, "no groups are declared, and a second one got what the first had done")


@check("groups.members", "two consumers of a group share its messages")
def members(context: Context) -> None:
    with sandbox(context) as here:
        channel = here.channel(partitions=2)
        consumers = [here.consumer(channel, name=f"consumer-{number}") for number in range(2)]
        for consumer in consumers:
            settle_all(consumer, consumer.receive(1, 1.0))
        here.send(channel, numbers(100), [b"key-%d" % (at % 10) for at in range(100)])
        rows = here.gather_until(lambda found: len(set(found)) >= 100, *consumers, most=10, wait_s=0.2)
        same(context, numbers(100), [payload for _, payload in rows])


@check("dead_letters.moved", "a message that failed too often moves, whole; or Unsupported is raised")
def dead_letters(context: Context) -> Skipped | None:
    limits = context.declaration.limits
    if limits.has_dead_letters is None:
        return Skipped("not declared")
    with sandbox(context) as here:
        if not limits.has_dead_letters:
            spec = ChannelSpec(here.new_name(), dead_letter=DeadLetterPolicy(here.channel(), _DELIVERIES))
            here.refuses_channel("dead letters", Unsupported, spec)
            return None
        gone = DeadLetterPolicy(f"{limits.dead_letter_prefix}{here.new_name()}", _DELIVERIES)
        wanting = ChannelSpec(here.new_name(), dead_letter=gone)
        refuses("dead letters to no channel", ChannelMissing, partial(here.broker.create_channel, wanting))
        dead = here.channel(name_prefix=limits.dead_letter_prefix)
        channel = here.channel(lease_s=context.lease_s, dead_letter=DeadLetterPolicy(dead, _DELIVERIES))
        here.send(channel, [b"poison \0\xff"], [b"key"])
        consumer = here.consumer(channel)
        for _ in range(_DELIVERIES):
            received = here.first(consumer)
            if isinstance(consumer, Releasable):
                consumer.release(received)
        dead_consumer = here.consumer(dead)
        letters: list[tuple[bytes | None, bytes]] = []
        deadline = time.monotonic() + context.patience_s
        while not letters and time.monotonic() < deadline:
            # Where the adapter provides dead letters, receiving moves them.
            late = consumer.receive(1, 0.2)
            expect(len(late) == 0, f"a message was delivered more than {_DELIVERIES} times")
            found = dead_consumer.receive(10, 1.0)
            letters += zip(found.keys, found.payloads, strict=True)
            settle_all(dead_consumer, found)
        expect(bool(letters), f"after {_DELIVERIES} failed deliveries there is no dead letter")
        expect(letters == [(b"key", b"poison \0\xff")], f"the dead letter is {letters}")
    return None
