"""Checks of sending: batches and limits at their edges, bytes, outcomes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import repeat

import numpy as np

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
from brokerbench.brokers.errors import Misuse, Unsupported
from brokerbench.brokers.types import Batch, Outcome, ProducerSettings, Settlements

_MANY = 1000
"""Messages a batch, where no limit is declared."""
_HEAVIEST_BYTES = 16 << 20
"""Larger limits, in bytes, are not tried: they would load the machine, not the adapter."""
_LONG_KEY_BYTES = 1024


@check("send.nothing", "an empty batch is taken, settles nothing and uses up no ticket")
def nothing(context: Context) -> None:
    with sandbox(context) as here:
        producer = here.producer(here.channel())
        empty = producer.send(Batch([]))
        expect((empty.first_ticket, empty.count, empty.rejected) == (0, 0, ()), f"an empty batch gave {empty}")
        expect(len(producer.flush(1.0)) == 0, "an empty batch was settled")
        expect(producer.send(Batch([b"x"])).first_ticket == 0, "an empty batch used up a ticket")


@check("send.counts", "batches of 1, of the most messages of a request, and of one more arrive whole")
def counts(context: Context) -> None:
    most = context.declaration.limits.max_request_messages or _MANY
    with sandbox(context) as here:
        channel = here.channel()
        producer = here.producer(channel)
        parts: list[Settlements] = []
        sent = 0
        for size in (1, most, most + 1):
            receipt = producer.send(Batch(numbers(size, sent), [b"key-%d" % (at % 7) for at in range(size)]))
            expect((receipt.first_ticket, receipt.count) == (sent, size), f"a batch of {size} gave {receipt}")
            expect(not receipt.rejected, f"a batch of {size} small messages was rejected in part")
            sent += size
            parts.append(producer.poll())
        parts += [producer.flush(context.patience_s), producer.close()]
        _all_settled(parts, sent)
        settled = Settlements.concat(parts)
        expect(acknowledged(settled) == sent, f"{acknowledged(settled)} of {sent} acknowledged: {errors_of(settled)}")
        same(context, numbers(sent), here.payloads(here.consumer(channel), sent))


@check("send.settled_once", "every ticket gets one fate, once, at a time of the monotonic clock")
def settled_once(context: Context) -> None:
    with sandbox(context) as here:
        producer = here.producer(here.channel())
        begun_ns = time.monotonic_ns()
        parts: list[Settlements] = []
        for at in range(5):
            producer.send(Batch(numbers(30, 30 * at)))
            if at < 4:
                parts.append(producer.poll())
        parts.append(producer.flush(context.patience_s))
        expect(len(producer.poll()) == 0, "a poll after the flush returned what was settled before")
        expect(len(producer.flush(0.0)) == 0, "a second flush returned what was settled before")
        parts.append(producer.close())
        expect(len(producer.close()) == 0, "closing twice settled something twice")
        _all_settled(parts, 150)
        settled = Settlements.concat(parts)
        inside = (settled.settled_ns >= begun_ns) & (settled.settled_ns <= time.monotonic_ns())
        expect(bool(inside.all()), "settled_ns is not this host's monotonic clock")


@check("send.malformed", "columns of different lengths raise Misuse and send nothing")
def malformed(context: Context) -> None:
    with sandbox(context) as here:
        producer = here.producer(here.channel())
        batches = {
            "keys": Batch([b"1"], [b"a", b"b"]),
            "dedup_ids": Batch([b"1", b"2"], dedup_ids=["a"]),
            "attributes": Batch([b"1"], attributes=[]),
        }
        for column, batch in batches.items():
            refuses(
                f"a batch whose {column} are fewer or more than its payloads", Misuse, partial(producer.send, batch)
            )
        expect(producer.send(Batch([b"x"])).first_ticket == 0, "a refused batch used up tickets")


@check("send.size_limit", "a message of the declared size passes, one byte more is rejected alone")
def size_limit(context: Context) -> Skipped | None:
    limit = context.declaration.limits.max_message_bytes
    if limit is None:
        return Skipped("no limit is declared")
    if limit > _HEAVIEST_BYTES:
        return Skipped(f"the limit of {limit:,} bytes is too heavy to try")
    with sandbox(context) as here:
        channel = here.channel()
        producer = here.producer(channel)
        payloads = [b"before", b"\0" * limit, b"\0" * (limit + 1), b"after"]
        receipt = producer.send(Batch(payloads))
        settled = Settlements.concat([producer.flush(context.patience_s), producer.close()])
        outcomes = dict(zip(settled.tickets.tolist(), settled.outcomes.tolist(), strict=True))
        expect(
            outcomes.get(1) == Outcome.ACKNOWLEDGED,
            f"a message of exactly {limit:,} bytes, the declared limit, did not pass: {errors_of(settled)}",
        )
        expect(outcomes.get(2) == Outcome.REJECTED, f"a message of {limit + 1:,} bytes, one too many, was not rejected")
        expect(set(receipt.rejected) <= {2}, f"the receipt rejects {receipt.rejected}, not the one that is too large")
        expect(outcomes == {0: 1, 1: 1, 2: 2, 3: 1}, "beside a message that is too large, others were not sent")
        same(context, [payloads[0], payloads[1], payloads[3]], here.payloads(here.consumer(channel), 3))
    return None


@check("send.request_bytes", "a batch beyond the size of a request is split and arrives whole")
def request_bytes(context: Context) -> Skipped | None:
    limit = context.declaration.limits.max_request_bytes
    largest = context.declaration.limits.max_message_bytes
    if limit is None or limit > _HEAVIEST_BYTES:
        return Skipped("no limit of a request's size is declared")
    # Three that just fit into one request, and do not fit when each grows by a byte.
    size = min(limit // 3, largest or limit)
    with sandbox(context) as here:
        channel = here.channel()
        consumer = here.consumer(channel)
        for bytes_each in (size, size + 1):
            payloads = [bytes([at]) * bytes_each for at in range(3)]
            here.send(channel, payloads)
            same(context, payloads, here.payloads(consumer, 3))
    return None


@check("send.any_bytes", "payloads arrive byte for byte: empty, NUL, 4-byte Unicode, no text at all; no key stays none")
def any_bytes(context: Context) -> None:
    payloads = [
        b"",
        b"\0",
        b"\0\0 in \0 between \0",
        bytes(range(256)),
        "four bytes: \U0001f9ea\U00020000".encode(),
        b"\xff\xfe no text \xc3\x28",
        b"\r\n$5\r\n:-{}<>&\"'",
        bytes(range(256)) * 400,
    ]
    _carried(context, payloads)


@check("send.keys", "keys arrive byte for byte: empty, NUL, 4-byte Unicode, 1 KiB")
def keys(context: Context) -> None:
    different = [
        b"plain",
        b"",
        b"\0",
        bytes(range(256)),
        "\U0001f9ea".encode(),
        b"k" * _LONG_KEY_BYTES,
        b"k" * (_LONG_KEY_BYTES - 1) + b"!",
    ]
    _carried(context, numbers(len(different)), different)


def _carried(context: Context, payloads: Sequence[bytes], wanted: Sequence[bytes] | None = None) -> None:
    with sandbox(context) as here:
        got = here.gather(here.consumer(here.filled(payloads, wanted)), len(payloads))
        same(context, payloads, [payload for _, payload in got])
        of: dict[bytes, bytes | None] = dict(
            zip(payloads, wanted if wanted is not None else repeat(None), strict=False)
        )
        wrong = [(of[payload], key) for key, payload in got if key != of[payload]]
        expect(not wrong, f"{len(wrong)} keys arrived altered; sent and received: {wrong[:1]}")


@check("send.attributes", "attributes arrive as sent, or raise Unsupported")
def attributes(context: Context) -> Skipped | None:
    sent = [{"event": "push", "who": "Zoë \U0001f9ea"}, {"n": "1"}]
    with sandbox(context) as here:
        channel = here.channel()
        producer = here.producer(channel)
        try:
            producer.send(Batch(numbers(2), [b"a", b"a"], attributes=sent))
        except Unsupported as refusal:
            return Skipped(f"no attributes: {refusal}")
        settled = producer.flush(context.patience_s)
        expect(acknowledged(settled) == 2, f"messages with attributes were not acknowledged: {errors_of(settled)}")
        consumer = here.consumer(channel)
        got: dict[bytes, dict[str, str]] = {}
        while len(got) < 2:
            received = here.first(consumer)
            found = received.attributes or [{}] * len(received)
            got |= {payload: dict(of) for payload, of in zip(received.payloads, found, strict=True)}
            settle_all(consumer, received)
        expect(got == dict(zip(numbers(2), sent, strict=True)), f"attributes arrived as {got}")
    return None


@check("send.deduplication", "of two messages with one dedup_id one is kept; or Unsupported is raised")
def deduplication(context: Context) -> Skipped | None:
    has = context.declaration.limits.has_deduplication
    if has is None:
        return Skipped("not declared")
    batch = Batch([b"one", b"again", b"two"], [b"key"] * 3, dedup_ids=["1", "1", "2"])
    with sandbox(context) as here:
        channel = here.channel()
        producer = here.producer(channel)
        if not has:
            refuses("sending with dedup_ids", Unsupported, lambda: producer.send(batch))
            expect(producer.send(Batch([b"x"])).first_ticket == 0, "a refused batch used up tickets")
            return None
        producer.send(batch)
        settled = producer.flush(context.patience_s)
        expect(acknowledged(settled) == 3, f"a repeated message was not acknowledged: {errors_of(settled)}")
        # With an id of its own, and sent last: all earlier messages have arrived before it.
        here.send(channel, [b"three"], [b"key"])
        same(context, [b"one", b"two", b"three"], here.payloads(here.consumer(channel), 3))
    return None


@check("send.close_in_flight", "closing gives every open send a fate, and none of them lies")
def close_in_flight(context: Context) -> None:
    count = 1000
    with sandbox(context) as here:
        channel = here.channel()
        producer = here.producer(channel)
        parts = []
        for at in range(0, count, 250):
            receipt = producer.send(Batch(numbers(250, at), [b"key-%d" % (row % 50) for row in range(250)]))
            expect(receipt.count == 250, f"a batch of 250 gave {receipt}")
        parts.append(producer.close())
        expect(len(producer.close()) == 0, "closing twice settled something twice")
        refuses("sending on a closed producer", Misuse, lambda: producer.send(Batch([b"late"])))
        _all_settled(parts, count)
        _only_what_was_sent(here, channel, Settlements.concat(parts), numbers(count))


def _only_what_was_sent(here: Sandbox, channel: str, settled: Settlements, sent: Sequence[bytes]) -> None:
    """Acknowledged messages arrive, rejected ones do not; those of unknown outcome may."""
    outcomes = dict(zip(settled.tickets.tolist(), settled.outcomes.tolist(), strict=True))
    sure = {sent[ticket] for ticket, outcome in outcomes.items() if outcome == Outcome.ACKNOWLEDGED}
    never = {sent[ticket] for ticket, outcome in outcomes.items() if outcome == Outcome.REJECTED}
    rows = here.gather_until(lambda found: sure <= {payload for _, payload in found}, here.consumer(channel), most=500)
    got = {payload for _, payload in rows}
    expect(sure <= got, f"{len(sure - got)} of {len(sure)} acknowledged messages did not arrive")
    expect(not never & got, f"{len(never & got)} messages arrived that were settled as rejected")
    expect(got <= set(sent), "messages arrived that were not sent")


def _all_settled(parts: Sequence[Settlements], count: int) -> None:
    for part in parts:
        columns = (part.tickets, part.outcomes, part.settled_ns, part.partitions, part.places)
        expect(len({len(column) for column in columns}) == 1, "columns of a settlement differ in length")
    tickets = np.sort(np.concatenate([part.tickets for part in parts]))
    twice = len(tickets) - len(np.unique(tickets))
    expect(not twice, f"{twice} tickets were settled more than once")
    missing = np.setdiff1d(np.arange(count), tickets)
    expect(not len(missing), f"{len(missing)} of {count} tickets have no fate, the first: {missing[:3].tolist()}")
    expect(len(tickets) == count, f"{len(tickets) - count} tickets were settled that were not sent")


@check("send.paused", "sends that a broker does not answer are unknown, not failed", disruptive=True)
def paused(context: Context) -> Skipped | None:
    if context.pause is None:
        return Skipped("the broker is not ours to pause")
    with sandbox(context) as here:
        channel = here.channel()
        producer = here.producer(channel, ProducerSettings(timeout_s=10.0))
        here.send(channel, [b"the way is open"])
        with context.pause():
            producer.send(Batch(numbers(250), [b"key-%d" % (at % 50) for at in range(250)]))
            early = producer.flush(0.5)
            expect(not acknowledged(early), "a broker that does not answer has acknowledged something")
            parts = [early, producer.close()]
        _all_settled(parts, 250)
        settled = Settlements.concat(parts)
        expect(not acknowledged(settled), "a broker that does not answer has acknowledged something")
        expect(bool((settled.outcomes == Outcome.UNKNOWN).any()), "sends without an answer are not unknown")
        _only_what_was_sent(here, channel, settled, [*numbers(250), b"the way is open"])
    return None
